"""`portalkeeper directory`: the organization, its portals and its policy as one file."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
import yaml

from services.cli.client import Client, Exit, Failure
from services.cli.printing import (
    AsJson,
    Limit,
    Rows,
    group,
    out,
    print_answer,
    print_json,
    progress_bar,
    text,
)
from shared.contracts.directory_file import DirectoryFileError, read_directory_file

directory_app = group("The organization, its portals and its policy.")

File = Annotated[Path, typer.Argument(help="The directory as YAML or JSON.")]
Plan = Annotated[str, typer.Argument(help="The plan, from: directory plan")]

POLL_SECONDS = 0.5
EFFECTS_SHOWN = 50


@directory_app.command("check")
def check(file: File, as_json: AsJson = False) -> None:
    """Whether a file is a directory, without asking any service. Exit status 1 if it is not."""
    try:
        directory = read_directory_file(_read(file))
    except DirectoryFileError as error:
        if as_json:
            print_json([{"line": p.line, "at": p.at, "message": p.message} for p in error.problems])
        else:
            for problem in error.problems:
                out.print(f"{file}: {problem}")
        raise typer.Exit(Exit.NO) from None
    counted = {kind: 0 for kind, _, _ in directory.objects()}
    for kind, _, _ in directory.objects():
        counted[kind] += 1
    said = ", ".join(f"{number} {kind.replace('_', ' ')}" for kind, number in counted.items())
    print_answer(as_json, counted, f"{file} is good: {said}.")


@directory_app.command("plan")
def plan(file: File, as_json: AsJson = False) -> None:
    """What applying a file would change, and whose access; nothing is changed."""
    client = Client.open()
    made = _planned(client, "/access/v1/directory/plans", file)
    _show(client, made, as_json)
    if not as_json and made["changes"]:
        out.print(f"\nApply it: portalkeeper directory apply --plan {made['plan']}")


def simulate(file: File, as_json: AsJson = False) -> None:
    """Who would gain and lose what under a changed directory; it cannot be applied from here."""
    client = Client.open()
    _show(client, _planned(client, "/access/v1/directory/simulations", file), as_json)


directory_app.command("simulate")(simulate)


@directory_app.command("apply")
def apply(
    file: Annotated[
        Path | None, typer.Argument(help="The directory as YAML or JSON, unless --plan.")
    ] = None,
    plan: Annotated[str | None, typer.Option(help="A plan that was looked at before.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Apply a file or a plan, after showing what it changes. A changed policy is proposed only."""
    if (file is None) == (plan is None):
        raise Failure(Exit.USAGE, "Give a file, or --plan PLAN.")
    client = Client.open()
    if file is not None:
        made = _planned(client, "/access/v1/directory/plans", file)
        if not as_json:
            _show(client, made, as_json=False)
        if not made["changes"] and made["base_version"]:
            if as_json:
                print_json({"status": "unchanged", "version": made["base_version"]})
            return
        if not yes and not as_json:
            typer.confirm("Apply this?", abort=True, err=True)
        plan = made["plan"]
    assert plan is not None
    answer = client.command("provisioning", f"{_plan(plan)}/apply", {})
    if answer["status"] == "proposed":
        print_answer(
            as_json,
            answer,
            "Proposed. Nothing has changed yet: it touches the policy, so somebody else with the"
            f" scope policy:approve has to say\n  portalkeeper directory approve {plan}",
        )
        return
    _print_applied(answer, as_json)


