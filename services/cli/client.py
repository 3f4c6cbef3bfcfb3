"""The session on this machine, tokens for it, and requests that fail in sentences."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import httpx
import typer

REQUEST_SECONDS = 30
CHECKOUT_SESSION = Path("var/session.json")
OWNER_ONLY = 0o600


class Exit(IntEnum):
    """What the command's exit status says."""

    OK = 0
    NO = 1
    """The answer is no: something was rejected, not ready, or wrong."""
    USAGE = 2
    NOT_ALLOWED = 3
    """Not signed in, or without the scope."""
    NO_ANSWER = 4
    """A service does not answer; trying again later may help."""
    REFUSED = 5
    """A service refused the command by a named rule."""
    INTERNAL = 70
    INTERRUPTED = 130


class Failure(Exception):
    """Why a command ends early: a sentence for the person, a status for the shell."""

    def __init__(self, code: Exit, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


def session_file() -> Path:
    """Where the session is: named by the environment, of this checkout, or of the user."""
    named = os.environ.get("PORTALKEEPER_SESSION_FILE")
    if named:
        return Path(named)
    if CHECKOUT_SESSION.exists():
        return CHECKOUT_SESSION
    return Path(typer.get_app_dir("portalkeeper")) / "session.json"


def store_session(document: Mapping[str, Any]) -> Path:
    """Write the session, readable by its owner only; where it went."""
    named = os.environ.get("PORTALKEEPER_SESSION_FILE")
    path = Path(named) if named else Path(typer.get_app_dir("portalkeeper")) / "session.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file)
        partial.replace(path)
    except OSError as error:
        raise Failure(Exit.NO, f"The session cannot be written to {path}: {error.strerror}.") from (
            error
        )
    return path


def read_session() -> dict[str, Any]:
    """The stored session.

    Raises:
        Failure: there is none, or the file is not one.
    """
    path = session_file()
    try:
        document = json.loads(path.read_text())
        return {"gateway": str(document["gateway"]), "session": str(document["session"])}
    except FileNotFoundError:
        raise Failure(
            Exit.NOT_ALLOWED,
            "You are not signed in. Take a one-time link and run: portalkeeper sign-in LINK",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(
            Exit.NOT_ALLOWED, f"{path} is no session file; sign in again with a new link."
        ) from error


def ask(
    method: str,
    url: str,
    *,
    who: str,
    token: str | None = None,
    params: Mapping[str, Any] | None = None,
    body: Any = None,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    raw: bool = False,
) -> Any:
    """The JSON answer of a service.

    Args:
        who: what the service is called in sentences.
        content: a file to send as it is, instead of `body` as JSON.
        raw: the answer is a file: its bytes.

    Raises:
        Failure: it does not answer, or refuses.
    """
    sent = dict(headers or {})
    if token:
        sent["Authorization"] = f"Bearer {token}"
    asked = {name: value for name, value in (params or {}).items() if value not in (None, "")}
    try:
        response = httpx.request(
            method,
            url,
            params=asked,
            json=body,
            content=content,
            headers=sent,
            timeout=REQUEST_SECONDS,
        )
        if response.is_success and raw:
            return response.content
        answer = response.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise no_answer(who, url) from error
    if response.is_success:
        return answer
    detail = str(answer.get("detail", "")) if isinstance(answer, dict) else ""
    code = str(answer.get("code", response.status_code)) if isinstance(answer, dict) else ""
    if response.status_code in (401, 403):
        raise Failure(Exit.NOT_ALLOWED, f"{who} says no ({code}): {detail}")
    if response.status_code >= 500:
        raise Failure(Exit.NO_ANSWER, f"{who} cannot answer now ({code}): {detail}")
    found = answer.get("errors", ()) if isinstance(answer, dict) else ()
    more = "".join(f"\n  {_told(each)}" for each in found) if len(found) > 1 else ""
    raise Failure(Exit.REFUSED, f"{who} refused ({code}): {detail}{more}")


def _told(error: Mapping[str, Any]) -> str:
    where = f"line {error['line']}: " if error.get("line") else ""
    return f"{where}{error.get('at', '')} {error.get('message', '')}"


def no_answer(who: str, url: str) -> Failure:
    """The failure of a service that cannot be reached."""
    server = urlunsplit(urlsplit(url)._replace(path="", query=""))
    return Failure(
        Exit.NO_ANSWER, f"{who} does not answer at {server}. Is it running? portalkeeper run"
    )


@dataclass(frozen=True, slots=True)
class Client:
    """A token for the session's person, and where the services are."""

    gateway: str
    token: str
    organization: str
    services: Mapping[str, str]

    @classmethod
    def open(cls) -> "Client":
        """Get a token for the stored session.

        Raises:
            Failure: not signed in, or the gateway does not answer.
        """
        session = read_session()
        gateway = session["gateway"].rstrip("/")
        answer = ask(
            "POST", f"{gateway}/session/token", who="The gateway", token=session["session"]
        )
        return cls(gateway, answer["token"], answer["organization"], answer["services"])

    def url(self, service: str, path: str) -> str:
        """The full address of a path of a service."""
        return self.services[service].rstrip("/") + path

    def get(self, service: str, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer to a GET."""
        return ask(
            "GET", self.url(service, path), who=NAMES[service], token=self.token, params=params
        )

    def every(
        self, service: str, path: str, what: str, params: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """All that a list holds under `what`, page by page as they are asked for."""
        cursor: str | None = None
        while True:
            page = self.get(service, path, {**params, "cursor": cursor})
            yield from page[what]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def download(self, service: str, path: str, params: Mapping[str, Any]) -> bytes:
        """The file that a GET answers with."""
        content: bytes = ask(
            "GET",
            self.url(service, path),
            who=NAMES[service],
            token=self.token,
            params=params,
            raw=True,
        )
        return content

    def post(
        self, service: str, path: str, body: Any, headers: Mapping[str, str] | None = None
    ) -> Any:
        """The JSON answer to a command."""
        return ask(
            "POST",
            self.url(service, path),
            who=NAMES[service],
            token=self.token,
            body=body,
            headers=headers,
        )

    def command(self, service: str, path: str, body: Any) -> Any:
        """The JSON answer to a command that is carried out once, however often it is sent."""
        return self.post(service, path, body, {"Idempotency-Key": str(uuid4())})

    def enter(
        self,
        type_: str,
        worker: str,
        data: Mapping[str, Any],
        embargo: Mapping[str, Any] | None = None,
    ) -> Any:
        """Have the gateway take one event about a worker, under the name of who is signed in.

        Args:
            embargo: that it is sealed until it takes effect, with its `readers`.
        """
        return ask(
            "POST",
            f"{self.gateway}/hr/v1/entries",
            who="The gateway",
            token=self.token,
            body={"type": type_, "worker": worker, "data": dict(data), "embargo": embargo},
            headers={"Idempotency-Key": str(uuid4())},
        )


NAMES = {
    "gateway": "The gateway",
    "provisioning": "Provisioning",
    "audit": "The audit log",
    "review": "The review scheduler",
}
