"""`portalkeeper where`: which portal and screen some work is done on."""

from typing import Annotated, Any

import typer

from services.cli.client import Client, Exit
from services.cli.printing import AsJson, out, print_json


def where(
    question: Annotated[
        list[str], typer.Argument(help='As you would say it: "regence cob denial"')
    ],
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Where do I go? Portal, screen, and what to do when that fails. Exit status 1 if nowhere."""
    asked = {"q": " ".join(question), "limit": limit}
    found = Client.open().get("provisioning", "/access/v1/guide", asked)["answers"]
    if as_json:
        print_json(found)
    elif not found:
        out.print("Nothing matches. Name the carrier and the work: regence prior authorization")
    for answer in found if not as_json else ():
        _print(answer)
    if not found:
        raise typer.Exit(Exit.NO)


def _print(answer: dict[str, Any]) -> None:
    out.print(f"{answer['carrier_name']}: {answer['work']}", style="bold")
    place = answer["place"]
    if place is None:
        out.print("  No portal of ours does this.")
    else:
        through = f", through {place['through']}" if place["through"] else ""
        out.print(f"  {place['name']}{through}")
        if place["screen"]:
            out.print(f"  {place['screen']}")
        out.print(f"  {place['link'] or place['url']}")
        if place["outage"]:
            outage = place["outage"]
            out.print(f"  DOES NOT WORK NOW ({outage['kind']}): {outage['note']}")
        if place["vault_item"]:
            out.print(f"  vault: {place['vault_item']}")
        if place["mine"] is not None:
            may = ", ".join(place["mine"]).replace("_", " ")
            out.print(f"  you may: {may}" if may else "  you have no access there")
        if answer["portal_shows"]:
            out.print(f"  shows: {answer['portal_shows']}")
    for number, rung in enumerate(answer["ladder"], start=1):
        out.print(f"  if not, {number}. {rung['kind']}: {rung['text']}")
    if not answer["under_contract"]:
        out.print("  There is no contract with this carrier now.")
