"""`portalkeeper leaver`: departures, what is still reachable, notices, receipts."""

from typing import Annotated
from urllib.parse import quote

import typer

from services.cli.client import Client
from services.cli.printing import AsJson, Rows, group, out, print_answer, print_json, text

leaver_app = group("Departures: what is still reachable, notices, receipts.")

WorkerId = Annotated[str, typer.Argument(help="The worker id.")]
PortalId = Annotated[str, typer.Argument(help="The portal, by its id in the directory.")]


@leaver_app.command("list")
def leaver_list(days: int = 90, as_json: AsJson = False) -> None:
    """Who left, and what is still reachable."""
    leavers = Client.open().get("provisioning", "/access/v1/leavers", {"days": days, "limit": 500})[
        "leavers"
    ]
    if as_json:
        print_json(leavers)
        return
    rows = Rows("Worker", "Name", "Ordered", "Removed", "STILL REACHABLE", "Notices to send")
    for one in leavers:
        rows.add_row(
            one["worker"],
            text(one["name"]),
            one["ordered_at"],
            f"{one['removed']} of {one['portals']}",
            text(one["reachable"]),
            f"{one['notices_open']} ({one['notices_overdue']} overdue)",
        )
    out.print(rows if leavers else "Nobody with access left.")


@leaver_app.command("show")
def leaver_show(worker: WorkerId, as_json: AsJson = False) -> None:
    """One departure in the order of harm."""
    sheet = Client.open().get("provisioning", _leaver(worker))
    if as_json:
        print_json(sheet)
        return
    out.print(f"{sheet['name'] or worker}, left {sheet['left_at']}")
    rows = Rows("Portal", "State", "How known", "Due", "Told")
    for one in sheet["portals"]:
        state = "STILL REACHABLE" if one["reachable"] else f"removed {one['removed_at']}"
        told = one["notice"]["sent_at"] if one["notice"] else f"due {one['notice_due_at']}"
        rows.add_row(one["name"], state, text(one["grade"]), one["deadline"], told)
    out.print(rows)


@leaver_app.command("receipt")
def leaver_receipt(worker: WorkerId, as_json: AsJson = False) -> None:
    """What HR gets back. Exit status 0 whether or not everything is gone; it says which."""
    found = Client.open().get("provisioning", f"{_leaver(worker)}/receipt")
    head = "All removed." if found["complete"] else "NOT ALL REMOVED."
    lines = "\n".join(f"  {line}" for line in found["lines"])
    print_answer(as_json, found, f"{head} {found['removed']} of {found['of']}.\n{lines}".rstrip())


@leaver_app.command("notice")
def leaver_notice(
    worker: WorkerId,
    portal: PortalId,
    proof: Annotated[str, typer.Option(help="A message id, case number, or whom you spoke to.")],
    channel: Annotated[str, typer.Option(help="email, phone, portal or letter")] = "email",
    as_json: AsJson = False,
) -> None:
    """Keep that a portal was told of a departure. The draft is in: leaver show --json."""
    answer = Client.open().command(
        "provisioning",
        f"{_leaver(worker)}/notices",
        {"portal": portal, "channel": channel, "proof": proof},
    )
    print_answer(as_json, answer, f"{portal} was told at {answer['sent_at']}.")


def _leaver(worker: str) -> str:
    return f"/access/v1/leavers/{quote(worker, safe='')}"
