"""`portalkeeper hr roster` and what belongs to it: HR's lists, what they ask, how sources fare."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import httpx
import typer
from standardwebhooks import Webhook

from services.cli.client import Client, Exit, Failure, ask, read_session
from services.cli.hr import read_secret, signed
from services.cli.printing import AsJson, Rows, err, out, print_json, text
from shared.sheets.reading import ZIP
from shared.sheets.table import UnreadableSheet
from shared.sheets.text import decode

ROUTE = "/hr/v1/rosters"
ENDINGS = (".csv", ".tsv", ".txt", ".xlsx")
DONE, REFUSED = "done", "refused"
SETTLED_SECONDS = 2.0
"""A file that grew, or was written to, so shortly ago may still be on its way."""

GATEWAY = "The gateway"

Source = Annotated[str | None, typer.Option(help="Whose list it is, where there are several.")]
Preset = Annotated[
    str | None,
    typer.Option(help="gusto, bamboohr, adp, paychex or plain; else as before."),
]
SecretFile = Annotated[
    Path | None, typer.Option(help="Sign with this secret of the source instead of signing in.")
]
To = Annotated[
    str | None, typer.Option(envvar="PORTALKEEPER_GATEWAY_URL", help="The gateway's address.")
]


@dataclass(frozen=True, slots=True)
class Sender:
    """How lists get to the gateway: as whoever is signed in, or signed by their source."""

    source: str | None
    preset: str | None
    gateway: str
    secret: str | None

    @classmethod
    def open(
        cls, source: str | None, preset: str | None, secret_file: Path | None, to: str | None
    ) -> "Sender":
        """As whoever is signed in, unless a secret is given, here or by the environment.

        Raises:
            Failure: there is neither.
        """
        secret = os.environ.get("PORTALKEEPER_HR_SECRET")
        if secret_file is not None:
            secret = read_secret(secret_file, source)
        gateway = to or str(read_session()["gateway"])
        return cls(source, preset, gateway.rstrip("/"), secret)

    def send(self, name: str, content: bytes, *, apply: bool) -> dict[str, Any]:
        """The plan that a list comes to.

        Raises:
            Failure: it is refused, or nobody answers.
        """
        headers: Mapping[str, str] = {"content-type": "application/octet-stream"}
        token = None
        if self.secret is None:
            token = Client.open().token
        else:
            content = _as_utf8(content)
            headers = signed(Webhook(self.secret), f"msg_{uuid4().hex}", content, "text/csv")
        answer: dict[str, Any] = ask(
            "POST",
            f"{self.gateway}{ROUTE}",
            who=GATEWAY,
            token=token,
            params={
                "source": self.source,
                "preset": self.preset,
                "name": name,
                "apply": "true" if apply else None,
            },
            content=content,
            headers={**headers, "Idempotency-Key": str(uuid4())},
        )
        return answer


def _as_utf8(content: bytes) -> bytes:
    """Signatures are over text in UTF-8, whatever the file was written in."""
    if content.startswith(ZIP):
        raise Failure(
            Exit.USAGE, "A workbook cannot be signed: sign in, or save the list as CSV UTF-8."
        )
    try:
        return decode(content, []).encode()
    except UnreadableSheet as error:
        raise Failure(Exit.REFUSED, str(error)) from error


def hr_roster(
    file: Annotated[Path, typer.Argument(help="A full list of workers: CSV or XLSX.")],
    source: Source = None,
    preset: Preset = None,
    apply: Annotated[bool, typer.Option("--apply", help="Apply it, unless it is held.")] = False,
    secret_file: SecretFile = None,
    to: To = None,
    as_json: AsJson = False,
) -> None:
    """Send HR's list and see what it comes to. Exit status 1 if lines were left out or it waits."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Failure(Exit.USAGE, f"{file} cannot be read: {error.strerror}.") from error
    plan = Sender.open(source, preset, secret_file, to).send(file.name, content, apply=apply)
    if as_json:
        print_json(plan)
    else:
        for line in told(plan):
            out.print(line)
        if plan["status"] == "planned":
            out.print(f"Apply it with: portalkeeper hr lists --apply {plan['plan']}")
    if plan["errors"] or plan["status"] == "held":
        raise typer.Exit(Exit.NO)


