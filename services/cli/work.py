"""`portalkeeper work`: what people do on portals."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from services.cli.client import Client
from services.cli.printing import AsJson, Limit, Rows, group, out, print_json

work_app = group("What people do on portals.")

OperationId = Annotated[str, typer.Argument(help="The operation, from: work list")]


@work_app.command("list")
def work_list(
    ended: Annotated[bool, typer.Option("--ended", help="What is over, instead.")] = False,
    portal: str = "",
    worker: str = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The queue, most urgent first."""
    found = Client.open().get(
        "provisioning",
        "/access/v1/work",
        {
            "status": "ended" if ended else "open",
            "portal": portal,
            "worker": worker,
            "limit": limit,
        },
    )
    if as_json:
        print_json(found["items"])
        return
    rows = Rows("Operation", "What", "Who", "Portal", "Status", "Due")
    for item in found["items"]:
        rows.add_row(
            item["operation_id"],
            _what(item),
            item["worker_name"] or item["worker"],
            item["portal_name"],
            "OVERDUE" if item["overdue"] else item["status"],
            f"{item['deadline']}, stands still" if item["paused_since"] else item["deadline"],
        )
    out.print(rows if found["items"] else "Nothing to do.")


@work_app.command("show")
def work_show(operation_id: OperationId, as_json: AsJson = False) -> None:
    """One work item with its steps."""
    _print_item(as_json, Client.open().get("provisioning", _work(operation_id)))


@work_app.command("claim")
def work_claim(operation_id: OperationId, as_json: AsJson = False) -> None:
    """Take it on, so that nobody else starts."""
    _print_item(as_json, Client.open().command("provisioning", f"{_work(operation_id)}/claim", {}))


@work_app.command("step")
def work_step(
    operation_id: OperationId,
    index: Annotated[int, typer.Argument(min=0, help="As shown by: work show")],
    as_json: AsJson = False,
) -> None:
    """Tick off one step."""
    _print_item(
        as_json, Client.open().command("provisioning", f"{_work(operation_id)}/steps/{index}", {})
    )


@work_app.command("done")
def work_done(
    operation_id: OperationId,
    text: Annotated[str, typer.Option("--evidence", help="What shows that it was done.")],
    kind: Annotated[
        str, typer.Option(help="confirmation_number, note or roster_line")
    ] = "confirmation_number",
    login_id: Annotated[str | None, typer.Option(help="For a new account.")] = None,
    as_json: AsJson = False,
) -> None:
    """Record that it was done, with evidence."""
    body = {"evidence": {"kind": kind, "text": text}, "login_id": login_id}
    _print_item(as_json, Client.open().command("provisioning", f"{_work(operation_id)}/done", body))


@work_app.command("decline")
def work_decline(
    operation_id: OperationId,
    reason: Annotated[str, typer.Option(help="Why.")],
    as_json: AsJson = False,
) -> None:
    """Say that it will not be done, and why."""
    _print_item(
        as_json,
        Client.open().command("provisioning", f"{_work(operation_id)}/decline", {"reason": reason}),
    )


def _work(operation_id: str) -> str:
    return f"/access/v1/work/{quote(operation_id, safe='')}"


def _what(item: dict[str, Any]) -> str:
    functions = item["functions"] or ([item["function"]] if item["function"] else [])
    return " ".join([item["kind"], ", ".join(functions)]).strip().replace("_", " ")


def _print_item(as_json: bool, item: dict[str, Any]) -> None:
    if as_json:
        print_json(item)
        return
    paused = f", stands still since {item['paused_since']}" if item["paused_since"] else ""
    out.print(
        f"{_what(item)} for {item['worker_name'] or item['worker']} at {item['portal_name']}\n"
        f"  {item['status']}, due {item['deadline']}{paused}, because of {item['reason']['rule']}, "
        f"claimed by {item['claimed_by'] or 'nobody'}"
    )
    for step in item["steps"]:
        mark = "x" if step["done_at"] else " "
        out.print(f"  [{mark}] {step['index']}  {step['actor']}: {step['text']}")
