"""`portalkeeper audit`: the log for people who check, search and hand over what it says."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import httpx
import typer

from services.cli import audit_mirror
from services.cli.audit_sources import CannotVerify, Folder, FreshServer
from services.cli.audit_verify import Report, remembered_of, verify_log
from services.cli.client import NAMES, Client, Exit, Failure, no_answer
from services.cli.printing import (
    AsJson,
    Limit,
    Rows,
    err,
    group,
    out,
    print_answer,
    print_json,
    progress_bar,
    text,
)
from services.cli.replay import Reading, compare, print_report
from shared.tlog.proof import SUFFIX

REMEMBERED = "audit-checkpoint.json"
TAIL_READ_SECONDS = 120
"""The log sends a sign of life more often than this."""

REPLAY_SETTLE_SECONDS = 3.0
EXPORT_POLL_SECONDS = 0.5
EXPORT_SUFFIXES = {"jsonl": ".jsonl", "csv": ".csv", "evidence": ".zip"}

app = group("The audit log.")

Log = Annotated[
    str | None,
    typer.Option(help="A log that this one follows, by its name; it is still served."),
]


@app.command("verify")
def verify(
    export: Annotated[
        Path | None, typer.Option("--from", help="A folder that `audit mirror` wrote.")
    ] = None,
    remembered: Annotated[
        Path | None,
        typer.Option(help="Where the checkpoint of the last good check is kept."),
    ] = None,
    only_new: Annotated[
        bool, typer.Option("--only-new", help="Check only what came after the last good check.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted check stopped.")
    ] = False,
    log: Log = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="How many check at a time; by default one a processor."),
    ] = None,
    replay: Annotated[
        bool,
        typer.Option("--replay", help="Also check that provisioning's state follows from the log."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Recompute the whole log without trusting its server. Exit status 1 if anything is wrong."""
    source: FreshServer | Folder
    if export is not None:
        source, keep = Folder(export), remembered
    else:
        client = Client.open()
        folder = Path(typer.get_app_dir("portalkeeper")) / client.organization
        kept = folder / REMEMBERED if log is None else remembered_of(folder / REMEMBERED, log)
        source, keep = _server(client, log), remembered or kept
    with progress_bar() as progress:
        task = progress.add_task("Verifying", total=None)
        try:
            report = verify_log(
                source,
                remembered=keep,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
                only_new=only_new,
                resume=resume,
                processes=processes,
            )
        except CannotVerify as error:
            raise Failure(Exit.NO_ANSWER, f"The log could not be checked: {error}.") from error
    told = _replay(source) if replay and report.good else None
    if as_json:
        print_json(_document(report) | ({"replay": told[0]} if told else {}))
    elif report.good:
        _print_good(report)
        if told:
            print_report(*told)
    else:
        first = report.first_wrong
        assert first is not None
        where = "The log" if first.index is None else f"Entry {first.index}"
        err.print(f"WRONG. {where}: {first.what} ({len(report.problems)} problems in all).")
    if not report.good or (told and (told[0]["differences"] or told[1].altered)):
        raise typer.Exit(Exit.NO)


def _replay(source: FreshServer | Folder) -> tuple[dict[str, Any], Reading]:
    """What provisioning's tables are when compared with the log."""
    client = Client.open()
    try:
        return compare(
            source,
            client.services["provisioning"],
            lambda: Client.open().token,
            settle=REPLAY_SETTLE_SECONDS,
        )
    except CannotVerify as error:
        raise Failure(Exit.NO_ANSWER, f"The log could not be replayed: {error}.") from error


def _server(client: Client, log: str | None) -> FreshServer:
    return FreshServer(client.services["audit"], lambda: Client.open().token, log)


def _print_good(report: Report) -> None:
    lines = [
        f"{report.entries} log entries verified, none altered or missing; "
        f"{report.payloads} payloads are what their entries commit to."
    ]
    if report.begun_at:
        lines.append(f"The {report.begun_at} before them were checked earlier.")
    if report.payloads_missing:
        lines.append(f"{report.payloads_missing} payloads cannot be read: their keys are gone.")
    if report.pruned:
        lines.append(f"{report.pruned} entries were pruned: only their hashes were checked.")
    for index, (topic, partition) in report.restarts:
        lines.append(f"Entry {index} says that {topic}/{partition} was accepted as begun anew.")
    if report.follows is not None:
        before = report.follows
        lines.append(
            f"It follows {before.origin} of {before.size} signed entries, "
            + (
                f"whose key names this one's: {before.key}"
                if before.key is not None
                else "no key of which names this one's (it was lost): know this key otherwise."
            )
        )
    lines.append(f"Log {report.origin}, root {report.root.hex()}")
    out.print("\n".join(lines))