def told(plan: Mapping[str, Any]) -> Iterator[str]:
    """A plan in lines."""
    counts = plan["counts"]
    parts = [
        f"{counts[kind]} {word}"
        for kind, word in (
            ("hire", "hires"),
            ("change", "changes"),
            ("leave", "on leave"),
            ("return", "back"),
            ("departure", "departures"),
            ("questions", "questions"),
            ("errors", "lines left out"),
            ("unchanged", "unchanged"),
        )
        if counts[kind]
    ]
    yield f"{plan['file']}: {', '.join(parts) or 'nothing'}. {_status(plan)}"
    for change in (*plan["hires"], *plan["changes"], *plan["departures"]):
        who = change["name"] or change["worker"]
        yield f"  {change['kind']:<10} {who} ({change['worker']}): {change['reason']}"
    for question in plan["questions"]:
        who = question["name"] or question["worker"]
        yield f"  question   {who} ({question['worker']}): {question['detail']}"
    for error in plan["errors"]:
        yield f"  left out   {error['detail']}"
    for title, lines in plan["titles"].items():
        yield f"  title      {title!r} has no duty ({lines} lines): map it in the directory"
    for place, lines in plan["places"].items():
        yield f"  place      {place!r} is no site of the directory ({lines} lines)"
    if plan["dropped"]:
        yield f"  dropped    {', '.join(plan['dropped'])}: not needed, so kept nowhere"
    for note in plan["notes"]:
        yield f"  note       {note}"


def _status(plan: Mapping[str, Any]) -> str:
    if plan["status"] == "held":
        missing = plan["counts"]["missing"]
        return (
            f"HELD: it lacks {missing} of {plan['expected']} people. Nobody lost access. Answer the"
            " questions (portalkeeper hr questions), or reject it."
        )
    said = {
        "planned": "Nothing has happened yet.",
        "applying": "Being applied.",
        "applied": "Applied.",
    }
    return said.get(str(plan["status"]), str(plan["status"]).capitalize() + ".")


def hr_lists(
    apply: Annotated[str | None, typer.Option(help="Apply this plan as it is now.")] = None,
    reject: Annotated[str | None, typer.Option(help="Throw this list away.")] = None,
    as_json: AsJson = False,
) -> None:
    """The lists received, newest first; apply or reject one that waits."""
    client = Client.open()
    if apply or reject:
        route = f"{ROUTE}/{apply or reject}"
        body: dict[str, Any] = {}
        if apply:
            body = {"hash": client.get("gateway", route).get("hash", "")}
        answer = client.command("gateway", f"{route}/{'apply' if apply else 'reject'}", body)
        if as_json:
            print_json(answer)
        else:
            out.print(f"{answer['file']}: {answer['status']}.")
        return
    found = client.get("gateway", ROUTE)["rosters"]
    if as_json:
        print_json(found)
        return
    rows = Rows("Plan", "Source", "File", "Received", "Status", "Came to")
    for one in found:
        came_to = ", ".join(f"{count} {kind}" for kind, count in one["counts"].items() if count)
        rows.add_row(
            one["plan"],
            one["source"],
            one["file"],
            one["received_at"],
            one["status"],
            one["problem"] or came_to,
        )
    out.print(rows if found else "No list has been received. Send one: portalkeeper hr roster FILE")


def hr_questions(as_json: AsJson = False) -> None:
    """What HR is asked about people. Exit status 1 while anything is open."""
    found = Client.open().get("gateway", "/hr/v1/questions")["questions"]
    if as_json:
        print_json(found)
    elif found:
        _print_questions(found)
    else:
        out.print("Nothing is asked.")
    if found:
        raise typer.Exit(Exit.NO)


def _print_questions(found: Sequence[dict[str, Any]]) -> None:
    alike: dict[str, Rows] = {}
    for one in found:
        asked = f"{one['detail']} [{one['kind']}: {', '.join(one['answers'])}]"
        rows = alike.setdefault(asked, Rows("Source", "Worker", "Name", "Asked"))
        rows.add_row(one["source"], one["worker"], text(one["name"]), one["asked_at"])
    for asked, rows in alike.items():
        out.print(asked)
        out.print(rows)


