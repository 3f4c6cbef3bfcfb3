"""Proofs: that an entry is in the signed log, and that one log continues another."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import FileResponse, PlainTextResponse
from pydantic import BaseModel, Field

from services.audit_log import store
from services.audit_log.context import MAX_INDEX, LogName, Reading, all_b64, b64
from services.audit_log.reading import open_for
from services.audit_log.store.succession import read_predecessors, turned_to
from shared.answers import answers_with
from shared.auth import Authenticator, Principal
from shared.errors import Problem
from shared.postgres import Connection, in_transaction
from shared.tlog.merkle import consistency_path, inclusion_path, leaf_hash
from shared.tlog.proof import SUFFIX, Proof

HANDOUT = {path.name: path for path in (Path(__file__).parent.parent / "handout").iterdir()}
MAX_PROOFS = 1_000
MAX_FILTER_LENGTH = 500


class Wanted(BaseModel):
    """Which entries to prove."""

    indexes: Annotated[list[int], Field(min_length=1, max_length=MAX_PROOFS)]


def proofs_router(reading: Reading, authenticator: Authenticator) -> APIRouter:
    """The routes that prove."""
    router = APIRouter(prefix="/audit/v1", tags=["audit"])
    Reader = Annotated[Principal, Depends(authenticator.requires("audit:read"))]

    @router.get("/log")
    async def log(_who: Reader, log: LogName = None) -> dict[str, Any]:
        """How far the log is, and what it follows.

        `succession` are the notes by which keys named the ones that followed them, also those of
        logs before this one, and by which these named theirs.
        """
        async with reading.log(log) as conn:
            head = await store.read_head(conn)
            signed = await store.latest_checkpoint(conn)
            pruned = await store.read_pruned(conn)
            before = await read_predecessors(conn)
            succession = await store.read_succession(conn)
            for each in before:
                async with turned_to(conn, each.schema):
                    succession += await store.read_succession(conn)
            succession += [each.statement for each in before if each.statement]
        return {
            "origin": log or reading.origin,
            "size": head[1] if head else 0,
            "checkpoint": signed.note if signed else None,
            "checkpoint_size": signed.size if signed else None,
            "public_key": signed.verifier_key if signed else None,
            "pruned": pruned,
            "succession": succession,
            "predecessors": [
                {"origin": each.origin, "checkpoint": each.note, "statement": each.statement}
                for each in before
            ],
        }

    @router.get("/entries/{index}/proof")
    async def proof(who: Reader, index: int, log: LogName = None) -> dict[str, Any]:
        async def read(conn: Connection) -> dict[str, Any]:
            async with reading.turned_to(conn, log):
                found = await store.read_entry(conn, min(index, MAX_INDEX))
                if found is None:
                    raise Problem(404, "no_such_entry", f"The log has no entry {index}.")
                signed = await reading.checkpoint(conn)
                if index >= signed.size:
                    raise Problem(409, "not_yet_signed", "No checkpoint covers this entry yet.")
                hashes = await reading.fold(conn, inclusion_path(index, signed.size))
                root = await reading.root(conn, signed.size)
            await reading.record(conn, who, "proof", {"index": index, "log": log})
            return {
                "origin": log or reading.origin,
                "index": index,
                "size": signed.size,
                "leaf": found.leaf.decode(errors="replace"),
                "opening": open_for(reading.keys, who, found.sealed)[0],
                "leaf_hash": b64(leaf_hash(found.leaf)),
                "hashes": all_b64(hashes),
                "root": b64(root),
                "checkpoint": signed.note,
                "public_key": signed.verifier_key,
            }

        return await in_transaction(reading.pool, read)

    @router.get("/entries/{index}/tlog-proof", response_class=PlainTextResponse)
    async def tlog_proof(who: Reader, index: int, log: LogName = None) -> PlainTextResponse:
        """The proof as C2SP tlog-proof says, with the leaf as its extra data."""

        async def read(conn: Connection) -> str:
            [(_, text)] = (await _prove(reading, conn, who, [index], log))[1]
            return text

        return PlainTextResponse(
            await in_transaction(reading.pool, read),
            headers={"Content-Disposition": f'attachment; filename="{index}{SUFFIX}"'},
        )

    @router.post("/proofs")
    async def proofs(who: Reader, wanted: Wanted, log: LogName = None) -> dict[str, Any]:
        """Proofs of a set of entries of one log, all to the same checkpoint."""

        async def read(conn: Connection) -> dict[str, Any]:
            signed, proved = await _prove(reading, conn, who, wanted.indexes, log)
            return {
                "origin": log or reading.origin,
                "checkpoint": signed.note,
                "public_key": signed.verifier_key,
                "proofs": [
                    {
                        "index": entry.index,
                        "leaf": entry.leaf.decode(errors="replace"),
                        **_shown_opening(reading, who, entry),
                        "proof": text,
                    }
                    for entry, text in proved
                ],
            }

        return await in_transaction(reading.pool, read)

    @router.get("/handout/{name}", **answers_with("text/x-python", "text/markdown"))
    async def handout(_who: Reader, name: str) -> FileResponse:
        """The verifier for auditors, one file, and the page on what it proves."""
        if name not in HANDOUT:
            raise Problem(404, "not_found", f"There are {' and '.join(sorted(HANDOUT))}.")
        return FileResponse(HANDOUT[name], filename=name)

    @router.get("/consistency")
    async def consistency(
        _who: Reader,
        from_: Annotated[int, Query(alias="from", ge=0, le=MAX_INDEX)],
        to: Annotated[int | None, Query(ge=0, le=MAX_INDEX)] = None,
        log: LogName = None,
    ) -> dict[str, Any]:
        async with reading.log(log) as conn:
            signed = await reading.checkpoint(conn)
            size = signed.size if to is None else to
            if not from_ <= size <= signed.size:
                raise Problem(
                    422, "invalid_request", f"Give from <= to <= {signed.size}, which is signed."
                )
            return {
                "origin": log or reading.origin,
                "from": from_,
                "to": size,
                "hashes": all_b64(await reading.fold(conn, consistency_path(from_, size))),
                "from_root": b64(await reading.root(conn, from_)),
                "to_root": b64(await reading.root(conn, size)),
                "checkpoint": signed.note,
                "public_key": signed.verifier_key,
            }

    return router


async def _prove(
    reading: Reading, conn: Connection, who: Principal, indexes: Sequence[int], log: str | None
) -> tuple[store.SignedCheckpoint, list[tuple[store.SealedEntry, str]]]:
    """The latest checkpoint, and each entry with its proof in the order of the log."""
    async with reading.turned_to(conn, log):
        wanted = {max(-1, min(index, MAX_INDEX)) for index in indexes}
        found = await store.read_sealed(conn, wanted)
        if missing := set(indexes) - {entry.index for entry in found}:
            raise Problem(404, "no_such_entry", f"The log has no entry {min(missing)}.")
        signed = await reading.checkpoint(conn)
        if found[-1].index >= signed.size:
            raise Problem(409, "not_yet_signed", "No checkpoint covers these entries yet; wait.")
        paths = await reading.paths(conn, [entry.index for entry in found], signed.size)
    shown = ",".join(str(entry.index) for entry in found)
    await reading.record(conn, who, "proof", {"indexes": shown[:MAX_FILTER_LENGTH], "log": log})
    return signed, [
        (entry, Proof(entry.index, tuple(paths[entry.index]), signed.note, entry.leaf).encode())
        for entry in found
    ]


def _shown_opening(
    reading: Reading, who: Principal, entry: store.SealedEntry
) -> dict[str, str | None]:
    opening, missing = open_for(reading.keys, who, entry)
    return {"opening": opening, "missing": missing}
