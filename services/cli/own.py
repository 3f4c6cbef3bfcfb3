"""`portalkeeper own`: what waits for whoever asks."""

from typing import Annotated
from urllib.parse import quote

import typer

from services.cli.client import Client
from services.cli.printing import AsJson, Rows, group, out, print_answer, print_json, text

own_app = group("What waits for you yourself.")


@own_app.command("work")
def own_work(as_json: AsJson = False) -> None:
    """Steps that only you can take, such as signing in before a login lapses."""
    items = Client.open().get("provisioning", "/access/v1/own/work")["items"]
    if as_json:
        print_json(items)
        return
    rows = Rows("Work", "Portal", "Due", "Step", "What to do")
    for item in items:
        for step in item["steps"]:
            if step["actor"] == "worker" and not step["done_at"]:
                rows.add_row(
                    item["operation_id"],
                    item["portal_name"],
                    item["deadline"],
                    text(step["index"]),
                    step["text"],
                )
    out.print(rows if items else "Nothing waits for you.")


@own_app.command("step")
def own_step(
    operation_id: Annotated[str, typer.Argument(help="The work, from: own work")],
    index: Annotated[int, typer.Argument(help="The step's number.")],
    as_json: AsJson = False,
) -> None:
    """Say that you took a step."""
    path = f"/access/v1/own/work/{quote(operation_id, safe='')}/steps/{index}"
    print_answer(as_json, Client.open().command("provisioning", path, {}), "Thank you.")


@own_app.command("signed-in")
def own_signed_in(
    operation_id: Annotated[str, typer.Argument(help="The work, from: own work")],
    as_json: AsJson = False,
) -> None:
    """Say that you signed in to a portal with your own login, or changed its password."""
    path = f"/access/v1/own/work/{quote(operation_id, safe='')}/signed-in"
    print_answer(as_json, Client.open().command("provisioning", path, {}), "Thank you.")
