"""`portalkeeper brake`: removals by a change of rules that wait for a person."""

from typing import Annotated
from urllib.parse import quote

import typer

from services.cli.client import Client
from services.cli.printing import AsJson, Rows, group, out, print_answer, print_json, text

brake_app = group("Removals by a change of rules that wait for a person.")

CauseId = Annotated[str, typer.Argument(help="The cause, from: brake list")]


@brake_app.command("list")
def brake_list(
    every: Annotated[bool, typer.Option("--all", help="Those that were decided as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """What the brake holds."""
    causes = Client.open().get(
        "provisioning", "/access/v1/brake", {"status": "all" if every else "waiting"}
    )["causes"]
    if as_json:
        print_json(causes)
        return
    rows = Rows("Cause", "Since", "Status", "Would remove", "Of", "Decided by")
    for cause in causes:
        rows.add_row(
            cause["cause_id"],
            cause["opened_at"],
            cause["status"],
            text(cause["parked"]),
            text(cause["held"]),
            text(cause["decided_by"]),
        )
    out.print(rows if causes else "The brake holds nothing.")


@brake_app.command("show")
def brake_show(cause_id: CauseId, as_json: AsJson = False) -> None:
    """Whose access a cause would remove."""
    cause = Client.open().get("provisioning", _cause(cause_id))
    if as_json:
        print_json(cause)
        return
    rows = Rows("Worker", "Name", "Portal", "Tax id", "Function")
    for one in cause["removals"]:
        what = one["function"] or "the whole login, for good"
        rows.add_row(one["worker"], text(one["name"]), one["portal"], one["tin"], what)
    out.print(rows if cause["removals"] else "Nothing of it waits any more.")


@brake_app.command("release")
def brake_release(
    cause_id: CauseId,
    reason: Annotated[str, typer.Option(help="Why they may go on.")],
    as_json: AsJson = False,
) -> None:
    """Let the removals go on; each is ordered now."""
    answer = Client.open().command(
        "provisioning", f"{_cause(cause_id)}/release", {"reason": reason}
    )
    print_answer(as_json, answer, "Released; the removals are being ordered.")


@brake_app.command("reject")
def brake_reject(
    cause_id: CauseId,
    reason: Annotated[str, typer.Option(help="Why the access stays.")],
    as_json: AsJson = False,
) -> None:
    """Keep the access; you answer for it from now on."""
    answer = Client.open().command("provisioning", f"{_cause(cause_id)}/reject", {"reason": reason})
    print_answer(as_json, answer, "Rejected; the access stays and carries your name.")


def _cause(cause_id: str) -> str:
    return f"/access/v1/brake/{quote(cause_id, safe='')}"
