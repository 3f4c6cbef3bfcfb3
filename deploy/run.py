"""Everything on one machine: servers, preparation, services, in order and back.

Process managers for Procfiles, such as honcho, were considered: they start everything at once and
end everything at once, while here servers come first and last, nothing starts before the
preparation is done, readiness is asked over HTTP, and a killed supervisor's children are found
again. What remains after that is a loop over processes.
"""

import asyncio
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

import asyncpg
from aiokafka.errors import KafkaError

from deploy.embedded.kafka import EmbeddedKafka
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.processes import ServerProcess, require_free_port
from deploy.embedded.retention import delete_what_was_read, stop_deleting_by_time
from deploy.errors import CannotStart
from deploy.example import play_clinic, play_leaver
from deploy.healthcheck import is_ready
from deploy.installation import (
    CHECKOUT,
    DATABASE,
    VAR,
    Installation,
    find_first_port,
    first_port_wanted,
)
from deploy.keys import make_secrets
from deploy.prepare import prepare
from deploy.processes import (
    CONTROLLER_PORT,
    KAFKA_PORT,
    PORTS,
    POSTGRES_PORT,
    PROCESSES,
    Process,
    StopTurn,
)

READY_SECONDS = 120
STOP_SECONDS = 15
"""A service finishes its batch and closes its connections; then it is told to end at once."""

POLL_SECONDS = 0.25
TIDY_SECONDS = 6 * 60 * 60
"""Between two looks for what Kafka need not keep any longer."""

INTERRUPTED = 130
"""The exit status that shells give to what Ctrl-C ended."""


Story = Callable[[Installation], Coroutine[None, None, list[str]]]
"""What is played once everything is ready; it returns the promises that do not hold."""


class Stopped(KeyboardInterrupt):
    """Somebody asked this program to end."""


def run(
    demo: bool = False,
    *,
    installation: Installation | None = None,
    processes: Sequence[Process] = PROCESSES,
    story: Story = play_clinic,
    leaving_out: Sequence[str] = (),
) -> int:
    """Start everything, play the example clinic, print what came of it; return the exit status.

    Processes that are left out, by name, are not started, and then nothing is played: maintenance
    may need them stopped while the others run.

    A run keeps its data from one time to the next and serves until it is stopped. A demo starts
    from nothing, on ports and in a folder of its own, and ends after its summary.
    """
    # Its news about each migration are warnings to the logging of a library's user.
    logging.getLogger("pogo_core").setLevel(logging.ERROR)
    _on_signals(_stop)
    try:
        place = installation or (_demo_installation() if demo else _own_installation())
        with place.locked():
            if demo:
                forget(place)
            if leaving_out:
                processes, story = without(leaving_out), _nothing
            return Supervisor(place, processes, story).run(keep_serving=not demo)
    except CannotStart as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    except (Stopped, asyncio.CancelledError):
        return INTERRUPTED if demo else 0


def leaver() -> int:
    """Have somebody of the example leave, in the installation that runs here; the exit status."""
    try:
        asyncio.run(play_leaver(_own_installation()))
    except CannotStart as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


def without(names: Sequence[str]) -> list[Process]:
    """The processes but for those called so.

    Raises:
        CannotStart: none is called so.
    """
    there = [process.name for process in PROCESSES]
    if unknown := set(names) - set(there):
        raise CannotStart(f"No process is called {min(unknown)}; there are {', '.join(there)}.")
    return [process for process in PROCESSES if process.name not in names]


async def _nothing(_installation: Installation) -> list[str]:
    return []


def forget(installation: Installation) -> None:
    """Remove the data of an installation that does not run; downloads stay."""
    EmbeddedKafka(installation.folder / "kafka", installation.cache / "jars").stop_leftover()
    postgres = EmbeddedPostgres(installation.folder / "postgres")
    postgres.stop_leftover()
    postgres.forget()
    for folder in installation.data_folders:
        if folder.exists():
            shutil.rmtree(folder)


