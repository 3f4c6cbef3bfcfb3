"""What pages with forms have in common: show what a service answers, send what a form says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData

from services.gateway.console.visitor import Console
from services.gateway.services import ServiceName


@dataclass(frozen=True, slots=True)
class Order:
    """A command for a service: its route and body, what it is about, and where to go then."""

    route: str
    body: Mapping[str, Any]
    target: str
    back: str
    service: ServiceName = "provisioning"


ReadForm = Callable[[FormData, ZoneInfo], Order]


def fresh_key() -> str:
    """An idempotency key for one form, so that sending it twice acts once."""
    return str(uuid4())


def form_text(form: FormData, name: str) -> str:
    """A field of a form, without blanks around it; "" where it is missing."""
    value = form.get(name)
    return value.strip() if isinstance(value, str) else ""


async def show(
    console: Console,
    request: Request,
    scopes: tuple[str, ...],
    template: str,
    route: str,
    *,
    parameters: Mapping[str, str] | None = None,
    said: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """A page of what provisioning answers.

    Args:
        said: what a person is told after each command, by its name in `did` of the address.
    """
    visitor = await console.visitor(request, *scopes)
    found = await console.services.get(visitor.principal, "provisioning", route, parameters)
    did = request.query_params.get("did", "")
    return await console.page(
        request,
        template,
        found=found,
        said=(said or {}).get(did),
        fresh_key=fresh_key,
        **more,
    )


async def carry_out(
    console: Console,
    request: Request,
    scopes: tuple[str, ...],
    command: str,
    read: ReadForm,
) -> Response:
    """Send the command in a form; a refusal is a page that names the rule."""
    visitor = await console.visitor(request, *scopes)
    form = await console.form(request, visitor, command)
    order = read(form, visitor.zone)
    key = form_text(form, "key") or fresh_key()
    await console.services.post(
        visitor.principal, order.service, order.route, dict(order.body), key
    )
    return RedirectResponse(order.back, status_code=303)
