"""`portalkeeper replay`: provisioning's tables against the records of the audit log."""

import base64
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import httpx
import orjson
import typer

from services.cli.audit_sources import CannotVerify, Folder, FreshServer
from services.cli.client import NAMES, Client, Exit, Failure, no_answer
from services.cli.printing import AsJson, Rows, err, out, print_json, progress_bar
from shared.contracts.topics import ACCESS_EVENTS, DIRECTORY_EVENTS, HR_EVENTS
from shared.tlog.leaf import LeafError, Opening, RecordLeaf, parse_leaf
from shared.tlog.tiles import TILE_WIDTH, unpack_entries

TOPICS = frozenset({HR_EVENTS.name, ACCESS_EVENTS.name, DIRECTORY_EVENTS.name})
OPENINGS_AT_A_TIME = 65_536
"""Each request is recorded as one reading, and must end while its token lives."""

REPLAY_SECONDS = 3_600
MAX_NARROWED = 200
PASSES = 4

LogSource: TypeAlias = FreshServer | Folder


@dataclass(slots=True)
class Reading:
    """What came of reading the log: records whose key was destroyed, or that were altered."""

    read: int = 0
    erased: int = 0
    altered: int = 0


def replay(
    export: Annotated[
        Path | None, typer.Option("--from", help="A folder that `audit mirror` wrote.")
    ] = None,
    settle: Annotated[
        float,
        typer.Option(min=0, help="Seconds to wait before looking again at what differs."),
    ] = 3.0,
    as_json: AsJson = False,
) -> None:
    """Tell provisioning's state anew from the audit log, and compare it with the live tables.

    What differs is looked at again until two looks agree, because work goes on meanwhile. Exit
    status 1 if anything differs.
    """
    client = Client.open()
    source: LogSource = (
        Folder(export)
        if export is not None
        else FreshServer(client.services["audit"], lambda: Client.open().token)
    )
    with progress_bar() as progress:
        task = progress.add_task("Replaying", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        try:
            report, reading = compare(
                source,
                client.services["provisioning"],
                lambda: Client.open().token,
                settle=settle,
                show=show,
            )
        except CannotVerify as error:
            raise Failure(Exit.NO_ANSWER, f"The log could not be read: {error}.") from error
    if as_json:
        print_json({**report, "log": {"erased": reading.erased, "altered": reading.altered}})
    else:
        print_report(report, reading)
    if report["differences"] or reading.altered:
        raise typer.Exit(Exit.NO)


def compare(
    source: LogSource,
    provisioning: str,
    token: Callable[[], str],
    *,
    settle: float,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, Any], Reading]:
    """Provisioning's report; its differences are those that two looks in a row have found.

    Args:
        provisioning: the address of its API.
        token: a fresh token for it.
        settle: seconds between one look and the next.

    Raises:
        CannotVerify: the log cannot be read.
        Failure: provisioning does not answer, or refuses.
    """
    first, reading = _look(source, provisioning, token(), (), show)
    before = first
    same: list[Any] = []
    for _ in range(PASSES):
        if not before["differences"]:
            return {**first, "differences": [], "differing": []}, reading
        time.sleep(settle)
        narrowed = before["differing"] if len(before["differing"]) <= MAX_NARROWED else ()
        again, reading = _look(source, provisioning, token(), narrowed, show)
        same = [one for one in again["differences"] if one in before["differences"]]
        if same == again["differences"]:
            return {**first, "differences": same, "differing": again["differing"]}, reading
        before = again
    return {**first, "differences": same}, reading


