"""Makes exports in the background, a part at a time, so that an interrupted one goes on.

The file grows by whole parts: what is in it is on the disk before the table says so, and on
resuming whatever lies beyond is cut off. An evidence package is put together in the end, out of
what was exported and a proof of each entry. An erasure forgets the exports of its organization;
one that is being made then sees so with its next part, and is removed.
"""

import asyncio
import base64
import hashlib
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import structlog
from jinja2 import Environment, FileSystemLoader

from services.audit_log import store
from services.audit_log.asking import Asked
from services.audit_log.context import Reading
from services.audit_log.reading import Showing, open_for, read_leaf
from services.audit_log.rules.campaigns import LINE_COLUMNS, CampaignRecord
from services.audit_log.store import exports, search
from services.audit_log.store.exports import Export
from shared.auth import Principal
from shared.contracts.admin import ExportMade
from shared.contracts.envelope import rfc3339
from shared.contracts.facts import fact
from shared.contracts.topics import ADMIN_EVENTS
from shared.outbox import enqueue
from shared.postgres import in_transaction, is_transient
from shared.sheets.writing import csv_rows
from shared.tlog.leaf import Opening, RecordLeaf
from shared.tlog.proof import Proof

logger = structlog.get_logger(__name__)

FORMS = {"jsonl": "application/x-ndjson", "csv": "text/csv", "evidence": "application/zip"}
SUFFIXES = {"jsonl": ".jsonl", "csv": ".csv", "evidence": ".zip"}
EXPORT_KEPT_DAYS = 7
"""A finished export is a copy of personal data, so it does not lie about for long."""

LOG = "log"
"""What names, in what was asked for, a log before this one."""

PART_ENTRIES = 500
COLLECTED_PER_READ = 5_000
REPORT_ENTRIES_MAX = 5_000
"""A report that nobody can read to its end helps nobody; the whole is in `entries.jsonl`."""

POLL_SECONDS = 1.0
HANDOUT = Path(__file__).parents[1] / "handout"
_INDEX = struct.Struct(">q")

CSV_COLUMNS = (
    "index", "recorded_at", "on_kafka_at", "type", "subject", "label", "source", "event_id",
    "event_time", "data", "payload_missing", "topic", "partition", "offset", "leaf_hash",
)  # fmt: skip


class Forgotten(Exception):
    """An erasure forgot the export while it was being made."""


