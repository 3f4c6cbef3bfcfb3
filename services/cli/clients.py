"""`portalkeeper client`: programs that get tokens for credentials of their own."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from services.cli.client import Client
from services.cli.printing import AsJson, Rows, group, out, print_answer, print_json, text

client_app = group("Programs with credentials of their own, for POST /oauth/token.")

ClientId = Annotated[str, typer.Argument(help="The program, from: client list")]
CLIENTS = "/ops/v1/clients"


@client_app.command("list")
def client_list(as_json: AsJson = False) -> None:
    """The programs of the organization."""
    clients = Client.open().get("gateway", CLIENTS)["clients"]
    if as_json:
        print_json(clients)
        return
    rows = Rows("Client", "Name", "Scopes", "HR source", "Registered", "By", "Revoked")
    for each in clients:
        rows.add_row(
            each["client_id"],
            each["name"],
            " ".join(each["scopes"]),
            text(each["source"]),
            each["registered_at"],
            each["registered_by"],
            text(each["revoked_at"]),
        )
    out.print(rows if clients else "No program is registered.")


@client_app.command("register")
def client_register(
    name: Annotated[str, typer.Argument(help="What screens call it.")],
    scope: Annotated[
        list[str], typer.Option(help="hr:write, access:read, audit:read or directory:read.")
    ],
    source: Annotated[str | None, typer.Option(help="The HR source, with hr:write.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a program; its secret is shown this once."""
    body = {"name": name, "scopes": scope, "source": source}
    _print_credentials(as_json, Client.open().post("gateway", CLIENTS, body))


@client_app.command("rotate")
def client_rotate(
    client_id: ClientId,
    overlap_days: Annotated[float, typer.Option(help="How long the old secret counts yet.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Make a new secret, shown this once."""
    path = f"{CLIENTS}/{quote(client_id, safe='')}/secrets"
    answer = Client.open().post("gateway", path, {"overlap_days": overlap_days})
    _print_credentials(as_json, answer)


@client_app.command("revoke")
def client_revoke(client_id: ClientId, as_json: AsJson = False) -> None:
    """Let a program have no token any more."""
    answer = Client.open().post("gateway", f"{CLIENTS}/{quote(client_id, safe='')}/revoke", {})
    print_answer(as_json, answer, f"{client_id} gets no token any more.")


def _print_credentials(as_json: bool, made: dict[str, Any]) -> None:
    print_answer(
        as_json,
        made,
        f"Client {made['client_id']}\nSecret {made['secret']}\nIt is shown this once: keep it where"
        " the program looks for it.",
    )
