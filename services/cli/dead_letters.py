"""`portalkeeper dead-letters`: records that no service could apply, and why."""

import asyncio
import os
from dataclasses import asdict

import typer

from services.cli.client import Exit, Failure
from services.cli.printing import AsJson, Limit, Rows, out, print_json
from shared.contracts.envelope import rfc3339

ELSEWHERE = (
    "Run this where Portalkeeper is installed, or set PORTALKEEPER_KAFKA and "
    "PORTALKEEPER_ADMIN_DATABASE_URL."
)


def dead_letters(limit: Limit = 50, as_json: AsJson = False) -> None:
    """Records that were put aside, newest first: which rule and why, never what they say.

    Exit status 1 if there are any.
    """
    try:
        from deploy.looking import place, put_aside
    except ModuleNotFoundError as error:
        raise Failure(Exit.NO, ELSEWHERE) from error
    here = place(os.environ)
    if here is None:
        raise Failure(Exit.NO, ELSEWHERE)
    try:
        found = asyncio.run(put_aside(here.kafka, limit))
    except OSError as error:
        raise Failure(
            Exit.NO_ANSWER, f"Kafka does not answer at {here.kafka}. Start it."
        ) from error
    if as_json:
        print_json([asdict(each) | {"at": rfc3339(each.at)} for each in found])
    else:
        rows = Rows("Put aside", "By", "Rule", "Why", "Record")
        for each in found:
            record = f"{each.topic}/{each.partition}/{each.offset}"
            rows.add_row(rfc3339(each.at), each.service, each.reason, each.detail, record)
        out.print(rows if found else "Nothing was put aside in the last 30 days.")
        if found:
            out.print(
                "What was wrong in the record: correct it at its source and send it again. What was"
                " wrong here: after the fix, send the same again; events are known by their ids."
                " What the gateway refused: portalkeeper hr rejected replay."
            )
    if found:
        raise typer.Exit(Exit.NO)
