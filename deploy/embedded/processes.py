"""One server process: started, watched, stopped, and found again after its starter was killed."""

import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from deploy.errors import CannotStart

START_TIME_TOLERANCE_SECONDS = 2.0
"""How far two readings of one process's start time lie apart when the clock was adjusted."""

PORTS_TO_PICK = range(20_000, 32_000)
"""Below those of outgoing connections, any of which might take a port before its server does."""

POLL_SECONDS = 0.05
LOG_TAIL_LINES = 15
LOG_MAX_BYTES = 10 * 1024 * 1024
"""A longer log is set aside when its process starts again; one such is kept."""


class ServerProcess:
    """A child process of its own session, recorded in `folder` by process id and start time.

    The record is what lets a later run stop a server whose starter was killed, and lets it never
    stop a stranger that happens to have the same process id.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._record = folder / f"{name}.pid.json"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, or None when it was not started here or has been stopped."""
        return self._process.pid if self._process else None

    def is_running(self) -> bool:
        """Whether the process that was started here is alive."""
        return self._process is not None and self._process.poll() is None

    def start(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        user: int | None = None,
        group: int | None = None,
        folder: Path | None = None,
    ) -> None:
        """Start `command`, its output appended to the log; as another user if one is given."""
        self._rotate_log()
        with self.log.open("ab") as log, signals_held():
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                cwd=folder,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
                # Ctrl-C in the terminal must reach the supervisor only, which stops in order.
                start_new_session=True,
            )
            started = psutil.Process(self._process.pid).create_time()
            _write_whole(self._record, json.dumps({"pid": self._process.pid, "started": started}))

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for `ready`.

        Raises:
            CannotStart: the process ended, or was not ready in time; the log's end is in the text.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.is_running():
                raise CannotStart(f"{self.name} ended while starting.\n{self.tail()}")
            if time.monotonic() > deadline:
                raise CannotStart(f"{self.name} was not ready in {seconds:.0f} s.\n{self.tail()}")
            time.sleep(POLL_SECONDS)

    def ask_to_stop(self, by: signal.Signals) -> None:
        """Send a signal and do not wait; nothing happens if the process has ended."""
        if self.is_running() and self._process is not None:
            self._process.send_signal(by)

    def stop(self, by: signal.Signals, seconds: float) -> None:
        """Ask the process to end, insist after `seconds`; nothing happens if it has ended."""
        if self._process is not None:
            self.ask_to_stop(by)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._record.unlink(missing_ok=True)

    def kill(self) -> None:
        """End the process as a crash would: at once, leaving everything as it lies."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop_leftover(self, by: signal.Signals, seconds: float) -> bool:
        """Stop what an earlier, killed run left running; whether there was anything."""
        left = self._leftover()
        if left is not None:
            with suppress(psutil.NoSuchProcess):
                left.send_signal(by)
                if not _wait_for_end(left, seconds):
                    left.kill()
                    _wait_for_end(left, seconds)
        self._record.unlink(missing_ok=True)
        return left is not None

    def tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """The last lines of the log, for an error message."""
        return tail(self.log, lines)

    def _rotate_log(self) -> None:
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > LOG_MAX_BYTES:
                self.log.replace(self.log.with_suffix(".log.1"))

    def _leftover(self) -> psutil.Process | None:
        try:
            record = json.loads(self._record.read_text())
            process = psutil.Process(record["pid"])
            apart = abs(process.create_time() - record["started"])
        except (FileNotFoundError, ValueError, KeyError, psutil.NoSuchProcess):
            return None
        return process if apart <= START_TIME_TOLERANCE_SECONDS and is_alive(process) else None


def is_alive(process: psutil.Process) -> bool:
    """Whether `process` does anything still; one that its parent has not yet collected does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _wait_for_end(process: psutil.Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last `lines` of a log file, indented; empty when there is none."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])


@contextmanager
def signals_held() -> Iterator[None]:
    """Put off interruptions until the block is done, so that no child starts unrecorded."""
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread is ever interrupted.
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda which, _: came.append(which))
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def is_port_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket() as probe:
        # As servers do: the wait after a closed connection does not count as in use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def require_free_port(port: int, what: str) -> None:
    """Make sure that `what` can listen on `port`.

    Raises:
        CannotStart: something else listens there.
    """
    if not is_port_free(port):
        raise CannotStart(
            f"Port {port}, wanted for {what}, is in use: stop what uses it, "
            "or set PORTALKEEPER_PORT to another number with free ports behind it."
        )


def pick_free_port() -> int:
    """A loopback port that nothing listens on at the moment."""
    while not is_port_free(port := random.choice(PORTS_TO_PICK)):
        pass
    return port


@contextmanager
def turn_taken(lock: Path) -> Iterator[None]:
    """Hold `lock`, a file, for this process alone; wait for whoever holds it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _write_whole(path: Path, text: str) -> None:
    # Renaming makes a crash leave the old record or the new one, never half of one.
    partial = path.with_suffix(".tmp")
    partial.write_text(text)
    os.replace(partial, path)
