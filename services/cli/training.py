"""`portalkeeper training`: what access waits for, and signing it off."""

from typing import Annotated

import typer

from services.cli.client import Client
from services.cli.printing import AsJson, Rows, group, out, print_answer, print_json, text

training_app = group("Training that access waits for.")


@training_app.command("list")
def training_list(worker: str = "", as_json: AsJson = False) -> None:
    """Who still has to be trained, the earliest due first."""
    due = Client.open().get(
        "provisioning", "/access/v1/training", {"worker": worker, "limit": 500}
    )["due"]
    if as_json:
        print_json(due)
        return
    rows = Rows("Worker", "Name", "Module", "Due", "Owner")
    for one in due:
        when = ("LATE " if one["late"] else "") + one["due_at"]
        name = one["name"] or one["module"]
        rows.add_row(one["worker"], text(one["worker_name"]), name, when, text(one["owner"]))
    out.print(rows if due else "Nobody's access waits for training.")


@training_app.command("sign-off")
def training_sign_off(
    worker: Annotated[str, typer.Argument(help="Who completed it.")],
    module: Annotated[str, typer.Argument(help="The module, by its id in the directory.")],
    completed_on: Annotated[str, typer.Option(help="The day, such as 2026-11-20.")],
    version: Annotated[str, typer.Option(help="Which version of the module.")] = "1",
    as_json: AsJson = False,
) -> None:
    """Say under your name that somebody completed a module."""
    answer = Client.open().enter(
        "worker.training_completed",
        worker,
        {"module": module, "version": version, "completed_on": completed_on},
    )
    print_answer(as_json, answer, f"Signed off; Kafka has it as {answer['id']}.")
