"""How a service's processes run: what goes on in them, and how they begin and end."""

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar

import asyncpg
import uvloop
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from shared.errors import Unusable
from shared.outbox import run_relay
from shared.telemetry import configure_logging

S = TypeVar("S", bound=BaseSettings)

COLLECT_AFTER_OBJECTS = 100_000
"""A batch makes tens of thousands of objects that all die with it; looking at them is waste."""


class Part(Protocol):
    """What goes on in a process beside its routes: a consumer, a ticker."""

    async def start(self) -> None:
        """Begin, and return once begun."""

    async def stop(self) -> None:
        """End, and return once ended; also what never began."""


@asynccontextmanager
async def going(*parts: Part) -> AsyncIterator[None]:
    """`parts` started one after the other, and stopped the other way round, whatever happens."""
    async with AsyncExitStack() as stack:
        for part in parts:
            stack.push_async_callback(part.stop)
            await part.start()
        yield


def spare_the_collector() -> None:
    """Let the cyclic collector leave alone what lives as long as the process, and look rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 20, 50)


async def until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Wait until `work` ends or SIGTERM or SIGINT cancels it.

    `shared.serving.serve` sees to both by itself.
    """
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def run_process(
    name: str, settings: Callable[[], S], work: Callable[[S], Coroutine[Any, Any, None]]
) -> int:
    """Run a process until its work ends or it is asked to stop.

    Args:
        name: as its log lines are labelled.
        settings: reads what the process is told by its environment.

    Returns:
        The exit status: 0, or 1 after a sentence on standard error where a setting, a file or a
        server that the process needs is missing or wrong.
    """
    configure_logging(name)
    try:
        told = settings()
    except ValidationError as error:
        print(f"{name} cannot run: {_amiss(error)}.", file=sys.stderr)
        return 1
    try:
        uvloop.run(work(told))
    except (Unusable, ValueError, OSError, asyncpg.PostgresError) as error:
        print(f"{name} cannot run: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0
    return 0


def _amiss(error: ValidationError) -> str:
    """What is wrong with the settings, by the names of the variables and without their values."""
    return "; ".join(
        f"PORTALKEEPER_{'_'.join(str(part) for part in each['loc']).upper()}: {each['msg']}"
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    )


def run_relay_process(service: str, settings: Callable[[], Any]) -> int:
    """Relay the outbox of one service's schema until asked to stop; the exit status."""
    return run_process(
        f"{service}-relay",
        settings,
        lambda told: until_stopped(run_relay(told.database_url, told.kafka)),
    )
