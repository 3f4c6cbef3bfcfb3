"""`portalkeeper adopt`, `portal` and `simulator`: sheets, portals' user lists, and make-believe."""

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
import yaml

from services.cli.client import Client, Exit, Failure
from services.cli.printing import (
    AsJson,
    Rows,
    group,
    out,
    print_answer,
    print_json,
    read_day,
    text,
)

portal_app = group("Portals: their user lists, what those showed, and what is known.")
roster_app = group("A portal's own list of users.")
portal_app.add_typer(roster_app, name="roster")
simulator_app = group("Make-believe portals, for trials and examples.")

SHOWN_LINES = 20
FINDINGS_PER_PAGE = 500
PortalId = Annotated[str, typer.Argument(help="The portal, by its id in the directory.")]
Answers = Annotated[
    list[str] | None,
    typer.Option("--answer", help="KEY=ANSWER for one question, as the preview shows it."),
]
AnswersFile = Annotated[
    Path | None, typer.Option("--answers", help="YAML or JSON with the same, by key.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only look.")]
Yes = Annotated[bool, typer.Option("--yes", help="Apply without asking.")]
Plan = Annotated[
    str | None, typer.Option(help="Apply only if the preview is still this one, by its hash.")
]


def adopt(
    sheet: Annotated[Path, typer.Argument(help="CSV or XLSX: a row per person, or per login.")],
    as_of: Annotated[date, typer.Option(parser=read_day, help="The day on which it was right.")],
    dry_run: DryRun = False,
    answer: Answers = None,
    answers: AnswersFile = None,
    plan: Plan = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take over the logins on the sheet kept so far, unverified until portals' lists show them."""
    client = Client.open()
    body = {**_file(sheet, answer, answers), "as_of": as_of.isoformat()}
    preview = client.post("provisioning", "/access/v1/adoptions", body)
    _look_then_apply(client, "adoptions", preview, dry_run, plan, yes, as_json)


@roster_app.command("import")
def roster_import(
    portal: PortalId,
    file: Annotated[Path, typer.Argument(help="CSV, XLSX, pasted text, or a mail (.eml).")],
    as_of: Annotated[
        str, typer.Option(help="When the list was right: 2026-03-31T06:00, this machine's zone.")
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN=FIELD where a column's name does not tell; kept per portal."),
    ] = None,
    part: Annotated[
        bool, typer.Option("--part", help="Logins that it lacks may exist all the same.")
    ] = False,
    dry_run: DryRun = False,
    answer: Answers = None,
    answers: AnswersFile = None,
    plan: Plan = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Compare a portal's list of users with what is known: look first, then apply."""
    client = Client.open()
    body = {
        **_file(file, answer, answers),
        "portal": portal,
        "as_of": _instant(as_of),
        "columns": dict(_pair(each) for each in column or ()),
        "complete": not part,
    }
    preview = client.post("provisioning", "/access/v1/rosters", body)
    _look_then_apply(client, "rosters", preview, dry_run, plan, yes, as_json)


@roster_app.command("list")
def roster_list(portal: str = "", as_json: AsJson = False) -> None:
    """Lists that were imported."""
    found = Client.open().get("provisioning", "/access/v1/rosters", {"portal": portal})["rosters"]
    if as_json:
        print_json(found)
        return
    rows = Rows("Portal", "Right as of", "File", "Logins", "Confirmed", "Findings", "By")
    for one in found:
        counts = one["counts"]
        rows.add_row(
            one["portal"],
            one["as_of"],
            one["file_name"],
            text(counts.get("logins")),
            text(counts.get("confirmed")),
            text(counts.get("findings")),
            one["imported_by"],
        )
    out.print(rows if found else "No list was imported yet.")


@portal_app.command("findings")
def portal_findings(
    portal: str = "",
    rule: str = "",
    resolved: Annotated[bool, typer.Option("--resolved", help="Those in order again.")] = False,
    as_json: AsJson = False,
) -> None:
    """What sheets and lists showed amiss, with what to do next."""
    asked = {
        "portal": portal,
        "rule": rule,
        "status": "resolved" if resolved else "open",
        "limit": FINDINGS_PER_PAGE,
    }
    path = "/access/v1/portal-findings"
    found = list(Client.open().every("provisioning", path, "findings", asked))
    if as_json:
        print_json(found)
        return
    for one in found:
        out.print(f"{one['rule']:<18} {one['detail']}\n{'':<18} {one['next_step']}")
    if not found:
        out.print("Nothing is amiss, as far as sheets and lists show.")


@portal_app.command("show")
def portal_show(portal: PortalId, as_json: AsJson = False) -> None:
    """Whether a portal is observe-only, and how its lists are read."""
    found = Client.open().get("provisioning", f"{_path(portal)}/standing")
    how = (
        "observe-only until its first whole list is imported" if found["observe_only"] else "in use"
    )
    latest = found["latest_roster"]
    when = latest["as_of"] if latest else "never"
    print_answer(
        as_json,
        found,
        f"{found['name']}: {how}; latest list: {when}; {found['findings']} findings.",
    )


@portal_app.command("export")
def portal_export(
    file: Annotated[Path, typer.Argument(help="Where to: .csv or .xlsx.")],
    shape: Annotated[str, typer.Option(help="wide (a row per person) or long")] = "wide",
    as_json: AsJson = False,
) -> None:
    """Write who has which login where, in the shape that `adopt` takes."""
    kind = "xlsx" if file.suffix.casefold() == ".xlsx" else "csv"
    content = Client.open().download(
        "provisioning", "/access/v1/sheet", {"shape": shape, "format": kind}
    )
    _write(file, content)
    print_answer(as_json, {"file": str(file), "bytes": len(content)}, f"Written to {file}.")


@simulator_app.command("roster")
def simulator_roster(portal: PortalId, file: Path, as_json: AsJson = False) -> None:
    """Write the list of users that a make-believe portal hands out."""
    content = Client.open().download("provisioning", f"{_simulated(portal)}/roster", {})
    _write(file, content)
    print_answer(as_json, {"file": str(file), "bytes": len(content)}, f"Written to {file}.")


@simulator_app.command("behave")
def simulator_behave(
    portal: PortalId,
    delay_seconds: Annotated[int, typer.Option(min=0, help="How long each change takes.")] = 0,
    reject_next: Annotated[int, typer.Option(min=0, help="How many of the next to reject.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Have a make-believe portal take its time, or reject what it is asked next."""
    body = {"delay_seconds": delay_seconds, "reject_next": reject_next}
    answer = Client.open().post("provisioning", f"{_simulated(portal)}/behaviour", body)
    print_answer(as_json, answer, f"{portal} takes {delay_seconds} s, rejects {reject_next}.")


@simulator_app.command("purge")
def simulator_purge(portal: PortalId, as_json: AsJson = False) -> None:
    """Have a make-believe portal switch off idle logins by its own rule."""
    answer = Client.open().post("provisioning", f"{_simulated(portal)}/purge", {})
    print_answer(
        as_json, answer, f"{answer['disabled']} switched off, {answer['deleted']} deleted."
    )


# -- previews


def _look_then_apply(
    client: Client,
    kind: str,
    preview: Mapping[str, Any],
    dry_run: bool,
    plan: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    if plan is not None and plan != preview["plan"]:
        raise Failure(Exit.REFUSED, "The preview is another one now; look at it, then name it.")
    if dry_run:
        if as_json:
            print_json(preview)
        else:
            _show(preview)
        return
    if not as_json:
        _show(preview)
    if not (yes or plan):
        typer.confirm("Apply this?", abort=True, err=True)
    path = f"/access/v1/{kind}/{preview['plan']}/apply"
    answer = client.command("provisioning", path, {})
    left = len(answer["doubts"])
    done = "It was applied before; nothing has changed." if answer["already"] else "Applied."
    print_answer(as_json, answer, f"{done} {left} questions are open." if left else done)


def _show(preview: Mapping[str, Any]) -> None:
    counts = ", ".join(
        f"{count} {name.replace('_', ' ')}" for name, count in preview["counts"].items()
    )
    out.print(f"{preview['file']}, right as of {preview['as_of']}: {counts}.")
    for note in preview["notes"]:
        out.print(f"  Note: {note}")
    rows = Rows("Line", "On the sheet", "Worker", "Why", "Becomes")
    for line in preview["lines"][:SHOWN_LINES]:
        rows.add_row(
            str(line["line"]),
            f"{line['name']} {line['login_id'] or ''}",
            line["worker_name"] or line["worker"] or "–",
            line["why"],
            _becomes(line),
        )
    out.print(rows)
    if len(preview["lines"]) > SHOWN_LINES:
        out.print(f"  and {len(preview['lines']) - SHOWN_LINES} more lines (--json has them all)")
    for finding in preview["findings"]:
        out.print(f"{finding['rule']}: {finding['detail']}")
    for doubt in preview["doubts"]:
        out.print(f"ASKED {doubt['question']}")
        for each in doubt["answers"][:SHOWN_LINES]:
            said = f"  --answer '{doubt['key']}={each['answer']}'"
            out.print(f"{said:<50} {each['means']}")
    out.print(f"Plan {preview['plan']}")


def _becomes(line: Mapping[str, Any]) -> str:
    if "effect" in line:
        return f"{line['portal']}: {line['effect'].replace('_', ' ')}"
    said = [f"confirms {each['kind']}" for each in line["confirms"]]
    if line["becomes"] and line["becomes"]["from"] != line["becomes"]["to"]:
        said.append(f"{line['becomes']['from']} -> {line['becomes']['to']}")
    return ", ".join(said) or ("seen" if line["worker"] else "nobody's")


def _file(file: Path, answers: Sequence[str] | None, answers_file: Path | None) -> dict[str, Any]:
    try:
        content = file.read_bytes()
        kept = yaml.safe_load(answers_file.read_text()) if answers_file else {}
    except OSError as error:
        raise Failure(Exit.USAGE, f"{error.filename} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Failure(Exit.USAGE, f"{answers_file} is not YAML or JSON: {error}") from error
    if not isinstance(kept, dict):
        raise Failure(Exit.USAGE, f"{answers_file} must hold answers by their keys.")
    given = {str(key): str(answer) for key, answer in kept.items()}
    given |= dict(_pair(each) for each in answers or ())
    return {
        "name": file.name,
        "content": base64.b64encode(content).decode(),
        "answers": given,
    }


def _pair(said: str) -> tuple[str, str]:
    key, equals, answer = said.rpartition("=")
    if not equals or not key or not answer:
        raise Failure(Exit.USAGE, f"{json.dumps(said)} must be written KEY=ANSWER.")
    return key, answer


def _instant(said: str) -> str:
    try:
        return datetime.fromisoformat(said).astimezone().isoformat()
    except ValueError as error:
        raise Failure(Exit.USAGE, f"{said!r} is no moment such as 2026-03-31T06:00.") from error


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise Failure(Exit.NO, f"{file} cannot be written: {error.strerror}.") from error


def _path(portal: str) -> str:
    return f"/access/v1/portals/{quote(portal, safe='')}"


def _simulated(portal: str) -> str:
    return f"/access/v1/simulator/{quote(portal, safe='')}"