def hr_answer(
    answer: Annotated[str, typer.Argument(help="left, still_here, not_ours or on_leave")],
    workers: Annotated[list[str] | None, typer.Argument(help="Whom it is about.")] = None,
    kind: Annotated[str, typer.Option(help="The kind of question.")] = "missing",
    source: Source = None,
    on: Annotated[str | None, typer.Option(help="The last day of who left: 2026-03-31")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="All who are asked about.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer what HR is asked."""
    if bool(workers) == everybody:
        raise Failure(Exit.USAGE, "Name the workers it is about, or give --all.")
    client = Client.open()
    if source is None:
        asked = client.get("gateway", "/hr/v1/questions")["questions"]
        named = sorted({one["source"] for one in asked if one["kind"] == kind})
        if len(named) != 1:
            raise Failure(
                Exit.USAGE, f"Name the --source: {', '.join(named) or 'nothing is asked'}"
            )
        source = named[0]
    body = {"source": source, "kind": kind, "answer": answer, "workers": workers or None, "on": on}
    answered = client.command("gateway", "/hr/v1/questions/answers", body)
    if as_json:
        print_json(answered)
    else:
        out.print(f"{answered['answered']} answered, {answered['events']} events.")


def hr_sources(as_json: AsJson = False) -> None:
    """How HR's sources fare. Exit status 1 if one is late, silent, or has a list that waits."""
    found = Client.open().get("gateway", "/hr/v1/sources")
    rows = Rows("Source", "Last heard", "Last list", "Last good list", "Open", "State")
    amiss = False
    for one in found["sources"]:
        states = amiss_with(one)
        amiss = amiss or bool(states)
        rows.add_row(
            one["source"],
            text(one["last_heard_at"]),
            _list(one["last_list"]),
            _list(one["last_good_list"]),
            text(one["questions"]),
            ", ".join(states) or "well",
        )
    if as_json:
        print_json(found)
    else:
        out.print(rows if found["sources"] else "No source is known yet.")
        if found["wrong_signatures"]:
            err.print(
                f"{found['wrong_signatures']} requests in {found['wrong_signatures_days']} days"
                " were signed with no secret of any source."
            )
    if amiss:
        raise typer.Exit(Exit.NO)


def amiss_with(source: Mapping[str, Any]) -> list[str]:
    """What is wrong with a source, in words."""
    last = source["last_list"] or {"status": ""}
    found = {
        f"list late since {source['late_since']}": source["late_since"] is not None,
        "silent beyond its habit": source["silent"],
        f"list {last['status']}": last["status"] in ("held", "unreadable"),
    }
    return [words for words, is_so in found.items() if is_so]


def _list(one: Mapping[str, Any] | None) -> str:
    return "–" if one is None else f"{one['file']} ({one['status']}, {one['received_at']})"


# -- the folder


def hr_watch(
    folder: Annotated[Path, typer.Argument(help="Where HR's lists are put.")],
    source: Source = None,
    preset: Preset = None,
    secret_file: SecretFile = None,
    to: To = None,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 15.0,
    once: Annotated[bool, typer.Option("--once", help="Take what is there and end.")] = False,
) -> None:
    """Apply every list that is put into a folder; afterwards it lies in `done` or `refused`.

    Beside each is a report. A list that is held is received, and so done: its report says so.
    """
    if not folder.is_dir():
        raise Failure(Exit.USAGE, f"{folder} is no folder.")
    sender = Sender.open(source, preset, secret_file, to)
    seen: dict[Path, tuple[int, int]] = {}
    pause = SETTLED_SECONDS if once else every
    looks = 0
    while not once or looks < 2:
        if looks:
            time.sleep(pause)
        for path in take_settled(folder, seen):
            _take(path, sender)
        looks += 1


def take_settled(folder: Path, seen: dict[Path, tuple[int, int]]) -> list[Path]:
    """The lists in a folder that have not changed since the last look, the oldest first.

    Args:
        seen: size and time of what was there at the last look; brought up to date.
    """
    now = {}
    for path in folder.iterdir():
        if path.suffix.casefold() in ENDINGS and not path.name.startswith((".", "~")):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            if path.is_file():
                now[path] = (found.st_size, found.st_mtime_ns)
    settled = [path for path, told in now.items() if seen.get(path) == told and told[0] > 0]
    seen.clear()
    seen.update(now)
    return sorted(settled, key=lambda path: (now[path][1], path.name))


def _take(path: Path, sender: Sender) -> None:
    try:
        content = path.read_bytes()
        plan = sender.send(path.name, content, apply=True)
    except OSError as error:
        err.print(f"{path.name} cannot be read yet: {error.strerror}.")
        return
    except (Failure, httpx.HTTPError) as failure:
        if not isinstance(failure, Failure) or failure.code is not Exit.REFUSED:
            err.print(f"{path.name} stays where it is: {failure}")
            return
        put_away(path, REFUSED, [str(failure)])
        return
    put_away(path, DONE, list(told(plan)))


def put_away(path: Path, where: str, report: list[str]) -> Path:
    """Move a list beside its report; where it lies now."""
    folder = path.parent / where
    folder.mkdir(exist_ok=True)
    stamp = datetime.now().astimezone().strftime("%Y-%m-%dT%H%M%S")
    target = folder / f"{stamp} {path.name}"
    (folder / f"{target.name}.report.txt").write_text("\n".join(report) + "\n", encoding="utf-8")
    path.replace(target)
    out.print(f"{where}: {report[0]}")
    return target
