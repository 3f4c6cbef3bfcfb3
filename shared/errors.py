"""Errors a client can act on: RFC 9457 problem documents, mapped once."""

from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

logger = structlog.get_logger(__name__)

PROBLEM_JSON = "application/problem+json"


class Problem(Exception):
    """A named refusal. `detail` tells the reader what to do next.

    Args:
        status: the HTTP status.
        code: a stable name that programs may rely on.
        detail: one or two sentences for a person.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail


class Rejected(Exception):
    """Input that is refused for a named reason; on Kafka it becomes a dead letter, kept whole.

    Args:
        code: the stable name of the rule.
        detail: what is wrong, in words; never contains personal data.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


def problem_response(
    status: int, code: str, detail: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """The RFC 9457 document for a problem."""
    return JSONResponse(
        {
            "type": f"urn:portalkeeper:problem:{code}",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": code,
            "detail": detail,
        },
        status_code=status,
        media_type=PROBLEM_JSON,
        headers=headers,
    )


def install(app: FastAPI) -> None:
    """Answer every failure of `app` as a problem document; a traceback never reaches a client."""

    @app.exception_handler(Problem)
    async def on_problem(_request: Request, error: Problem) -> JSONResponse:
        return problem_response(error.status, error.code, error.detail)

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