@directory_app.command("plans")
def plans(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Plans: what waits for approval first, then the newest."""
    found = Client.open().get("provisioning", "/access/v1/directory/plans", {"limit": limit})
    if as_json:
        print_json(found["plans"])
        return
    rows = Rows("Plan", "Status", "Changes", "Made by", "Made", "Decided by")
    for each in found["plans"]:
        rows.add_row(
            each["plan"],
            "stale" if each["stale"] else each["status"],
            text(len(each["changes"])),
            each["made_by"],
            each["made_at"],
            each["decided_by"] or "",
        )
    out.print(rows if found["plans"] else "No plans.")


@directory_app.command("show")
def show(plan: Plan, as_json: AsJson = False) -> None:
    """A plan: what it changes, and whose access."""
    client = Client.open()
    _show(client, client.get("provisioning", _plan(plan)), as_json)


@directory_app.command("approve")
def approve(plan: Plan, as_json: AsJson = False) -> None:
    """Approve a change of policy that somebody else proposed, and put it in force."""
    _print_applied(Client.open().command("provisioning", f"{_plan(plan)}/approve", {}), as_json)


@directory_app.command("reject")
def reject(
    plan: Plan, reason: Annotated[str, typer.Option(help="Why.")], as_json: AsJson = False
) -> None:
    """Turn a proposed change down, or withdraw your own."""
    answer = Client.open().command("provisioning", f"{_plan(plan)}/reject", {"reason": reason})
    print_answer(as_json, answer, "Rejected. Nothing has changed.")


@directory_app.command("export")
def export(
    file: Annotated[Path | None, typer.Argument(help="Where to; standard output if none.")] = None,
    as_json: AsJson = False,
) -> None:
    """The directory in force as a file; planning it again changes nothing."""
    found = Client.open().get("provisioning", "/access/v1/directory/export")
    if file is not None:
        try:
            file.write_text(found["file"], encoding="utf-8")
        except OSError as error:
            raise Failure(Exit.NO, f"{file} cannot be written: {error.strerror}.") from error
        sentence = f"Version {found['version']} is in {file}."
        print_answer(as_json, {"version": found["version"], "file": str(file)}, sentence)
    elif as_json:
        print_json(found)
    else:
        print(found["file"], end="")


@directory_app.command("history")
def history(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Versions that were put in force, newest first, with who did it."""
    found = Client.open().get("provisioning", "/access/v1/directory/versions", {"limit": limit})
    if as_json:
        print_json(found["versions"])
        return
    rows = Rows("Version", "Applied", "By", "Approved by", "Policy", "Signatory")
    for each in found["versions"]:
        rows.add_row(
            text(each["version"]),
            each["applied_at"],
            each["applied_by"],
            each["approved_by"] or "",
            each["policy"],
            each["signatory"],
        )
    out.print(rows if found["versions"] else "No directory has been applied.")


@directory_app.command("catalogue")
def catalogue(
    entry: Annotated[str | None, typer.Argument(help="One portal of it, whole.")] = None,
    policy: Annotated[
        bool, typer.Option("--policy", help="The policy to begin from, to paste into a file.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The shipped catalogue of portals, to name in a directory as `catalogue: noridian-nmp`."""
    client = Client.open()
    if policy:
        found = client.get("provisioning", "/access/v1/catalogue")["policy"]
        if as_json:
            print_json(found)
        else:
            print(yaml.safe_dump(found, sort_keys=False, default_flow_style=None), end="")
        return
    if entry is not None:
        found = client.get("provisioning", f"/access/v1/catalogue/{quote(entry, safe='')}")
        if as_json:
            print_json(found)
        else:
            _print_entry(found)
        return
    found = client.get("provisioning", "/access/v1/catalogue")
    if as_json:
        print_json(found["portals"])
        return
    rows = Rows("Entry", "Portal", "Kind", "Rules", "Unconfirmed", "Address")
    for each in found["portals"]:
        rows.add_row(
            each["id"],
            each["name"],
            each["kind"].replace("_", " "),
            text(each["rules"]),
            text(each["unconfirmed"]),
            each["url"],
        )
    out.print(rows)


# -- reading and printing


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise Failure(Exit.USAGE, f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise Failure(Exit.USAGE, f"{file} is not text in UTF-8.") from error


def _plan(plan: str) -> str:
    return f"/access/v1/directory/plans/{quote(plan, safe='')}"


def _planned(client: Client, path: str, file: Path) -> dict[str, Any]:
    """The plan made of a file, once its simulation is through."""
    made: dict[str, Any] = client.post("provisioning", path, {"file": _read(file)})
    with progress_bar() as progress:
        task = progress.add_task("Simulating", total=made["total"] or None)
        while made["status"] == "simulating":
            progress.update(task, completed=made["simulated"])
            time.sleep(POLL_SECONDS)
            made = client.get("provisioning", _plan(made["plan"]))
    return made


def effects_of(client: Client, plan: str) -> Iterator[dict[str, Any]]:
    """Whose access a plan changes, page by page as they are asked for."""
    asked = {"limit": EFFECTS_SHOWN}
    return client.every("provisioning", f"{_plan(plan)}/effects", "effects", asked)


def _show(client: Client, plan: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({**plan, "workers": list(effects_of(client, plan["plan"]))})
        return
    effects = list(islice(effects_of(client, plan["plan"]), EFFECTS_SHOWN))
    if not plan["changes"]:
        out.print(f"Nothing to change: the file says what version {plan['base_version']} says.")
    for change in plan["changes"]:
        named = (
            f" ({change['named']})" if change.get("named") not in (None, "", change["id"]) else ""
        )
        out.print(f"  {change['change']} {change['kind']} {change['id']}{named}")
        for field in change["fields"]:
            out.print(
                f"      {field['field']}: {_short(field['before'])} -> {_short(field['after'])}"
            )
    counted = plan["effects"]
    out.print(
        f"{counted['workers']} of {plan['total']} workers change: {counted['gain']} gain"
        f" {counted['gains']} functions, {counted['lose']} lose {counted['loses']}."
    )
    for each in effects:
        out.print(f"  {each['name'] or each['worker']} ({each['worker']})")
        for sign, rights in (("+", each["gains"]), ("-", each["loses"])):
            for portal, tin, function in rights:
                out.print(f"      {sign} {function} at {portal} under {tin}")
        for portal, tin, function, _, why in each["held"]:
            out.print(f"      held back: {function} at {portal} under {tin}: {why}")
        for _, detail in each["raised"]:
            out.print(f"      question: {detail}")
    if counted["workers"] > len(effects):
        out.print(f"  and {counted['workers'] - len(effects)} more: --json has their ids")
    if plan["needs_approval"]:
        out.print("It changes the policy: somebody else has to approve it.")


def _short(value: Any) -> str:
    said = str(value) if value is not None else "nothing"
    return said if len(said) <= 70 else f"{said[:67]}..."


def _print_applied(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    out.print(
        f"Version {answer['version']}: {len(answer['changed'])} changed, "
        f"{answer['workers_behind']} workers to recompute."
    )
    for each in answer["changed"]:
        out.print(f"  {each['change']} {each['kind']} {each['id']}")


def _print_entry(found: dict[str, Any]) -> None:
    portal = found["portal"]
    out.print(f"{portal['name']}  {portal['url']}")
    out.print(f"  functions: {', '.join(found['functions'])}")
    rows = Rows("Rule", "Value", "Source", "Verified", "Confirmed", "Note")
    for rule in portal["rules"]:
        rows.add_row(
            rule["rule"],
            text(rule.get("value")),
            rule["source"],
            rule.get("verified_on", ""),
            "yes" if rule["confirmed"] else "NO",
            rule.get("note", ""),
        )
    out.print(rows)
    for kind, steps in portal["steps"].items():
        for number, step in enumerate(steps, start=1):
            out.print(
                f"  {kind} {number}. {step['actor']}: {step['text']}"
                f" (about {step.get('hours', '?')} h)"
            )
