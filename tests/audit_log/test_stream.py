"""The live tail: filtered, without gaps or repeats, for a thousand readers, not for slow ones."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from services.audit_log.api import stream as stream_api
from services.audit_log.handlers import tailing
from shared.contracts.topics import ACCESS_EVENTS
from tests.audit_log.test_api import Tail, get
from tests.audit_log.test_search import event
from tests.audit_log.worlds import World, hired

READERS = 1_000


@asynccontextmanager
async def following(world: World, after: int | None = None, **asked: str) -> AsyncIterator[Tail]:
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    async with (
        world.client() as http,
        http.stream("GET", "/audit/v1/stream", params=asked, headers=headers) as response,
    ):
        assert response.status_code == 200
        lines = response.aiter_lines()
        assert (await anext(lines)).startswith(":")
        yield Tail(lines)


async def test_a_filtered_tail_shows_only_what_was_asked_for(world: World) -> None:
    await world.append(hired(0, "W-1"), hired(1, "W-2"))
    async with (
        following(world, after=0, worker="W-2") as two,
        following(world, after=0, outcome="refused", portal="hub") as refusals,
    ):
        assert [index for index, _ in await two.read(1)] == [1]
        await asyncio.sleep(0.5)
        await world.append(
            hired(2, "W-1"),
            hired(3, "W-2", title="Front Desk"),
            event(0, ACCESS_EVENTS.name, "guard.refused", "W-2", {"portal": "hub", "rule": "x"}),
        )
        assert [index for index, _ in await two.read(2)] == [3, 4]
        assert [index for index, _ in await refusals.read(1)] == [4]
    bad = await get(world, "/stream", worker="\x00")
    assert bad.status_code == 422


async def test_readers_who_join_while_the_log_grows_miss_nothing_and_see_nothing_twice(
    world: World,
) -> None:
    total = 2_000
    await world.append(*[hired(offset) for offset in range(300)])

    async def grow() -> None:
        for start in range(300, total, 50):
            await world.append(*[hired(offset) for offset in range(start, start + 50)])

    async def follow(delay: float) -> list[int]:
        """Read in pieces, hanging up and resuming in between."""
        seen: list[int] = [0]
        await asyncio.sleep(delay)
        while len(seen) < total:
            async with following(world, after=seen[-1]) as tail:
                count = min(333, total - len(seen))
                seen += [index for index, _ in await tail.read(count)]
        return seen

    growing = asyncio.create_task(grow())
    for seen in await asyncio.gather(*[follow(delay / 10) for delay in range(6)]):
        assert seen == list(range(total))
    await growing


async def test_a_thousand_readers_follow_one_process(world: World) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_192), hard))
    await world.append(hired(0))
    try:
        readers = [await connect(world) for _ in range(READERS)]
        await asyncio.gather(*[skip_head(reader) for reader, _ in readers])
        await asyncio.sleep(1)
        await world.append(*[hired(offset) for offset in range(1, 31)])
        async with asyncio.timeout(60):
            seen = await asyncio.gather(*[read_ids(reader, 30) for reader, _ in readers])
        assert all(ids == list(range(1, 31)) for ids in seen)
    finally:
        for _, writer in readers:
            writer.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def connect(world: World, **asked: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A reader as cheap as can be: a socket of its own."""
    where = urlsplit(world.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=2**20)
    path = f"/audit/v1/stream?{urlencode(asked)}"
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {world.token()}\r\n\r\n".encode()
    )
    return reader, writer


async def skip_head(reader: asyncio.StreamReader) -> None:
    assert b" 200 " in await reader.readline()
    await reader.readuntil(b"\r\n\r\n")


async def read_ids(reader: asyncio.StreamReader, count: int) -> list[int]:
    ids: list[int] = []
    while len(ids) < count:
        line = await reader.readline()
        if line.startswith(b"id: "):
            ids.append(int(line[4:]))
    return ids


async def test_a_reader_who_does_not_keep_up_is_let_go_and_catches_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_api, "SEND_SECONDS", 1.0)
    monkeypatch.setattr(tailing, "WAITING_MAX", 400)
    await world.append(hired(0))
    reader, writer = await connect(world)
    await skip_head(reader)
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    async with following(world) as quick:
        await asyncio.sleep(0.5)
        for start in range(1, 8_001, 400):
            await world.append(
                *[hired(offset, title="x" * 600) for offset in range(start, start + 400)]
            )
            assert len(await quick.read(400)) == 400
    reader._transport.resume_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        rest = await reader.read(-1)
    writer.close()
    seen = [int(line[4:]) for line in rest.split(b"\n") if line.startswith(b"id: ")]
    whole = [index for index in seen if index < 8_000]
    assert whole == list(range(1, len(whole) + 1)) or seen[-1] == whole[-1]
    assert len(set(seen)) < 8_000, "it was let go before it had everything"
    async with following(world, after=7_000) as again:
        assert [index for index, _ in await again.read(1_000)] == list(range(7_001, 8_001))


async def test_a_quiet_tail_says_where_it_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tailing, "KEEPALIVE_SECONDS", 0.3)
    await world.append(hired(0), hired(1))
    async with world.client() as http, http.stream("GET", "/audit/v1/stream") as response:
        lines = response.aiter_lines()
        said = [await anext(lines) for _ in range(5)]
    assert ": nothing new" in said
    assert "id: 1" in said


async def test_a_stream_without_the_scope_is_refused(world: World) -> None:
    async with httpx.AsyncClient(base_url=world.url) as http:
        assert (await http.get("/audit/v1/stream")).status_code == 401
