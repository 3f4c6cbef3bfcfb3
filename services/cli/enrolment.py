"""`portalkeeper enrolment`: the organization's own standing on each portal, per tax id."""

from datetime import date
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

import typer

from services.cli.client import Client
from services.cli.printing import AsJson, Rows, group, out, print_json, read_day, text

enrolment_app = group("The organization's own enrolment on portals, in four phases.")

EnrolmentId = Annotated[str, typer.Argument(help="The enrolment, from: enrolment list")]


class PhaseName(StrEnum):
    """The four phases."""

    REGISTRATION = "registration"
    CARRIER_MAPPING = "carrier_mapping"
    USER_PROVISIONING = "user_provisioning"
    TRAINING = "training"


Phase = Annotated[PhaseName, typer.Argument(help="The phase.")]
Note = Annotated[str | None, typer.Option(help="What it waits for, or what shows it.")]


@enrolment_app.command("list")
def enrolment_list(
    open_only: Annotated[bool, typer.Option("--open", help="Only what has not cleared.")] = False,
    as_json: AsJson = False,
) -> None:
    """Every enrolment with its phase; documents that expire come last."""
    found = Client.open().get("provisioning", "/access/v1/enrolments")
    shown = [each for each in found["enrolments"] if each["phase"] or not open_only]
    if as_json:
        print_json({**found, "enrolments": shown})
        return
    rows = Rows("Enrolment", "Portal", "Tax id", "Phase", "Status", "Owner", "Due")
    for each in shown:
        current = next((p for p in each["phases"] if p["phase"] == each["phase"]), None)
        rows.add_row(
            each["enrolment"],
            each["portal_name"],
            each["tin"],
            each["phase"].replace("_", " ") if each["phase"] else "all cleared",
            "STALLED" if each["stalled"] else (current["status"] if current else ""),
            (current or each)["owner"] or "",
            (current["due_at"] if current else None) or "",
        )
    out.print(rows if shown else "No enrolment.")
    for document in found["documents"]:
        if document["id"] in found["expiring"]:
            out.print(f"{document['name']} expires on {document['expires_on']}.")


@enrolment_app.command("show")
def enrolment_show(enrolment: EnrolmentId, as_json: AsJson = False) -> None:
    """One enrolment with its checklists and its document pack."""
    found = Client.open().get("provisioning", f"/access/v1/enrolments/{quote(enrolment, safe='')}")
    _print(found, as_json)


@enrolment_app.command("begin")
def begin(enrolment: EnrolmentId, phase: Phase, note: Note = None, as_json: AsJson = False) -> None:
    """Begin a phase; the one before it must have cleared."""
    _move(enrolment, phase, "begin", {"note": note}, as_json)


@enrolment_app.command("submit")
def submit(
    enrolment: EnrolmentId, phase: Phase, note: Note = None, as_json: AsJson = False
) -> None:
    """Say that the portal has it now; every item must be ticked."""
    _move(enrolment, phase, "submit", {"note": note}, as_json)


@enrolment_app.command("return")
def returned(
    enrolment: EnrolmentId, phase: Phase, note: Note = None, as_json: AsJson = False
) -> None:
    """Say that the portal wants more."""
    _move(enrolment, phase, "return", {"note": note}, as_json)


@enrolment_app.command("clear")
def clear(
    enrolment: EnrolmentId,
    phase: Phase,
    on: Annotated[
        date | None, typer.Option(parser=read_day, help="The portal's day; today if none.")
    ] = None,
    note: Note = None,
    as_json: AsJson = False,
) -> None:
    """Say that a phase has cleared. A registration enters the directory: accounts follow."""
    body = {"note": note, "on": on.isoformat() if on else None}
    _move(enrolment, phase, "clear", body, as_json)


@enrolment_app.command("reopen")
def reopen(
    enrolment: EnrolmentId, phase: Phase, note: Note = None, as_json: AsJson = False
) -> None:
    """Go through a cleared phase again, from an empty checklist."""
    _move(enrolment, phase, "reopen", {"note": note}, as_json)


@enrolment_app.command("tick")
def tick(
    enrolment: EnrolmentId,
    phase: Phase,
    item: Annotated[str, typer.Argument(help="As shown by: enrolment show")],
    undo: Annotated[bool, typer.Option("--undo", help="Take the tick away.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tick an item of a phase's checklist."""
    _move(enrolment, phase, f"items/{quote(item, safe='')}", {"done": not undo}, as_json)


@enrolment_app.command("owner")
def owner(
    enrolment: EnrolmentId,
    phase: Phase,
    worker: Annotated[str | None, typer.Argument(help="A worker; nobody, if none.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say who sees a phase through."""
    _move(enrolment, phase, "owner", {"owner": worker}, as_json)


def _move(
    enrolment: str, phase: PhaseName, route: str, body: dict[str, Any], as_json: bool
) -> None:
    path = f"/access/v1/enrolments/{quote(enrolment, safe='')}/{phase.value}/{route}"
    _print(Client.open().command("provisioning", path, body), as_json)


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    registered = found["registered_on"] or "not yet"
    out.print(f"{found['portal_name']} under {found['tin']}: registered {registered}")
    for phase in found["phases"]:
        state = "STALLED" if phase["stalled"] else phase["status"]
        due = f", due {phase['due_at']}" if phase["due_at"] and phase["stalled"] is False else ""
        out.print(
            f"  {phase['phase'].replace('_', ' ')}: {state}{due}, owner {text(phase['owner'])}"
        )
        for item in phase["checklist"] if phase["phase"] == found["phase"] else ():
            mark = "x" if item["done_at"] else " "
            out.print(f"    [{mark}] {item['id']}  {item['text']}")
    for document in found["documents"]:
        until = f"until {document['expires_on']}" if document["expires_on"] else "no expiry"
        out.print(f"  document: {document['name']} ({until}), {document['held_at']}")
