"""`portalkeeper hr rejected`: events that the gateway did not take, and another attempt at them."""

from typing import Annotated

import typer

from services.cli.client import Client, Exit, Failure
from services.cli.printing import AsJson, Limit, Rows, group, out, print_json, text

rejected_app = group("HR events that were rejected at the door, kept for 30 days.")

ROUTE = "/hr/v1/rejected"


@rejected_app.command("list")
def rejected_list(limit: Limit = 50, as_json: AsJson = False) -> None:
    """Rejected events, newest first: which rule and why, never what they say."""
    found = Client.open().get("gateway", ROUTE, {"limit": limit})["rejected"]
    if as_json:
        print_json(found)
        return
    rows = Rows("Reference", "Source", "Rule", "Why", "Rejected", "Kept until", "Replayed")
    for one in found:
        rows.add_row(
            one["reference"],
            text(one["source"]),
            one["code"],
            one["detail"],
            one["rejected_at"],
            one["expires_at"],
            text(one["replayed_at"]),
        )
    out.print(rows if found else "Nothing was rejected in the last 30 days.")


@rejected_app.command("replay")
def rejected_replay(
    references: Annotated[
        list[str] | None, typer.Argument(help="Which, from: hr rejected list")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that were listed and not replayed yet.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Judge rejected events again by today's rules. Exit status 1 if any is still refused."""
    client = Client.open()
    wanted = list(references or [])
    if everything:
        kept = client.get("gateway", ROUTE, {"limit": 500})["rejected"]
        wanted += [one["reference"] for one in kept if one["replayed_at"] is None]
    elif not wanted:
        raise Failure(Exit.USAGE, "Name the references to replay, or give --all.")
    accepted: dict[str, str] = {}
    refused: dict[str, str] = {}
    for reference in wanted:
        try:
            accepted[reference] = client.post("gateway", f"{ROUTE}/{reference}/replay", {})["id"]
        except Failure as failure:
            if failure.code is not Exit.REFUSED:
                raise
            refused[reference] = str(failure)
    if as_json:
        print_json({"accepted": accepted, "refused": refused})
    else:
        out.print(f"{len(accepted)} accepted, {len(refused)} still refused.")
        for reference, why in refused.items():
            out.print(f"{reference}: {why}")
    if refused:
        raise typer.Exit(Exit.NO)
