"""`portalkeeper hr leaving` and `hr sealed`: departures entered by hand, at once or sealed."""

from datetime import UTC, date, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from services.cli.client import Client, Exit, Failure
from services.cli.printing import AsJson, Rows, err, group, out, print_answer, print_json, text

sealed_app = group("What is sealed until it takes effect, as far as you may see it.")

ROUTE = "/hr/v1/sealed"


def leaving(
    worker: Annotated[str, typer.Argument(help="Who leaves, by worker id.")],
    now: Annotated[bool, typer.Option("--now", help="They leave at this moment.")] = False,
    on: Annotated[
        str | None, typer.Option(help="Their last day, such as 2026-11-27, worked to its end.")
    ] = None,
    voluntary: Annotated[
        bool, typer.Option("--voluntary", help="They can hand over before they go.")
    ] = False,
    sealed: Annotated[
        bool, typer.Option("--sealed", help="Nobody may see it before it takes effect.")
    ] = False,
    reader: Annotated[
        list[str] | None, typer.Option(help="With --sealed: who may, besides you; may be repeated.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say that somebody leaves. Shows first what would end where."""
    if now == (on is not None):
        raise Failure(Exit.USAGE, "Say when: --now or --on DATE.")
    if sealed and now:
        raise Failure(Exit.USAGE, "What happens now cannot be sealed: leave out --sealed.")
    when = _now() if now else {"effective_on": _day(on or "")}
    client = Client.open()
    found = client.get("provisioning", f"/access/v1/workers/{quote(worker, safe='')}")["state"]
    going_on = [each["employment_id"] for each in found["employments"] if each["open"]]
    if not going_on:
        raise Failure(Exit.REFUSED, f"No employment of {worker} is going on.")
    if not yes:
        _ask(found, on)
    embargo = {"readers": reader or []} if sealed else None
    answers = [
        client.enter(
            "worker.terminated",
            worker,
            {**when, "employment_id": employment, "voluntary": voluntary},
            embargo,
        )
        for employment in going_on
    ]
    sentence = f"Entered. What came of it: portalkeeper leaver receipt {worker}"
    if sealed:
        sentence = f"Sealed until {answers[0]['opens_at']}. See: portalkeeper hr sealed list"
    print_answer(as_json, answers, sentence)


@sealed_app.command("list")
def sealed_list(as_json: AsJson = False) -> None:
    """Sealed entries that you entered or may read, the next to take effect first."""
    found = Client.open().get("gateway", ROUTE)["sealed"]
    if as_json:
        print_json(found)
        return
    rows = Rows("Entry", "What", "Worker", "Takes effect", "By", "Readers")
    for one in found:
        readers = ", ".join(one["readers"]) or "nobody else"
        rows.add_row(
            one["id"], one["type"], one["worker"], one["opens_at"], one["entered_by"], readers
        )
    out.print(rows if found else "Nothing is sealed that you may see.")


@sealed_app.command("withdraw")
def sealed_withdraw(
    entry: Annotated[str, typer.Argument(help="Which, from: hr sealed list")],
    as_json: AsJson = False,
) -> None:
    """Forget a sealed entry before it takes effect."""
    answer = Client.open().post("gateway", f"{ROUTE}/{quote(entry, safe='')}/withdraw", {})
    print_answer(as_json, answer, "Withdrawn. Nothing will happen, and nothing says what it was.")


def _now() -> dict[str, Any]:
    return {"effective_at": datetime.now(UTC).isoformat(), "immediate": True}


def _day(given: str) -> str:
    try:
        return date.fromisoformat(given).isoformat()
    except ValueError as error:
        raise Failure(Exit.USAGE, f"{given!r} is no day; one looks like 2026-11-27.") from error


def _ask(state: dict[str, Any], on: str | None) -> None:
    held = [each for each in state["portals"] if each["effective"] or each["operations"]]
    rows = Rows("Portal", "Login", "Functions")
    for each in held:
        functions = sorted({own["function"] for own in each["effective"]})
        rows.add_row(each["portal"], text(each["login_id"]), ", ".join(functions) or "not yet open")
    if held:
        err.print(rows)
    name = state["name"] or state["worker"]
    typer.confirm(
        f"{name} leaves {f'on {on}' if on else 'now'}; removal is ordered on {len(held)} portals, "
        "under your name. Go on?",
        abort=True,
        err=True,
    )
