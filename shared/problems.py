"""RFC 9457 problem documents: every error of a service mapped to HTTP once."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from shared.errors import Problem

logger = structlog.get_logger(__name__)

PROBLEM_JSON = "application/problem+json"


def problem_response(
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Mapping[str, Any]] = (),
) -> JSONResponse:
    """The RFC 9457 document for a problem."""
    return JSONResponse(
        {
            "type": f"urn:portalkeeper:problem:{code}",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": code,
            "detail": detail,
            **({"errors": list(errors)} if errors else {}),
        },
        status_code=status,
        media_type=PROBLEM_JSON,
        headers=headers,
    )


def install(app: FastAPI, say: Callable[[Request, Problem], Awaitable[None]] | None = None) -> None:
    """Answer every failure of `app` as a problem document; a traceback never reaches a client.

    Args:
        say: told of each refusal before it is answered; see `shared.refusals`.
    """

    @app.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> JSONResponse:
        if say is not None:
            await say(request, error)
        return problem_response(error.status, error.code, error.detail, error.headers, error.errors)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem_response(422, "invalid_request", f"{where}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def on_http(_request: Request, error: HTTPException) -> JSONResponse:
        code = {401: "unauthorized", 404: "not_found", 405: "method_not_allowed"}.get(
            error.status_code, "refused"
        )
        return problem_response(
            error.status_code, code, str(error.detail), dict(error.headers or {})
        )

    @app.exception_handler(Exception)
    async def on_unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("request.failed", path=request.url.path, exc_info=error)
        return problem_response(
            500, "internal_error", "This is our fault; the log of the service says more."
        )
