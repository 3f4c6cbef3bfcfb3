"""`portalkeeper exception` and `portalkeeper break-glass`: access beyond policy."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

import typer

from services.cli.client import Client, Exit, Failure
from services.cli.printing import AsJson, Rows, group, out, print_answer, print_json, text

exception_app = group("Access beyond policy, approved by a second person.")
break_glass_app = group("Access at once, for hours, reviewed afterwards.")

WorkerId = Annotated[str, typer.Argument(help="Who gets the access.")]
PortalId = Annotated[str, typer.Argument(help="On which portal, by its id in the directory.")]
Function = Annotated[str, typer.Argument(help="Which function, such as claim_status.")]
Tin = Annotated[str, typer.Option(help="Under which tax id of the organization.")]
Why = Annotated[str, typer.Option(help="What the work is; nothing about a person.")]
ExceptionId = Annotated[str, typer.Argument(help="The exception, from: exception list")]


@exception_app.command("list")
def exception_list(
    ended: Annotated[bool, typer.Option("--all", help="Those that ended as well.")] = False,
    worker: str = "",
    as_json: AsJson = False,
) -> None:
    """Those that wait for approval first, then those in force."""
    found = Client.open().get(
        "provisioning",
        "/access/v1/exceptions",
        {"status": "all" if ended else "live", "worker": worker},
    )["exceptions"]
    if as_json:
        print_json(found)
        return
    rows = Rows("Exception", "Kind", "Who", "Portal", "Function", "Status", "Until", "Approved by")
    for one in found:
        rows.add_row(
            one["exception_id"],
            one["kind"].replace("_", "-"),
            one["name"] or one["worker"],
            one["portal"],
            one["function"],
            one["status"],
            one["ends_at"],
            text(one["approved_by"]),
        )
    out.print(rows if found else "No access beyond policy.")


@exception_app.command("request")
def exception_request(
    worker: WorkerId,
    portal: PortalId,
    function: Function,
    tin: Tin,
    reason: Why,
    days: Annotated[int, typer.Option(min=1, max=180, help="For how many days.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Ask for access beyond policy; it gives nothing before a second person approves."""
    body = _wish(worker, portal, function, tin, reason, timedelta(days=days))
    answer = Client.open().command("provisioning", "/access/v1/exceptions", body)
    print_answer(
        as_json,
        answer,
        f"Asked, until {answer['ends_at']}. A second person approves it with:"
        f" portalkeeper exception approve {answer['exception_id']}",
    )


@exception_app.command("approve")
def exception_approve(exception_id: ExceptionId, as_json: AsJson = False) -> None:
    """Approve what somebody else asked for."""
    answer = Client.open().command("provisioning", f"{_path(exception_id)}/approve", {})
    print_answer(as_json, answer, f"Approved until {answer['ends_at']}; the access is ordered now.")


@exception_app.command("end")
def exception_end(exception_id: ExceptionId, as_json: AsJson = False) -> None:
    """Refuse what is asked for, or end early what is in force."""
    answer = Client.open().command("provisioning", f"{_path(exception_id)}/end", {})
    print_answer(as_json, answer, f"It is {answer['status']}; what it gave is ordered away.")


@break_glass_app.command("open")
def break_glass_open(
    worker: WorkerId,
    portal: PortalId,
    function: Function,
    tin: Tin,
    reason: Why,
    hours: Annotated[int, typer.Option(min=1, max=24, help="For how many hours.")] = 4,
    as_json: AsJson = False,
) -> None:
    """Take access at once. It ends by itself, and a second person reviews it."""
    body = _wish(worker, portal, function, tin, reason, timedelta(hours=hours))
    answer = Client.open().command("provisioning", "/access/v1/break-glass", body)
    print_answer(
        as_json,
        answer,
        f"Ordered now, until {answer['ends_at']}. A second person reviews it with:"
        f" portalkeeper break-glass review {answer['exception_id']} FINDING",
    )


@break_glass_app.command("review")
def break_glass_review(
    exception_id: ExceptionId,
    finding: Annotated[str, typer.Argument(help="What you found: needed, or not, and why.")],
    as_json: AsJson = False,
) -> None:
    """Say what a use of break-glass was."""
    path = f"/access/v1/break-glass/{quote(exception_id, safe='')}/review"
    answer = Client.open().command("provisioning", path, {"finding": finding})
    print_answer(as_json, answer, f"Reviewed by {answer['reviewed_by']}.")


def _path(exception_id: str) -> str:
    return f"/access/v1/exceptions/{quote(exception_id, safe='')}"


def _wish(
    worker: str, portal: str, function: str, tin: str, reason: str, lasts: timedelta
) -> dict[str, Any]:
    if len(reason) < 3:
        raise Failure(Exit.USAGE, "Say in a few words what the work is: --reason '...'")
    return {
        "worker": worker,
        "portal": portal,
        "function": function,
        "tin": tin,
        "reason": reason,
        "ends_at": (datetime.now(UTC) + lasts).isoformat(),
    }