def _document(report: Report) -> dict[str, Any]:
    return {
        "good": report.good,
        "origin": report.origin,
        "size": report.size,
        "root": report.root.hex(),
        "public_key": report.public_key,
        "begun_at": report.begun_at,
        "follows": None
        if report.follows is None
        else {
            "origin": report.follows.origin,
            "size": report.follows.size,
            "key": None if report.follows.key is None else str(report.follows.key),
        },
        "entries": report.entries,
        "payloads": report.payloads,
        "payloads_missing": report.payloads_missing,
        "pruned": report.pruned,
        "restarts": [
            {"index": index, "topic": topic, "partition": partition}
            for index, (topic, partition) in report.restarts
        ],
        "problems": [{"index": each.index, "what": each.what} for each in report.problems],
    }


@app.command("mirror")
def mirror(
    folder: Annotated[Path, typer.Argument(help="Where to; an interrupted copy goes on there.")],
    log: Log = None,
    as_json: AsJson = False,
) -> None:
    """Copy the whole log into a folder, with a verifier that needs nothing of ours."""
    with progress_bar() as progress:
        task = progress.add_task("Copying", total=None)
        try:
            size = audit_mirror.mirror(
                _server(Client.open(), log),
                folder,
                lambda done, total: progress.update(task, completed=done, total=total),
            )
        except CannotVerify as error:
            raise Failure(Exit.NO_ANSWER, f"The log could not be copied: {error}.") from error
    print_answer(
        as_json,
        {"folder": str(folder), "size": size},
        f"{size} entries are in {folder}. Check them with: portalkeeper audit verify --from "
        f"{folder}, or hand the folder over with {audit_mirror.HANDOUT[0]} in it.",
    )


@app.command("prove")
def prove(
    indexes: Annotated[list[int], typer.Argument(help="Entries, by their index.")],
    folder: Annotated[Path, typer.Option("--to", help="Where to write the proofs.")] = Path(),
    log: Log = None,
    as_json: AsJson = False,
) -> None:
    """Write a proof of each entry that verifies offline, and what was recorded beside it."""
    client = Client.open()
    of = f"?{urlencode({'log': log})}" if log else ""
    answer = client.post("audit", f"/audit/v1/proofs{of}", {"indexes": indexes})
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for each in answer["proofs"]:
        path = folder / f"{each['index']}{SUFFIX}"
        path.write_text(each["proof"])
        written.append(str(path))
        if each["opening"] is not None:
            (folder / f"{each['index']}.opening").write_text(f"{each['opening']}\n")
    print_answer(
        as_json,
        {"files": written, "public_key": answer["public_key"]},
        f"{len(written)} proofs written. They verify with the key\n{answer['public_key']}",
    )


Worker = Annotated[str | None, typer.Option(help="Whom it is about, by worker id.")]
Actor = Annotated[str | None, typer.Option(help="Who did it.")]
Portal = Annotated[str | None, typer.Option(help="At which portal, by its id.")]
Carrier = Annotated[str | None, typer.Option(help="For which carrier, by its id.")]
Type = Annotated[str | None, typer.Option("--type", help="e.g. operation.confirmed")]
Rule = Annotated[str | None, typer.Option(help="The rule that decided.")]
Outcome = Annotated[str | None, typer.Option(help="e.g. refused, confirmed, revoked")]
Review = Annotated[str | None, typer.Option(help="A review or campaign, by its id.")]
Since = Annotated[str | None, typer.Option(help="Recorded then or later, as RFC 3339.")]
Until = Annotated[str | None, typer.Option(help="Recorded before, as RFC 3339.")]
Words = Annotated[
    list[str] | None, typer.Argument(metavar="[WORDS]...", help="Words that must all occur.")
]