class Supervisor:
    """Starts and stops one installation's servers and processes."""

    def __init__(
        self, installation: Installation, processes: Sequence[Process], story: Story
    ) -> None:
        self._installation = installation
        self._story = story
        self._processes = {
            process: ServerProcess(process.name, installation.logs) for process in processes
        }
        first, folder = installation.first_port, installation.folder
        self._postgres = EmbeddedPostgres(folder / "postgres", port=first + POSTGRES_PORT, say=_say)
        self._kafka = EmbeddedKafka(
            folder / "kafka",
            installation.cache / "jars",
            port=first + KAFKA_PORT,
            controller_port=first + CONTROLLER_PORT,
            say=_say,
        )

    def run(self, *, keep_serving: bool) -> int:
        """Start everything, play, and serve until stopped if asked to; return the exit status.

        It is 1 when a promise does not hold and nobody is going to look at the console.

        Raises:
            CannotStart: something did not start, or ended by itself; everything is stopped then.
        """
        try:
            self.start()
            broken = asyncio.run(self._story(self._installation))
            if broken:
                _say("These promises do not hold:\n  " + "\n  ".join(broken))
                if not keep_serving:
                    return 1
            if keep_serving:
                _say("Ctrl-C stops everything; the data stay for the next run.")
                self.watch()
        finally:
            _on_signals(signal.SIG_IGN)
            self.stop()
        return 0

    def start(self) -> None:
        """Start servers, prepare them, start processes, and wait until all are ready.

        Raises:
            CannotStart: something did not start.
        """
        self._stop_leftovers()
        for port, what in PORTS.items():
            require_free_port(self._installation.first_port + port, what)
        began = time.monotonic()
        _say("Starting PostgreSQL and Kafka ...")
        self._postgres.start()
        self._kafka.start()
        secrets = make_secrets(self._installation.secrets, self._postgres.admin_password)
        self._installation.make_folders(secrets)
        asyncio.run(
            prepare(self._kafka.bootstrap, self._postgres.admin_dsn(DATABASE), secrets.passwords)
        )
        asyncio.run(stop_deleting_by_time(self._kafka.bootstrap))
        _say(f"Starting {len(self._processes)} processes ...")
        for process, server in self._processes.items():
            server.start(
                [sys.executable, "-m", process.module],
                environment=self._installation.environment(process, secrets),
                folder=CHECKOUT,
            )
        self._wait_until_ready()
        _say(f"Ready after {time.monotonic() - began:.0f} s.")

    def watch(self) -> NoReturn:
        """Watch until something ends by itself, and delete old facts that everybody has read.

        Raises:
            CannotStart: it did; the sentence says which, with the end of its log.
        """
        tidy_at = time.monotonic()
        while True:
            self._check_running()
            if time.monotonic() >= tidy_at:
                self._tidy()
                tidy_at = time.monotonic() + TIDY_SECONDS
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop what runs: the entrance, services, relays, then Kafka and PostgreSQL."""
        if any(server.is_running() for server in self._processes.values()):
            _say("Stopping ...")
        for turn in StopTurn:
            servers = [
                server for process, server in self._processes.items() if process.turn == turn
            ]
            for server in servers:
                server.ask_to_stop(signal.SIGTERM)
            for server in servers:
                server.stop(signal.SIGTERM, STOP_SECONDS)
        self._kafka.stop()
        self._postgres.stop()

    def _tidy(self) -> None:
        dsn = self._postgres.admin_dsn(DATABASE)
        try:
            asyncio.run(delete_what_was_read(self._kafka.bootstrap, dsn, datetime.now(UTC)))
        except (KafkaError, asyncpg.PostgresError, OSError) as error:
            # A server that has ended is named by the next look; one that is busy is asked again.
            _say(f"Old records were not deleted from Kafka this time: {error}")

    def _stop_leftovers(self) -> None:
        for server in self._processes.values():
            server.stop_leftover(signal.SIGTERM, STOP_SECONDS)
        self._kafka.stop_leftover()
        self._postgres.stop_leftover()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        waiting = [process for process in self._processes if process.port is not None]
        while waiting:
            self._check_running()
            waiting = [
                p for p in waiting if not is_ready(f"{self._installation.url(p.name)}/readyz")
            ]
            if waiting and time.monotonic() > deadline:
                late = self._processes[waiting[0]]
                raise CannotStart(f"{late.name} was not ready in {READY_SECONDS} s.\n{late.tail()}")
            time.sleep(POLL_SECONDS)

    def _check_running(self) -> None:
        for server in (*self._processes.values(), self._kafka.process, self._postgres.process):
            if not server.is_running():
                raise CannotStart(
                    f"{server.name} ended by itself, so everything is stopped. "
                    f"The end of {_from_here(server.log)}:\n{server.tail()}"
                )


def _own_installation() -> Installation:
    return Installation(first_port=first_port_wanted(os.environ))


def _demo_installation() -> Installation:
    named = "PORTALKEEPER_PORT" in os.environ
    first_port = first_port_wanted(os.environ) if named else find_first_port()
    return Installation(folder=VAR / "demo", first_port=first_port)


def _from_here(path: Path) -> Path:
    return path.relative_to(CHECKOUT) if path.is_relative_to(CHECKOUT) else path


def _say(line: str) -> None:
    print(line, flush=True)


def _stop(number: int, frame: FrameType | None) -> None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise Stopped from None
    # Raised within a task it would be printed, as what nobody asked that task about.
    for task in asyncio.all_tasks(loop):
        loop.call_soon_threadsafe(task.cancel)


def _on_signals(handler: "signal.Handlers | signal._HANDLER") -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
