"""`portalkeeper outage`, `incident` and `clocks`: what keeps people out of portals."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from services.cli.client import Client
from services.cli.printing import AsJson, Limit, Rows, group, out, print_answer, print_json, text

outage_app = group("Portals that do not work.")
incident_app = group("Not getting in.")

PortalId = Annotated[str, typer.Argument(help="The portal, by its id in the directory.")]
Trouble = Annotated[
    str,
    typer.Option(help="down, login_loop, credential_expired, locked_out, function_missing, other"),
]


@outage_app.command("list")
def outage_list(
    every: Annotated[bool, typer.Option("--all", help="Those that ended as well.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Portals that do not work, and what to do meanwhile."""
    outages = Client.open().get(
        "provisioning", "/access/v1/outages", {"status": "all" if every else "open", "limit": limit}
    )["outages"]
    if as_json:
        print_json(outages)
        return
    rows = Rows("Outage", "Portal", "What", "Since", "Until", "Work waiting", "Meanwhile")
    for one in outages:
        meanwhile = one["downtime"]["text"] if one["downtime"] else text(one["support"])
        rows.add_row(
            one["outage_id"],
            one["portal_name"] or one["portal"],
            f"{one['kind'].replace('_', ' ')}: {one['note']}",
            one["started_at"],
            text(one["ended_at"]),
            text(one["waiting"]),
            meanwhile,
        )
    out.print(rows if outages else "No portal is known to be down.")


@outage_app.command("begin")
def outage_begin(
    portal: PortalId,
    note: Annotated[str, typer.Option(help="What you see, in a few words.")],
    kind: Trouble = "down",
    as_json: AsJson = False,
) -> None:
    """Say that a portal does not work: deadlines of work there stand still."""
    answer = Client.open().command(
        "provisioning", "/access/v1/outages", {"portal": portal, "kind": kind, "note": note}
    )
    print_answer(
        as_json,
        answer,
        f"Deadlines on {portal} stand still until: portalkeeper outage end {answer['outage_id']}",
    )


@outage_app.command("end")
def outage_end(
    outage_id: Annotated[str, typer.Argument(help="The outage, from: outage list")],
    as_json: AsJson = False,
) -> None:
    """Say that the portal works again; prints what to catch up on."""
    answer = Client.open().command(
        "provisioning", f"/access/v1/outages/{quote(outage_id, safe='')}/end", {}
    )
    lines = "\n".join(f"  portalkeeper work show {one}" for one in answer["catch_up"])
    many = len(answer["catch_up"])
    print_answer(as_json, answer, f"{many} pieces of work to catch up on.\n{lines}".rstrip())


@incident_app.command("report")
def incident_report(
    portal: PortalId,
    note: Annotated[str, typer.Option(help="What happens, in a few words; no password.")],
    kind: Trouble = "login_loop",
    as_json: AsJson = False,
) -> None:
    """Say that you cannot work on a portal."""
    answer = Client.open().command(
        "provisioning", "/access/v1/incidents", {"portal": portal, "kind": kind, "note": note}
    )
    print_answer(as_json, answer, "Reported. What to do meanwhile: portalkeeper outage list")


@incident_app.command("list")
def incident_list(portal: str = "", limit: Limit = 50, as_json: AsJson = False) -> None:
    """What people reported, the latest first."""
    found = Client.open().get(
        "provisioning", "/access/v1/incidents", {"portal": portal, "limit": limit}
    )["incidents"]
    if as_json:
        print_json(found)
        return
    rows = Rows("When", "Portal", "Who", "What", "Note")
    for one in found:
        who = one["name"] or one["reported_by"]
        rows.add_row(
            one["reported_at"], one["portal"], who, one["kind"].replace("_", " "), one["note"]
        )
    out.print(rows if found else "Nobody reported anything.")


def clocks(days: int = 60, as_json: AsJson = False) -> None:
    """Logins that portals will disable for want of use, and what that costs."""
    found = Client.open().get("provisioning", "/access/v1/clocks", {"days": days, "limit": 500})
    if as_json:
        print_json(found)
        return
    rows = Rows("Lapses", "Who", "Portal", "Last login", "Costs", "Work")
    for one in found["lapses"]:
        rows.add_row(
            ("LAPSED " if one["lapsed"] else "") + one["lapses_at"],
            one["name"] or one["worker"],
            one["portal_name"] or one["portal"],
            text(one["last_login_at"]),
            _cost(one),
            text(one["operation_id"]),
        )
    out.print(rows if found["lapses"] else f"Nothing lapses within {days} days, as far as known.")


def _cost(lapse: dict[str, Any]) -> str:
    parts = []
    if lapse["hours_to_return"]:
        parts.append(f"{lapse['hours_to_return']} h to bring it back")
    if lapse["deleted_after_days"]:
        parts.append(f"deleted after {lapse['deleted_after_days']} idle days")
    return ", ".join(parts) or "a reactivation"