class Exporter:
    """Makes the exports of one installation, one at a time.

    Args:
        folder: where the files are; nobody else writes there.
    """

    def __init__(self, reading: Reading, folder: Path) -> None:
        self._reading = reading
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def file(self, export: Export) -> Path:
        """Where an export's finished file is."""
        return self._folder / f"{export.id}{SUFFIXES[export.form]}"

    async def run(self) -> None:
        """Make exports until cancelled; one that fails is marked so, and the next goes on."""
        while True:
            try:
                if not await self.make_next():
                    await self.forget_files()
                    await asyncio.sleep(POLL_SECONDS)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                logger.warning("export.waits", error=repr(error))
                await asyncio.sleep(POLL_SECONDS)

    async def make_next(self) -> bool:
        """Make or go on with one export; False if there is none that can be made now."""
        async with self._reading.pool.acquire() as conn:
            projected = await search.position(conn) if await search.is_there(conn) else 0
            export = await exports.next_to_make(conn, projected)
        if export is None:
            return False
        try:
            indexes = await self._collect(export)
            await self._write_parts(export, indexes)
            await self._finish(export, indexes)
        except Forgotten:
            # What was written before may say what nobody shall read any more.
            self._remove(str(export.id))
        except Exception as error:
            if is_transient(error):
                raise
            logger.exception("export.failed", export=str(export.id))
            async with self._reading.pool.acquire() as conn:
                now = await self._reading.clock.now(conn)
                await exports.finish(conn, export.id, now, sha256=None, error=repr(error))
        return True

    # -- which entries

    async def _collect(self, export: Export) -> Path:
        """A file with the indexes of the entries, newest first; made anew unless it is whole."""
        path = self._folder / f"{export.id}.indexes"
        if export.total is not None and path.exists():
            return path
        before, total = export.size, 0
        with path.open("wb") as file:
            while True:
                found, following = await self._collected(export, before)
                file.write(b"".join(_INDEX.pack(index) for index in found))
                total += len(found)
                if following is None:
                    break
                before = following
            file.flush()
            os.fsync(file.fileno())
        async with self._reading.pool.acquire() as conn:
            if not await exports.note_total(conn, export.id, total):
                raise Forgotten
        return path

    async def _collected(self, export: Export, before: int) -> tuple[list[int], int | None]:
        """Entries below an index, newest first, and below which to go on; None at the end."""
        if (log := export.asked.get(LOG)) is not None:
            start = max(0, before - COLLECTED_PER_READ)
            async with self._reading.log(log) as conn:
                rows = await store.read_sealed_range(conn, start, before)
            theirs = [row.index for row in rows[::-1] if _is_of(export.organization, row.leaf)]
            return theirs, start or None
        asked = Asked.model_validate(export.asked)
        terms = self._reading.terms.of_query(asked.query(export.organization))
        async with self._reading.pool.acquire() as conn:
            found = await search.find(
                conn,
                terms,
                before=before,
                limit=COLLECTED_PER_READ,
                since=asked.since,
                until=asked.until,
            )
        return found, found[-1] if len(found) == COLLECTED_PER_READ else None

    # -- what they say

    async def _write_parts(self, export: Export, indexes: Path) -> None:
        """Write the entries in the order of the log, from where the last part ended."""
        part = self._part(export)
        with part.open("r+b" if part.exists() else "w+b") as file:
            file.truncate(export.bytes)
            file.seek(export.bytes)
            done = export.done
            if done == 0 and export.form == "csv":
                file.write(csv_rows([CSV_COLUMNS], mark=True))
            for wanted in _parts(indexes, done):
                lines = await self._lines(export, wanted)
                await asyncio.to_thread(_append, file, lines)
                done += len(wanted)
                async with self._reading.pool.acquire() as conn:
                    if not await exports.note_progress(conn, export.id, done, file.tell()):
                        raise Forgotten

    def _part(self, export: Export) -> Path:
        return self._folder / f"{export.id}.part"

    async def _lines(self, export: Export, wanted: Sequence[int]) -> bytes:
        who = _reader(export)
        log = export.asked.get(LOG)
        async with self._reading.log(log) as conn:
            entries = (await store.read_entries(conn, wanted))[::-1]
            showing = Showing(self._reading.keys, who, projected=log is None)
            shown = await showing.show(conn, entries, payloads=True)
        if export.form == "csv":
            return csv_rows([_row(each) for each in shown])
        if export.form == "evidence":
            for each, entry in zip(shown, entries, strict=True):
                each |= _evidence(open_for(self._reading.keys, who, entry.sealed))
        return b"".join(orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in shown)

    # -- the finished file

    async def _finish(self, export: Export, indexes: Path) -> None:
        part, file = self._part(export), self.file(export)
        if export.form == "evidence":
            packed = file.with_suffix(".packing")
            await self._pack(export, indexes, packed)
            packed.replace(file)
            part.unlink()
        else:
            part.replace(file)
        digest = await asyncio.to_thread(_sha256_of, file)
        total = indexes.stat().st_size // _INDEX.size

        async def tell(conn: Any) -> None:
            now = await self._reading.clock.now(conn)
            if not await exports.finish(conn, export.id, now, sha256=digest, error=None):
                raise Forgotten
            made = fact(
                ADMIN_EVENTS,
                "export.made",
                source="/portalkeeper/audit_log",
                organization=export.organization,
                subject=export.requested_by,
                cause=(str(export.id),),
                time=now,
                data=ExportMade(
                    str(export.id), export.form, _texts(export.asked), total, export.size, digest
                ),
            )
            await enqueue(conn, [made])

        await in_transaction(self._reading.pool, tell)
        indexes.unlink()

    async def _pack(self, export: Export, indexes: Path, path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
            package.write(self._part(export), "entries.jsonl")
            for name in ("verify_audit_log.py", "WHAT-IT-PROVES.md"):
                package.write(HANDOUT / name, name)
            package.writestr("checkpoint", export.note)
            package.writestr("key.txt", f"{export.verifier_key}\n")
            for wanted in _parts(indexes, 0):
                async with self._reading.pool.acquire() as conn:
                    if await exports.read(conn, export.organization, export.id) is None:
                        raise Forgotten
                async with self._reading.log(export.asked.get(LOG)) as conn:
                    sealed = await store.read_sealed(conn, wanted)
                    paths = await self._reading.paths(conn, wanted, export.size)
                for entry in sealed:
                    proof = Proof(entry.index, tuple(paths[entry.index]), export.note, entry.leaf)
                    package.writestr(f"proofs/{entry.index}.tlog-proof", proof.encode())
            campaign = self._campaign(export)
            if campaign is not None:
                summary = orjson.dumps(campaign.summary(), option=orjson.OPT_INDENT_2)
                package.writestr("campaign.json", summary)
                lines = csv_rows([LINE_COLUMNS, *campaign.rows()], mark=True)
                package.writestr("lines.csv", lines)
            package.writestr("report.html", self._report(export, campaign))

    def _campaign(self, export: Export) -> CampaignRecord | None:
        """The campaign that the export is about, if it is about one."""
        named = export.asked.get("review")
        if named is None:
            return None
        record = CampaignRecord(named)
        with self._part(export).open("rb") as file:
            for line in file:
                record.read(orjson.loads(line))
        return record if record.found else None

    def _report(self, export: Export, campaign: CampaignRecord | None) -> str:
        with self._part(export).open("rb") as file:
            entries = [orjson.loads(line) for line, _ in zip(file, range(REPORT_ENTRIES_MAX))]  # noqa: B905
        templates = Environment(loader=FileSystemLoader(HANDOUT), autoescape=True)
        return templates.get_template("report.html.j2").render(
            export=export,
            campaign=campaign.summary() if campaign else None,
            entries=entries,
            more=(export.total or len(entries)) > len(entries),
            said=_said,
            requested_at=rfc3339(export.requested_at),
        )

    async def forget_files(self) -> None:
        """Remove the files of exports that are old, or were forgotten by an erasure."""
        async with self._reading.pool.acquire() as conn:
            now = await self._reading.clock.now(conn)
            await exports.forget(conn, now - timedelta(days=EXPORT_KEPT_DAYS))
            known = await exports.known(conn)
        for id_ in {path.name.partition(".")[0] for path in self._folder.iterdir()} - known:
            self._remove(id_)

    def _remove(self, id_: str) -> None:
        for path in self._folder.glob(f"{id_}.*"):
            path.unlink()


def _reader(export: Export) -> Principal:
    scopes = frozenset({"audit:read"})
    return Principal(export.organization, export.requested_by, None, scopes, export.requested_by)


def _parts(indexes: Path, done: int) -> Iterator[list[int]]:
    """The indexes in the order of the log, `PART_ENTRIES` at a time, but for the first `done`."""
    with indexes.open("rb") as file:
        left = indexes.stat().st_size // _INDEX.size - done
        while left > 0:
            count = min(PART_ENTRIES, left)
            left -= count
            file.seek(left * _INDEX.size)
            raw = file.read(count * _INDEX.size)
            yield [index for (index,) in _INDEX.iter_unpack(raw)][::-1]


def _is_of(organization: str, leaf: bytes) -> bool:
    parsed = read_leaf(leaf)
    return isinstance(parsed, RecordLeaf) and parsed.organization == organization


def _append(file: Any, content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _texts(asked: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in asked.items()}


def _evidence(opened: tuple[str | None, str | None]) -> dict[str, Any]:
    """What lets the verifier see that the content shown is what the leaf commits to."""
    opening, _ = opened
    if opening is None:
        return {"opening": None, "value": None, "headers": {}}
    record = Opening.decode(base64.b64decode(opening))
    text = {
        name: None if value is None else value.decode(errors="replace")
        for name, value in record.headers
    }
    value = None if record.value is None else record.value.decode(errors="replace")
    return {"opening": opening, "value": value, "headers": text}


def _row(shown: dict[str, Any]) -> tuple[Any, ...]:
    payload = shown["payload"] or {}
    headers = payload.get("headers") or {}
    value = payload.get("value", payload.get("value_base64"))
    data = "" if value is None else orjson.dumps(value).decode()
    return (
        shown["index"], shown["recorded_at"], shown["timestamp"], shown["type"] or shown["kind"],
        shown["subject"], shown["label"], headers.get("ce_source"), headers.get("ce_id"),
        headers.get("ce_time"), data, shown["payload_missing"], shown["topic"],
        shown["partition"], shown["offset"], shown["leaf_hash"],
    )  # fmt: skip


def _said(entry: dict[str, Any]) -> list[tuple[str, str]]:
    """The fields of an event for a reader, nested ones with the names on the way to them."""
    payload = entry.get("payload") or {}
    value = payload.get("value")
    return list(_flat("", value)) if value is not None else []


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name} {key}".strip().replace("_", " "), inner)
    elif isinstance(value, list):
        if all(not isinstance(inner, dict | list) for inner in value):
            if value:
                yield name, ", ".join(str(inner) for inner in value)
        else:
            for inner in value:
                yield from _flat(name, inner)
    elif value not in (None, ""):
        yield name, str(value)
