"""`portalkeeper chore`: work on portals that changes nobody's access."""

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from services.cli.client import Client
from services.cli.printing import AsJson, Limit, Rows, group, out, print_answer, print_json

chore_app = group("Work on portals that changes nobody's access.")

ChoreId = Annotated[str, typer.Argument(help="The chore, from: chore list")]


@chore_app.command("list")
def chore_list(
    ended: Annotated[bool, typer.Option("--ended", help="What is over, instead.")] = False,
    portal: str = "",
    worker: str = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Chores by deadline."""
    asked = {
        "status": "ended" if ended else "open",
        "portal": portal,
        "worker": worker,
        "limit": limit,
    }
    found = Client.open().get("provisioning", "/access/v1/chores", asked)["chores"]
    if as_json:
        print_json(found)
        return
    rows = Rows("Chore", "What", "Portal", "About", "For", "Status", "Due")
    for one in found:
        rows.add_row(
            one["chore_id"],
            one["kind"].replace("_", " "),
            one["portal"],
            one["worker_name"] or one["worker"] or "",
            one["addressed_to"] or "any administrator",
            one["status"],
            one["deadline"],
        )
    out.print(rows if found else "No chores.")


@chore_app.command("request-activity-log")
def request_activity_log(
    portal: Annotated[str, typer.Option(help="Which portal's own log.")],
    worker: Annotated[str, typer.Option(help="Whose doings.")],
    since: Annotated[datetime, typer.Option(help="From when, in this machine's zone.")],
    until: Annotated[datetime, typer.Option(help="Until when.")],
    as_json: AsJson = False,
) -> None:
    """Have the portal's administrator ask it for what somebody did there."""
    body = {
        "portal": portal,
        "worker": worker,
        "since": since.astimezone().isoformat(),
        "until": until.astimezone().isoformat(),
    }
    answer = Client.open().command("provisioning", "/access/v1/chores/activity-log", body)
    who = answer["addressed_to"] or "the portal's administrators"
    print_answer(as_json, answer, f"Asked of {who}, due {answer['deadline']}: {answer['chore_id']}")


@chore_app.command("claim")
def chore_claim(chore_id: ChoreId, as_json: AsJson = False) -> None:
    """Take it on, so that nobody else starts."""
    _say(chore_id, "claim", {}, as_json)


@chore_app.command("done")
def chore_done(
    chore_id: ChoreId,
    text: Annotated[str, typer.Option("--evidence", help="What shows that it was done.")],
    as_json: AsJson = False,
) -> None:
    """Record that it was done, with evidence."""
    _say(chore_id, "done", {"evidence": {"kind": "note", "text": text}}, as_json)


@chore_app.command("decline")
def chore_decline(
    chore_id: ChoreId,
    reason: Annotated[str, typer.Option(help="Why.")],
    as_json: AsJson = False,
) -> None:
    """Say that it will not be done, and why."""
    _say(chore_id, "decline", {"reason": reason}, as_json)


def _say(chore_id: str, move: str, body: dict[str, Any], as_json: bool) -> None:
    path = f"/access/v1/chores/{quote(chore_id, safe='')}/{move}"
    answer = Client.open().command("provisioning", path, body)
    print_answer(as_json, answer, f"It is {answer['status']}.")
