"""`portalkeeper people`: who works here, and what somebody has where."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from services.cli.client import Client
from services.cli.printing import AsJson, Limit, Rows, group, out, print_json, text

people_app = group("Who works here, and what they have where.")


@people_app.command("list")
def people_list(
    words: Annotated[
        list[str] | None, typer.Argument(help="Parts of a name, worker id or title.")
    ] = None,
    status: Annotated[
        str, typer.Option(help="expected, active, on_leave, terminated or erased")
    ] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Workers by id, with how many portals they can use."""
    asked = {"query": " ".join(words or ()), "status": status, "limit": limit}
    found = Client.open().get("provisioning", "/access/v1/workers", asked)
    if as_json:
        print_json(found["workers"])
        return
    rows = Rows("Worker", "Name", "Status", "Title", "Sites", "Portals", "EXPOSED")
    for one in found["workers"]:
        rows.add_row(
            one["worker"],
            text(one["name"]),
            one["status"].replace("_", " "),
            text(one["title"]),
            ", ".join(one["sites"]),
            text(one["portals"]),
            text(one["exposed"] or ""),
        )
    out.print(rows if found["workers"] else "Nobody is called that.")
    if found["next_cursor"]:
        out.print(f"These are the first {limit}; more of the name, or --limit, shows others.")


@people_app.command("show")
def people_show(
    worker: Annotated[str, typer.Argument(help="The worker id, from: people list")],
    as_json: AsJson = False,
) -> None:
    """One person's employments, and what they have and should have on each portal."""
    path = f"/access/v1/workers/{quote(worker, safe='')}"
    found = Client.open().get("provisioning", path)
    if as_json:
        print_json(found)
        return
    state = found["state"]
    status = state["status"].replace("_", " ")
    blocked = ", BLOCKED" if state["blocked"] else ""
    out.print(f"{state['name'] or worker} ({worker}), {status}{blocked}")
    for employment in state["employments"]:
        out.print(f"  {_employment(employment, found['supervisors'])}")
    for due in state["training_due"]:
        out.print(f"  waits for the training {due['module']}, due {due['due_at']}")
    for finding in state["findings"]:
        out.print(f"  {finding['rule'].replace('_', ' ')}: {finding['detail']}")
    rows = Rows("Portal", "Login", "May use", "Should", "Under way", "Held back")
    for access in state["portals"]:
        rows.add_row(
            access["portal"],
            access["login_id"] or access["status"],
            _exposed(access) + _functions(access["effective"]),
            _functions(access["desired"]),
            ", ".join(f"{each['kind']} {each['status']}" for each in access["operations"]),
            ", ".join(dict.fromkeys(each["rule"] for each in access["held"])).replace("_", " "),
        )
    if state["portals"]:
        out.print(rows)
        out.print(f"Why: portalkeeper explain {worker} PORTAL")
    else:
        out.print("  has nothing on any portal, and is to have nothing")


def _employment(employment: dict[str, Any], supervisors: dict[str, str]) -> str:
    sites = ", ".join(employment["sites"]) or "no site"
    until = f" until {employment['ends_at']}" if employment["ends_at"] else ""
    supervisor = employment["supervisor"]
    under = f", under {supervisors.get(supervisor, supervisor)}" if supervisor else ""
    away = ", on leave" if employment["on_leave"] else ""
    return f"{employment['title']} at {sites}, from {employment['starts_at']}{until}{under}{away}"


def _functions(entitlements: list[dict[str, Any]]) -> str:
    names = dict.fromkeys(each["function"] for each in entitlements)
    return ", ".join(names).replace("_", " ")


def _exposed(access: dict[str, Any]) -> str:
    return f"EXPOSED since {access['exposed_since']}: " if access["exposed_since"] else ""
