"""`portalkeeper hr secret`: webhook secrets of HR sources."""

from typing import Annotated
from urllib.parse import quote

import typer

from services.cli.client import Client
from services.cli.printing import AsJson, Rows, err, group, out, print_json, text

secret_app = group("Webhook secrets of HR sources.")

SourceName = Annotated[str, typer.Argument(help="The source, as its events name it.")]


@secret_app.command("list")
def secret_list(source: SourceName, as_json: AsJson = False) -> None:
    """A source's secrets by fingerprint, never themselves."""
    found = Client.open().get("gateway", _route(source))["secrets"]
    if as_json:
        print_json(found)
        return
    rows = Rows("Fingerprint", "From", "Made", "By", "Counts until")
    for one in found:
        origin = "sources file" if one["from_file"] else "rotation"
        until = one["ends_at"] or "it is replaced"
        made = (text(one["made_at"]), text(one["made_by"]))
        rows.add_row(one["fingerprint"], origin, *made, until)
    out.print(rows)


@secret_app.command("rotate")
def secret_rotate(
    source: SourceName,
    overlap_days: Annotated[
        float, typer.Option(min=0, max=30, help="For how long the others count yet; 0: not at all.")
    ] = 7,
    as_json: AsJson = False,
) -> None:
    """Make a new secret, shown this once; those there are count until the overlap is over."""
    answer = Client.open().post("gateway", _route(source), {"overlap_days": overlap_days})
    if as_json:
        print_json(answer)
        return
    out.print(answer["secret"])
    err.print(
        f"This is shown once: give it to {source} now. Others count until "
        f"{answer['others_end_at']}."
    )


def _route(source: str) -> str:
    return f"/hr/v1/sources/{quote(source)}/secrets"
