"""What every form about the directory shares: what is in force, and making a plan of a change."""

from collections.abc import Mapping
from typing import Any

from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData

from services.gateway.console.commands import fresh_key
from services.gateway.console.view import path
from services.gateway.console.visitor import Console, Visitor
from shared.errors import Problem

Json = dict[str, Any]


async def in_force(console: Console, visitor: Visitor) -> Json | None:
    """The directory in force, with its version; None before the first."""
    try:
        found: Json = await console.services.get(
            visitor.principal, "provisioning", "/access/v1/directory"
        )
    except Problem as problem:
        if problem.status == 404:
            return None
        raise
    return found


def named(current: Json | None, part: str) -> dict[str, str]:
    """The names of a part of the directory by their ids."""
    return (
        {each["id"]: each["name"] for each in current["directory"].get(part, ())} if current else {}
    )


async def planned(
    console: Console, visitor: Visitor, what: str, edits: Mapping[str, Any]
) -> Response:
    """Make a plan of edits, and lead to the page that shows whose access it changes."""
    made = await console.services.post(
        visitor.principal, "provisioning", "/access/v1/directory/edits", edits, fresh_key()
    )
    await console.doorkeeper.record_command(visitor.session, f"directory.{what}", made["plan"])
    return RedirectResponse(f"/plans/{path(made['plan'])}", status_code=303)


def put(kind: str, id_: str, value: Json) -> Json:
    """The edit that sets one object."""
    return {"put": [{"kind": kind, "id": id_, "value": value}]}


def many(form: FormData, name: str) -> list[str]:
    """What is ticked."""
    return [value for value in form.getlist(name) if isinstance(value, str) and value]
