"""A token ends with its session, for services that heard of it and those that start later."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from joserfc.jwk import OKPKey

from shared.auth import Authenticator
from shared.contracts.envelope import binary_headers
from shared.contracts.topics import ADMIN_EVENTS
from shared.ended_sessions import EndedSessions
from shared.errors import Problem
from tests.shared.tokens import token, write_keys
from tests.shared.worlds import eventually


async def tell(kafka: str, session: str, kind: str = "session.closed") -> None:
    """Say what became of a session, as the gateway does."""
    headers = binary_headers(
        id=str(uuid4()),
        type=kind,
        source="/portalkeeper/gateway",
        subject="w-1",
        time=datetime.now(UTC),
        organization="clinic",
    )
    data = orjson.dumps({"session": session, "reason": "left"})
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        await producer.send_and_wait(
            ADMIN_EVENTS.name,
            data,
            key=b"clinic/w-1",
            headers=[(name, value.encode()) for name, value in headers.items()],
        )


@asynccontextmanager
async def following(kafka: str) -> AsyncIterator[EndedSessions]:
    ended = EndedSessions(kafka)
    await ended.start()
    try:
        yield ended
    finally:
        await ended.stop()


async def hears(ended: EndedSessions, session: str) -> None:
    async def heard() -> bool:
        return session in ended

    await eventually(heard)


async def test_a_token_is_refused_once_its_session_is_over_and_no_other(
    prepared_kafka: str, tmp_path: Path
) -> None:
    key = OKPKey.generate_key("Ed25519", {"kid": "one"})
    over, open_ = str(uuid4()), str(uuid4())
    async with following(prepared_kafka) as ended:
        authenticator = Authenticator(write_keys(tmp_path / "jwks", key), ended)
        assert authenticator.authenticate(token(key, sid=over)).session == over
        await tell(prepared_kafka, open_, "session.opened")
        await tell(prepared_kafka, over)
        await hears(ended, over)
        with pytest.raises(Problem) as raised:
            authenticator.authenticate(token(key, sid=over))
        assert (raised.value.status, raised.value.code) == (401, "session_over")
        assert authenticator.authenticate(token(key, sid=open_)).session == open_
        assert authenticator.authenticate(token(key)).session is None


async def test_a_service_that_starts_later_hears_of_it_as_well(prepared_kafka: str) -> None:
    session = str(uuid4())
    await tell(prepared_kafka, session)
    async with following(prepared_kafka) as ended:
        await hears(ended, session)


async def test_what_no_event_is_hides_nothing_behind_it(prepared_kafka: str) -> None:
    session = str(uuid4())
    async with AIOKafkaProducer(bootstrap_servers=prepared_kafka) as producer:
        await producer.send_and_wait(ADMIN_EVENTS.name, b"{", key=b"clinic/w-1")
    await tell(prepared_kafka, session)
    async with following(prepared_kafka) as ended:
        await hears(ended, session)


async def test_a_session_is_forgotten_once_every_token_of_it_has_expired(
    prepared_kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = str(uuid4()), str(uuid4())
    monkeypatch.setattr("shared.ended_sessions.KEPT_SECONDS", 0)
    async with following(prepared_kafka) as ended:
        await tell(prepared_kafka, first)
        await tell(prepared_kafka, second)
        await hears(ended, second)
        assert first not in ended
