"""Commands that people and programs give the gateway: each once, and said when it is."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from services.gateway.handlers.activity import SOURCE
from shared.auth import Principal
from shared.clock import Clock
from shared.idempotency import carry_out
from shared.postgres import Connection


async def command(
    pool: "asyncpg.Pool[Any]",
    clock: Clock,
    who: Principal,
    route: str,
    key: str | None,
    body: bytes,
    work: Callable[[Connection], Awaitable[dict[str, Any]]],
) -> dict[str, Any]:
    """Run `work` as `shared.idempotency.carry_out` does; a refusal is raised.

    Raises:
        Problem: as `carry_out`.
    """
    answer: dict[str, Any] = await carry_out(
        pool, who, route, key, body, work, source=SOURCE, clock=clock
    )
    return answer
