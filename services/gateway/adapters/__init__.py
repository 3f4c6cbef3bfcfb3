"""HR vendors whose own webhooks are understood, a module each.

A module has one `VENDOR`: how its signatures are checked, whom a body is about, and how an employee
is fetched and translated. To add a vendor, add a module and its test; nothing else names vendors.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import httpx

from services.gateway.rules.employees import Employee
from services.gateway.sources import VendorAccess


class VendorRefused(Exception):
    """The vendor's API answers with something that trying again will not better; says what."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens for a vendor's API. `ends_at` is when the first ends, in seconds since 1970."""

    access_token: str
    refresh_token: str
    ends_at: float


@dataclass(frozen=True, slots=True)
class Vendor:
    """One vendor.

    `signed` tells whether a body with these headers (names in lower case) is signed with a key, and
    not too long ago. `about` names the employees that a body is about; it raises ValueError for a
    body that is none of the vendor's. `fetch` asks the vendor's API how one of them stands, None
    if there is none (any more).

    A vendor that hands out its signing key by a webhook has `handshake`, the key in a body if it is
    such a one, and `confirm`, which asks the vendor whether the key is its own. One whose tokens
    end has `refresh`, which trades a refresh token in at an instant (UTC).
    """

    name: str
    signed: Callable[[bytes, Mapping[str, str], str], bool]
    about: Callable[[bytes], Sequence[str]]
    fetch: Callable[[httpx.AsyncClient, VendorAccess, str], Awaitable[Employee | None]]
    handshake: Callable[[bytes], str | None] = lambda _: None
    confirm: Callable[[httpx.AsyncClient, VendorAccess, str], Awaitable[None]] | None = None
    refresh: (
        Callable[[httpx.AsyncClient, VendorAccess, str, datetime], Awaitable[Tokens]] | None
    ) = None


def vendors() -> dict[str, Vendor]:
    """Every vendor that has a module here, by name."""
    found = (import_module(f"{__name__}.{each.name}").VENDOR for each in iter_modules(__path__))
    return {vendor.name: vendor for vendor in found}


async def ask(
    http: httpx.AsyncClient,
    url: str,
    headers: Mapping[str, str],
    auth: tuple[str, str] | None = None,
    params: Mapping[str, str] | None = None,
) -> object | None:
    """The JSON of a vendor's API; None where it says 404.

    Raises:
        VendorRefused: it refuses in a way that stays.
        httpx.HTTPError: it does not answer, or asks for patience.
    """
    answer = await http.get(
        url, headers=dict(headers), auth=auth or httpx.USE_CLIENT_DEFAULT, params=params
    )
    return None if answer.status_code == httpx.codes.NOT_FOUND else _content(answer)


async def tell(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    body: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> Any:
    """The JSON that a vendor's API answers a command with.

    Raises:
        VendorRefused: it refuses in a way that stays.
        httpx.HTTPError: it does not answer, or asks for patience.
    """
    return _content(await http.request(method, url, json=dict(body), headers=dict(headers or {})))


def _content(answer: httpx.Response) -> Any:
    if answer.status_code in (400, 401, 403, 404, 422):
        raise VendorRefused(f"the vendor's API answered {answer.status_code}")
    answer.raise_for_status()
    try:
        return answer.json()
    except ValueError:
        raise VendorRefused("the vendor's API answered something else than JSON") from None
