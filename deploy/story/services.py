"""The running services, asked over HTTP by somebody who is signed in at the gateway."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx

ServiceName = Literal["gateway", "provisioning", "audit", "review"]

REQUEST_SECONDS = 30
TOKEN_SPARE_SECONDS = 60
"""A token is renewed this long before it ends."""

PAGE_SIZE = 200

IN_PROGRESS_RETRIES = 20
IN_PROGRESS_SECONDS = 0.5


class StoryFailed(Exception):
    """The example cannot be played, or what came of it cannot be told; the text says why."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A running installation, as whoever runs it reaches it.

    `session` is the secret of a session with every role that the story plays (`ROLES`), `sign_in`
    opens one of another role (`ROLE` or `ROLE=WORKER`), `sources_file` is the gateway's own, with
    the HR source's webhook secret, and `links` the one-time links to show, by role.
    """

    gateway: str
    session: str
    sign_in: Callable[[str], Awaitable[str]]
    sources_file: Path
    links: Mapping[str, str] = field(default_factory=dict)


ROLES = ("administrator", "compliance", "operator", "review_manager")
"""The roles that the session of `Installed` needs."""


class Services:
    """Requests to the services, with a token that is renewed in time.

    Raises (every method):
        StoryFailed: a service does not answer.
        httpx.HTTPStatusError: a service refused; its problem document is in the response.
    """

    def __init__(self, installed: Installed) -> None:
        self._gateway = installed.gateway.rstrip("/")
        self._session = installed.session
        self._http = httpx.AsyncClient(timeout=REQUEST_SECONDS, trust_env=False)
        self._urls: Mapping[str, str] = {}
        self._token = ""
        self._renew_at = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def get(self, service: ServiceName, path: str, **params: str | int) -> Any:
        """The JSON answer to a GET."""
        return (await self._ask("GET", service, path, params=params)).json()

    async def find(self, service: ServiceName, path: str) -> Any | None:
        """The JSON answer to a GET, or None where there is no such thing."""
        try:
            return await self.get(service, path)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                return None
            raise

    async def pages(
        self, service: ServiceName, path: str, name: str, **params: str | int
    ) -> AsyncIterator[Any]:
        """Every member of a list that is answered in pages."""
        cursor: str | None = None
        while True:
            more = {"cursor": cursor} if cursor else {}
            page = await self.get(service, path, limit=PAGE_SIZE, **params, **more)
            for member in page[name]:
                yield member
            cursor = page["next_cursor"]
            if not cursor:
                return

    async def lines(self, service: ServiceName, path: str, **params: str | int) -> list[bytes]:
        """The lines of an answer that is one document per line."""
        return (await self._ask("GET", service, path, params=params)).content.splitlines()

    async def content(self, service: ServiceName, path: str, **params: str | int) -> bytes:
        """The file that a GET answers with."""
        return (await self._ask("GET", service, path, params=params)).content

    async def address(self, service: ServiceName) -> tuple[str, str]:
        """A service's base URL and a token that is good for some minutes."""
        await self._renew_token()
        return self._urls[service], self._token

    async def post(
        self, service: ServiceName, path: str, body: object, *, key: str | None = None
    ) -> Any:
        """The JSON answer to a command; with a `key` it takes effect once however often sent."""
        headers = {} if key is None else {"Idempotency-Key": key}
        for _ in range(IN_PROGRESS_RETRIES):
            try:
                return (await self._ask("POST", service, path, json=body, headers=headers)).json()
            except httpx.HTTPStatusError as error:
                if not _is_in_progress(error.response):
                    raise
            await asyncio.sleep(IN_PROGRESS_SECONDS)
        raise StoryFailed(f"{service} is still busy with {path}.")

    async def _ask(
        self,
        method: str,
        service: ServiceName,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        await self._renew_token()
        headers = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        try:
            response = await self._http.request(
                method, self._urls[service] + path, headers=headers, **more
            )
        except httpx.HTTPError as error:
            raise StoryFailed(f"{service} does not answer: {type(error).__name__}") from error
        if _is_reused(response):
            raise StoryFailed(
                "The data here are of another version's example, which this one cannot go on with."
                " Forget them with `make clean`, then start again."
            )
        return response.raise_for_status()

    async def _renew_token(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        try:
            answer = await self._http.post(
                f"{self._gateway}/session/token",
                headers={"Authorization": f"Bearer {self._session}"},
            )
        except httpx.HTTPError as error:
            raise StoryFailed(f"gateway does not answer: {type(error).__name__}") from error
        issued = answer.raise_for_status().json()
        self._token = issued["token"]
        self._urls = {name: url.rstrip("/") for name, url in issued["services"].items()}
        self._renew_at = time.monotonic() + issued["expires_in"] - TOKEN_SPARE_SECONDS


def _is_reused(response: httpx.Response) -> bool:
    """Whether a step of the story was sent before with another content."""
    return (
        response.status_code == httpx.codes.UNPROCESSABLE_ENTITY
        and response.json().get("code") == "idempotency_key_reused"
    )


def _is_in_progress(response: httpx.Response) -> bool:
    """Whether the same command is at work already, so that asking again tells what became of it."""
    return (
        response.status_code == httpx.codes.CONFLICT
        and response.json().get("code") == "command_in_progress"
    )
