"""Peers on loopback that speak vendors' APIs, and a gateway that is connected to them."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import yaml
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from services.gateway.settings import Settings
from tests.audit_log.worlds import serving
from tests.gateway.conftest import ORGANIZATION, Door, open_door

SOURCE = "harbor-vendor"


class Peer:
    """A vendor's API: what it answers by path, and what it was asked and told."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, Mapping[str, str], Mapping[str, str]]] = []
        self.commands: dict[str, Callable[[Any], Any]] = {}
        self.told: list[tuple[str, Any, str | None]] = []
        self.down = False
        self.app = FastAPI()

        @self.app.get("/{path:path}")
        async def answer(path: str, request: Request) -> JSONResponse:
            self.asked.append((path, dict(request.query_params), dict(request.headers)))
            if self.down:
                return JSONResponse({}, 503)
            if path not in self.answers:
                return JSONResponse({}, 404)
            return JSONResponse(self.answers[path])

        @self.app.api_route("/{path:path}", methods=["POST", "PUT"])
        async def told(path: str, request: Request) -> JSONResponse:
            body = await request.json()
            self.told.append((path, body, request.headers.get("authorization")))
            answer = self.commands.get(path)
            found = answer(body) if answer is not None else None
            return JSONResponse(found or {}, 200 if found else 422)


@asynccontextmanager
async def connected(
    settings: Settings, peer: Peer, vendor: str, key: str, **access: Any
) -> AsyncIterator[Door]:
    """A gateway with a source whose webhooks are the vendor's."""
    async with serving(peer.app) as url:
        told = {"name": vendor, "webhook_keys": [key], "api_url": url, "api_key": "k", **access}
        file = settings.sources_file.with_name(f"sources-{vendor}.yaml")
        source = {"organizations": [ORGANIZATION], "vendor": told}
        file.write_text(yaml.safe_dump({"sources": {SOURCE: source}}))
        async with open_door(settings.model_copy(update={"sources_file": file})) as door:
            yield door


async def until_done(door: Door, deliveries: int = 1) -> list[Any]:
    """What came of the deliveries, once none waits for its first look."""
    query = "SELECT * FROM vendor_delivery ORDER BY received_at"
    with anyio.fail_after(20):
        while True:
            rows = await door.fetch(query)
            if len(rows) >= deliveries and all(row["done_at"] or row["failure"] for row in rows):
                return rows
            await anyio.sleep(0.05)


async def look_again(door: Door) -> None:
    """As if the time until the next attempt had passed."""
    await door.fetch("UPDATE vendor_delivery SET due_at = now(), failure = NULL")
