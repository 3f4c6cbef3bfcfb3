"""How many events a second replay retells and compares, beside deciding about them once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence

import orjson

from services.provisioning.handlers.recompute import Recompute
from services.provisioning.handlers.replay import Replay
from shared.clock import DatabaseClock
from shared.contracts.topics import ACCESS_EVENTS
from shared.postgres import create_pool
from tests.benchmarks.workload import ORGANIZATION, Message


async def run_replay(dsns: Mapping[str, str], heard: Sequence[Message]) -> tuple[float, int]:
    """Events a second, and how many: what HR sent and what provisioning said of it.

    Raises:
        AssertionError: replay finds a difference.
    """
    pool = await create_pool(dsns["provisioning"], max_size=2)
    try:
        said = await pool.fetch(
            "SELECT key, headers, value FROM outbox WHERE topic = $1 ORDER BY id",
            ACCESS_EVENTS.name,
        )
        await pool.execute("DELETE FROM outbox")
        lines = [
            _line(one.key.decode(), {name: text.decode() for name, text in one.headers}, one.value)
            for one in heard
        ]
        lines += [_line(row["key"], orjson.loads(row["headers"]), row["value"]) for row in said]

        async def sent() -> AsyncIterator[bytes]:
            for line in lines:
                yield line

        began = time.perf_counter()
        report = await Replay(pool, Recompute(DatabaseClock())).run(ORGANIZATION, sent())
        seconds = time.perf_counter() - began
        assert report.differences == [], report.differences[:3]
        return len(lines) / seconds, len(lines)
    finally:
        await pool.close()


def _line(key: str, headers: Mapping[str, str], value: bytes) -> bytes:
    return orjson.dumps({"key": key, "headers": headers, "value": orjson.Fragment(value)})