def _look(
    source: LogSource,
    provisioning: str,
    token: str,
    workers: Iterable[str],
    show: Callable[[int, int], None],
) -> tuple[dict[str, Any], Reading]:
    """Send what the log holds now, and have it compared."""
    reading = Reading()
    url = f"{provisioning.rstrip('/')}/access/v1/replay"
    lines = (orjson.dumps(line) + b"\n" for line in read_records(source, reading, show))
    try:
        response = httpx.post(
            url,
            params={"worker": list(workers)},
            content=lines,
            headers={"Authorization": f"Bearer {token}"},
            timeout=REPLAY_SECONDS,
        )
        answer = response.json()
    except (httpx.HTTPError, ValueError) as error:
        raise no_answer(NAMES["provisioning"], url) from error
    if response.is_success:
        return answer, reading
    code = Exit.NOT_ALLOWED if response.status_code in (401, 403) else Exit.REFUSED
    raise Failure(code, f"Provisioning refused ({answer.get('code')}): {answer.get('detail')}")


def read_records(
    source: LogSource, reading: Reading, show: Callable[[int, int], None]
) -> Iterator[dict[str, Any]]:
    """The records of HR, directory and access events in the log, checked against their leaves.

    Raises:
        CannotVerify: the log cannot be read.
    """
    log = source.now().log()
    origin, size = str(log["origin"]), int(log["size"])
    start = int(log.get("pruned") or 0)
    while start < size:
        until = min(size, (start // OPENINGS_AT_A_TIME + 1) * OPENINGS_AT_A_TIME)
        openings = {each["index"]: each for each in source.now().openings(start, until)}
        for index, leaf in _leaves(source, origin, start, until, size):
            if isinstance(leaf, RecordLeaf) and leaf.topic in TOPICS:
                record = _record(leaf, openings.get(index), reading)
                if record is not None:
                    yield record
        show(until, size)
        start = until


def _leaves(
    source: LogSource, origin: str, start: int, until: int, size: int
) -> Iterator[tuple[int, object]]:
    for number in range(start // TILE_WIDTH, -(-until // TILE_WIDTH)):
        first = number * TILE_WIDTH
        bundle = source.now().bundle(origin, number, min(TILE_WIDTH, size - first))
        if bundle is None:
            raise CannotVerify(f"the entries from {first} on are missing")
        for index, raw in enumerate(unpack_entries(bundle), first):
            if start <= index < until:
                try:
                    yield index, parse_leaf(raw)
                except LeafError:
                    yield index, None


def _record(
    leaf: RecordLeaf, shown: dict[str, Any] | None, reading: Reading
) -> dict[str, Any] | None:
    """A record as replay takes it; None for what cannot be read, or is not one's own."""
    if shown is None:
        return None
    if "opening" not in shown:
        altered = shown.get("missing") == "altered"
        reading.altered += altered
        reading.erased += not altered
        return None
    try:
        opening = Opening.decode(base64.b64decode(shown["opening"]))
        opening.check(leaf)
        value = orjson.loads(opening.value or b"null")
        headers = {name: (text or b"").decode() for name, text in opening.headers}
    except LeafError:
        reading.altered += 1
        return None
    except ValueError:
        # No event: provisioning made it a dead letter.
        return None
    reading.read += 1
    key = None if opening.key is None else opening.key.decode(errors="replace")
    return {"key": key, "headers": headers, "value": value}


def print_report(report: dict[str, Any], reading: Reading) -> None:
    """What was compared and what differs, for people."""
    out.print(
        f"{report['events']} access events and {report['hr_events']} HR events retold:"
        f" {report['workers']} workers, {report['operations']} operations,"
        f" {report['accounts']} accounts, {report['holdings']} stretches of access."
    )
    if report["workers_erased"] or reading.erased:
        out.print(
            f"Not comparable: {report['workers_erased']} erased workers"
            f" ({reading.erased} records whose key was destroyed)."
        )
    if report["workers_unsettled"]:
        out.print(f"Being decided about meanwhile: {report['workers_unsettled']} workers.")
    if reading.altered:
        err.print(f"{reading.altered} records were altered; run: portalkeeper audit verify")
    if not report["differences"]:
        out.print("The tables are what was published; open work is what is desired and missing.")
        return
    rows = Rows("What", "Which", "Field", "Published", "In the tables")
    for one in report["differences"]:
        rows.add_row(one["what"], one["key"], one["field"], one["told"], one["kept"])
    out.print(rows)
    err.print(f"{len(report['differences'])} differences.")