@app.command("search")
def search(
    words: Words = None,
    worker: Worker = None,
    actor: Actor = None,
    portal: Portal = None,
    carrier: Carrier = None,
    type_: Type = None,
    rule: Rule = None,
    outcome: Outcome = None,
    review: Review = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Find entries by everything given together, newest first."""
    asked = _asked(words, worker, actor, portal, carrier, type_, rule, outcome, review)
    asked |= {"since": since, "until": until, "limit": limit}
    answer = Client.open().get("audit", "/audit/v1/entries", asked)
    if as_json:
        print_json(answer)
        return
    rows = Rows("Entry", "Recorded", "Type", "About", "Label")
    for entry in answer["entries"]:
        rows.add_row(
            str(entry["index"]),
            entry["recorded_at"],
            entry["type"] or entry["kind"],
            text(entry["subject"]),
            entry["label"] or "",
        )
    out.print(rows)
    if answer["next_cursor"] is not None:
        out.print("There are more; narrow the search or raise --limit.")


def _asked(
    words: list[str] | None,
    worker: str | None,
    actor: str | None,
    portal: str | None,
    carrier: str | None,
    type_: str | None,
    rule: str | None,
    outcome: str | None,
    review: str | None,
) -> dict[str, Any]:
    return {
        "text": " ".join(words or []),
        "worker": worker,
        "actor": actor,
        "portal": portal,
        "carrier": carrier,
        "type": type_,
        "rule": rule,
        "outcome": outcome,
        "review": review,
    }


@app.command("export")
def export(
    words: Words = None,
    form: Annotated[
        str, typer.Option("--as", help="evidence (a ZIP with proofs), csv or jsonl")
    ] = "evidence",
    to: Annotated[Path | None, typer.Option(help="Which file to write.")] = None,
    ordered: Annotated[
        str | None, typer.Option("--id", help="Fetch an export that was ordered before.")
    ] = None,
    worker: Worker = None,
    actor: Actor = None,
    portal: Portal = None,
    carrier: Carrier = None,
    type_: Type = None,
    rule: Rule = None,
    outcome: Outcome = None,
    review: Review = None,
    since: Since = None,
    until: Until = None,
    log: Log = None,
    as_json: AsJson = False,
) -> None:
    """Export what a search finds, to be handed over. It is made while you wait, or without you.

    Of a log that this one follows everything is exported, since search does not know it.
    """
    client = Client.open()
    if ordered is None:
        asked = _asked(words, worker, actor, portal, carrier, type_, rule, outcome, review)
        asked = {name: value for name, value in asked.items() if value}
        asked |= {name: value for name, value in (("since", since), ("until", until)) if value}
        answer = client.post(
            "audit", "/audit/v1/exports", {"form": form, "asked": asked, "log": log}
        )
        ordered = str(answer["id"])
    found = fetch_export(ordered, to)
    file = to or _export_file(found)
    print_answer(
        as_json,
        {**found, "file": str(file)},
        f"{found['done']} entries are in {file} (SHA-256 {found['sha256']}).",
    )


def fetch_export(ordered: str, to: Path | None = None) -> dict[str, Any]:
    """Wait for an export and write its file, here or where `to` says; what is told of it."""
    found = _wait_for_export(ordered)
    _fetch(f"/audit/v1/exports/{ordered}/file", to or _export_file(found))
    return found


def _export_file(found: dict[str, Any]) -> Path:
    return Path(f"audit-{found['id']}{EXPORT_SUFFIXES[found['form']]}")


def _wait_for_export(ordered: str) -> dict[str, Any]:
    with progress_bar() as progress:
        task = progress.add_task("Exporting", total=None)
        while True:
            # A session outlives its tokens, and an export may outlive both.
            found: dict[str, Any] = Client.open().get("audit", f"/audit/v1/exports/{ordered}")
            progress.update(task, completed=found["done"], total=found["total"])
            if found["status"] == "failed":
                raise Failure(Exit.NO, f"The export failed: {found['error']}")
            if found["status"] == "done":
                return found
            time.sleep(EXPORT_POLL_SECONDS)


def _fetch(path: str, file: Path) -> None:
    client = Client.open()
    url = client.url("audit", path)
    headers = {"Authorization": f"Bearer {client.token}"}
    partial = file.with_name(f"{file.name}.partial")
    try:
        with httpx.stream("GET", url, headers=headers, timeout=TAIL_READ_SECONDS) as response:
            if response.status_code != httpx.codes.OK:
                raise Failure(Exit.REFUSED, f"{NAMES['audit']} answered {response.status_code}.")
            with partial.open("wb") as written:
                for chunk in response.iter_bytes():
                    written.write(chunk)
    except httpx.HTTPError as error:
        raise no_answer(NAMES["audit"], url) from error
    partial.replace(file)


hold_app = group("Legal holds: what must neither be erased nor pruned.")
app.add_typer(hold_app, name="hold")
Reason = Annotated[str, typer.Option(help="Why, in words; it is recorded.")]


@hold_app.command("set")
def hold_set(
    kind: Annotated[str, typer.Argument(help="worker, portal, review or organization")],
    subject: Annotated[str, typer.Argument(help="Its id.")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Keep everything about a subject."""
    body = {"kind": kind, "subject": subject, "reason": reason}
    made = Client.open().post("audit", "/audit/v1/holds", body)
    print_answer(
        as_json, made, f"Held. Release it with: portalkeeper audit hold release {made['id']}"
    )


@hold_app.command("list")
def hold_list(as_json: AsJson = False) -> None:
    """All holds, newest first."""
    answer = Client.open().get("audit", "/audit/v1/holds")
    if as_json:
        print_json(answer)
        return
    rows = Rows("Hold", "On", "Why", "Set by", "Released")
    for each in answer["holds"]:
        rows.add_row(
            each["id"],
            f"{each['kind']} {each['subject']}",
            each["reason"],
            each["set_by"],
            text(each["released_at"]),
        )
    out.print(rows)


@hold_app.command("release")
def hold_release(hold_id: str, reason: Reason, as_json: AsJson = False) -> None:
    """End a hold; it stays on record."""
    path = f"/audit/v1/holds/{quote(hold_id, safe='')}/release"
    ended = Client.open().post("audit", path, {"reason": reason})
    print_answer(as_json, ended, f"{ended['kind']} {ended['subject']} is no longer held.")


@app.command("erase")
def erase(
    worker: str,
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Destroy the key of everything recorded about a worker, and have every service forget them.

    Proofs stay valid.
    """
    client = Client.open()
    if not yes:
        typer.confirm(
            f"What is recorded about {worker} can then never be read again, by nobody, in no copy. "
            "This is recorded under your name and cannot be undone. Go on?",
            abort=True,
            err=True,
        )
    done = client.post("audit", "/audit/v1/erasures", {"worker": worker, "reason": reason})
    # Only now: the log refuses while access is open, under a hold and inside retention.
    try:
        client.enter("worker.erased", worker, {})
    except Failure as failure:
        raise Failure(
            failure.code,
            f"{worker} is erased in the audit log, but the other services were not told; once this"
            f" is put right, erase again. {failure.sentence}",
        ) from failure
    print_answer(
        as_json,
        done,
        f"{worker} is erased: {done['keys_destroyed']} keys destroyed, {done['entries_hidden']} "
        "entries no longer found. The other services forget them as they hear of it.",
    )


@app.command("tail")
def tail(
    words: Words = None,
    after: Annotated[int | None, typer.Option(min=0, help="Begin after this entry.")] = None,
    worker: Worker = None,
    actor: Actor = None,
    portal: Portal = None,
    carrier: Carrier = None,
    type_: Type = None,
    rule: Rule = None,
    outcome: Outcome = None,
    review: Review = None,
    as_json: AsJson = False,
) -> None:
    """Follow the log, or what matches everything given, until interrupted."""
    client = Client.open()
    headers = {"Authorization": f"Bearer {client.token}"}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    url = client.url("audit", "/audit/v1/stream")
    asked = _asked(words, worker, actor, portal, carrier, type_, rule, outcome, review)
    asked = {name: value for name, value in asked.items() if value}
    timeout = httpx.Timeout(10, read=TAIL_READ_SECONDS)
    try:
        with httpx.stream("GET", url, params=asked, headers=headers, timeout=timeout) as response:
            if response.status_code != httpx.codes.OK:
                code = Exit.NOT_ALLOWED if response.status_code in (401, 403) else Exit.NO_ANSWER
                raise Failure(code, f"{NAMES['audit']} answered {response.status_code}.")
            _print_entries(response.iter_lines(), as_json)
    except httpx.HTTPError as error:
        raise no_answer(NAMES["audit"], url) from error


def _print_entries(lines: Iterable[str], as_json: bool) -> None:
    for line in lines:
        if not line.startswith("data:"):
            continue
        entry = json.loads(line.removeprefix("data:"))
        if as_json:
            print(json.dumps(entry), flush=True)
        else:
            out.print(
                f"{entry['index']:>8}  {entry['recorded_at']}  {entry['type'] or entry['kind']}  "
                f"{entry['subject'] or ''}"
            )
