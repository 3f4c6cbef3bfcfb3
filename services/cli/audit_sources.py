"""Where a log is read from to be checked: its server, or a folder that an export wrote.

A folder has the layout of C2SP tlog-tiles (`checkpoint`, `tile/…`), beside it `log.json` (what the
server said of the log) and `openings.jsonl`, which must be in the order of the entries.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import orjson

from shared.tlog.tiles import tile_path

REQUEST_SECONDS = 60
TOKEN_SECONDS = 240
"""A token lives for five minutes; a check of millions of entries takes longer."""


class CannotVerify(Exception):
    """The check could not be carried out, which says nothing about the log."""


class Source(Protocol):
    """A log to be read; every method may be called from any process."""

    def log(self) -> dict[str, Any]:
        """What is said of the log: `origin`, `size`, `public_key`, `pruned`, `succession`."""
        ...

    def checkpoint(self, origin: str) -> str:
        """The latest signed note."""
        ...

    def bundle(self, origin: str, index: int, width: int) -> bytes | None:
        """An entry bundle; None if it is not there."""
        ...

    def tile(self, origin: str, level: int, index: int, width: int) -> bytes | None:
        """A tile; None if it is not there."""
        ...

    def openings(self, start: int, end: int) -> Iterator[dict[str, Any]]:
        """What the entries `[start, end)` commit to, as far as one may read it, in order."""
        ...


@dataclass(slots=True)
class Server:
    """A log behind the audit log's HTTP API. Requests share a connection within a process.

    `named` is a log that the server's follows, by its origin; None for the one that goes on.
    """

    url: str
    token: str
    named: str | None = None
    http: httpx.Client | None = None

    def __reduce__(self) -> tuple[type["Server"], tuple[str, str, str | None]]:
        return Server, (self.url, self.token, self.named)

    def log(self) -> dict[str, Any]:
        """What the server says of the log."""
        answer = self._get("/audit/v1/log", **self._name())
        if answer is None:
            raise CannotVerify(f"the server has no log {self.named}")
        found: dict[str, Any] = orjson.loads(answer)
        return found

    def checkpoint(self, origin: str) -> str:
        """The latest signed note."""
        note = self._get(f"/log/{origin}/checkpoint")
        if note is None:
            raise CannotVerify("the server has signed no checkpoint yet")
        return note.decode(errors="replace")

    def bundle(self, origin: str, index: int, width: int) -> bytes | None:
        """An entry bundle; None if it is not there."""
        return self._get(f"/log/{origin}/tile/entries/{tile_path(index, width)}")

    def tile(self, origin: str, level: int, index: int, width: int) -> bytes | None:
        """A tile; None if it is not there."""
        return self._get(f"/log/{origin}/tile/{level}/{tile_path(index, width)}")

    def openings(self, start: int, end: int) -> Iterator[dict[str, Any]]:
        """What the entries commit to, one request for all."""
        try:
            with self._client().stream(
                "GET", "/audit/v1/openings", params={"from": start, "to": end, **self._name()}
            ) as response:
                if response.status_code == httpx.codes.OK:
                    for line in response.iter_lines():
                        yield orjson.loads(line)
        except httpx.HTTPError as error:
            raise CannotVerify(f"{self.url} does not answer: {error!r}") from error

    def handout(self, name: str) -> bytes:
        """A file for auditors: the verifier, or the page about it."""
        found = self._get(f"/audit/v1/handout/{name}")
        if found is None:
            raise CannotVerify(f"the server has no {name}")
        return found

    def _client(self) -> httpx.Client:
        if self.http is None:
            self.http = httpx.Client(
                base_url=self.url,
                headers={"Authorization": f"Bearer {self.token}"},
                timeout=REQUEST_SECONDS,
            )
        return self.http

    def _name(self) -> dict[str, str]:
        return {} if self.named is None else {"log": self.named}

    def _get(self, path: str, **asked: str) -> bytes | None:
        try:
            response = self._client().get(path, params=asked)
        except httpx.HTTPError as error:
            raise CannotVerify(f"{self.url} does not answer: {error!r}") from error
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        if response.status_code != httpx.codes.OK:
            raise CannotVerify(f"{path} answers {response.status_code}: {response.text[:300]}")
        return response.content


@dataclass(slots=True)
class FreshServer:
    """A server whose tokens are renewed before they run out; for the process that has a session."""

    url: str
    renew: Callable[[], str]
    named: str | None = None
    _server: Server | None = None
    _made_at: float = 0.0

    def now(self) -> Server:
        """The server with a token that will last for a while."""
        if self._server is None or time.monotonic() - self._made_at > TOKEN_SECONDS:
            self._server = Server(self.url, self.renew(), self.named)
            self._made_at = time.monotonic()
        return self._server


@dataclass(frozen=True, slots=True)
class Folder:
    """A log that was exported into a folder."""

    path: Path

    def now(self) -> "Folder":
        """Itself: a folder needs no token."""
        return self

    def log(self) -> dict[str, Any]:
        """What the server said when the log was exported."""
        try:
            found: dict[str, Any] = orjson.loads((self.path / "log.json").read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise CannotVerify(f"{self.path} holds no exported log: {error}") from error
        return found

    def checkpoint(self, origin: str) -> str:
        """The signed note as it was exported."""
        note = self._read("checkpoint")
        if note is None:
            raise CannotVerify(f"{self.path} holds no checkpoint")
        return note.decode(errors="replace")

    def bundle(self, origin: str, index: int, width: int) -> bytes | None:
        """An entry bundle, perhaps a wider one; None if it is not there."""
        return self._read_tile("tile/entries", index, width)

    def tile(self, origin: str, level: int, index: int, width: int) -> bytes | None:
        """A tile, perhaps a wider one; None if it is not there."""
        return self._read_tile(f"tile/{level}", index, width)

    def openings(self, start: int, end: int) -> Iterator[dict[str, Any]]:
        """The lines of `openings.jsonl` between two entries, found by halving the file."""
        path = self.path / "openings.jsonl"
        if not path.exists():
            return
        with path.open("rb") as file:
            low, high = 0, path.stat().st_size
            while high - low > 1:
                middle = (low + high) // 2
                file.seek(middle)
                file.readline()
                line = file.readline()
                if line and orjson.loads(line)["index"] < start:
                    low = middle
                else:
                    high = middle
            file.seek(low)
            if low:
                file.readline()
            for line in file:
                shown = orjson.loads(line)
                if shown["index"] >= end:
                    return
                if shown["index"] >= start:
                    yield shown

    def _read_tile(self, folder: str, index: int, width: int) -> bytes | None:
        for name in (tile_path(index, width), tile_path(index)):
            if (found := self._read(f"{folder}/{name}")) is not None:
                return found
        partial = (self.path / folder / tile_path(index, width)).parent
        wider = [path for path in partial.glob("[0-9]*") if int(path.name) > width]
        return min(wider).read_bytes() if wider else None

    def _read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            return None
