"""Following the console's links as a person with certain roles could."""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from inspect import signature
from types import SimpleNamespace
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
from starlette.routing import compile_path

from services.gateway.console.app import console_app
from services.gateway.console.visitor import COOKIE
from services.gateway.settings import Settings

_LINK = re.compile(r'<a\b[^>]*?\shref="([^"]+)"(?! download)')
_MAIN = re.compile(r"<main\b.*</main>", re.DOTALL)
_TAG = re.compile(r"<[a-z][^>]*>")
_VALUE = re.compile(r'(?<!class)(?<!role)(?<!type)="[^"]*"')
VISITS_PER_ROUTE = 6
"""Enough to meet a thing in more than one state; a matrix links to every worker."""


@dataclass
class Crawl:
    """What following links came to.

    `pages` are addresses of HTML pages by route, `made_of` the different tags of each page's
    content, `broken` are links that led nowhere, as (address of the page, link, status).
    """

    pages: dict[str, list[str]] = field(default_factory=dict)
    made_of: dict[str, frozenset[str]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    broken: list[tuple[str, str, int]] = field(default_factory=list)


def routes() -> list[str]:
    """Every route of the console that is asked for with GET, in the order in which they match."""
    parts: dict[str, Any] = dict.fromkeys(signature(console_app).parameters)
    parts |= {"settings": Settings(), "desk": SimpleNamespace(health=None)}
    app = console_app(**parts)
    return [path for path, methods in app.openapi()["paths"].items() if "get" in methods]


async def crawl(
    console: str,
    session: str,
    beginnings: Sequence[str] = ("/",),
    *,
    links_away: int | None = None,
    visits_per_route: int = VISITS_PER_ROUTE,
) -> Crawl:
    """Follow links from `beginnings`, a few to each route, and no more than `links_away`."""
    known = routes()
    found = Crawl()
    visits: dict[str, int] = {}
    seen: set[str] = set(beginnings)
    waiting = deque(("", each, 0) for each in beginnings)
    async with httpx.AsyncClient(base_url=console, cookies={COOKIE: session}, timeout=60) as http:
        while waiting:
            came_from, address, away = waiting.popleft()
            route = route_of(known, address)
            if route is None and not address.startswith("/static/"):
                found.broken.append((came_from, address, 404))
            if route is None or visits.get(route, 0) >= visits_per_route:
                continue
            visits[route] = visits.get(route, 0) + 1
            async with http.stream("GET", address) as answer:
                if answer.status_code not in (200, 303):
                    found.broken.append((came_from, address, answer.status_code))
                    continue
                if answer.status_code == 303:
                    waiting.append((came_from, answer.headers["location"], away))
                    continue
                if not answer.headers.get("content-type", "").startswith("text/html"):
                    found.files.add(route)
                    continue
                text = (await answer.aread()).decode()
            found.pages.setdefault(route, []).append(address)
            found.made_of[address] = _made_of(text)
            if away == links_away:
                continue
            for link in _LINK.findall(text):
                target = _inside(address, link)
                if target is not None and target not in seen:
                    seen.add(target)
                    waiting.append((address, target, away + 1))
    return found


def route_of(known: Sequence[str], address: str) -> str | None:
    """The route that answers an address; None if none does."""
    path = urlsplit(address).path
    return next((route for route in known if compile_path(route)[0].match(path)), None)


def _made_of(text: str) -> frozenset[str]:
    content = _MAIN.search(text)
    return frozenset(
        _VALUE.sub("", tag) for tag in _TAG.findall(content.group() if content else "")
    )


def _inside(page: str, link: str) -> str | None:
    """A link of a page as an address of the console; None for one that leads outside."""
    target = urlsplit(urljoin(page, link.replace("&amp;", "&")))
    if target.scheme or target.netloc:
        return None
    return f"{target.path}?{target.query}" if target.query else target.path
