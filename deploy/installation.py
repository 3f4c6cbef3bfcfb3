"""One embedded installation: its folder, its ports, and the environment of each process."""

import fcntl
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.processes import is_port_free
from deploy.errors import CannotStart
from deploy.keys import Secrets
from deploy.processes import KAFKA_PORT, PORTS, POSTGRES_PORT, PROCESSES, Process

CHECKOUT = Path(__file__).resolve().parent.parent
VAR = CHECKOUT / "var"
FIRST_PORT = 8080
HOST = "127.0.0.1"
DATABASE = "portalkeeper"

SAID_BY_THE_USER = frozenset(
    {
        "PORTALKEEPER_LOG_ORIGIN",
        "PORTALKEEPER_NOTIFY_FILE",
        "PORTALKEEPER_OIDC_FILE",
        "PORTALKEEPER_SCIM_FILE",
    }
)
"""What connects an installation to others, or names its audit log: nobody's but the user's to say.
"""


@dataclass(frozen=True)
class Installation:
    """Where an installation keeps its data, and where it listens.

    `folder` is the run's own, `cache` may be shared: it holds downloads only.
    """

    folder: Path = VAR
    first_port: int = FIRST_PORT
    cache: Path = VAR / "cache"

    @property
    def logs(self) -> Path:
        """One log file per process."""
        return self.folder / "log"

    @property
    def secrets(self) -> Path:
        """Passwords and keys, one folder per process that reads them."""
        return self.folder / "secrets"

    @property
    def session_file(self) -> Path:
        """The session that the command line uses from this checkout."""
        return self.folder / "session.json"

    @property
    def kafka(self) -> str:
        """Kafka's bootstrap servers."""
        return f"{HOST}:{self.first_port + KAFKA_PORT}"

    @property
    def console(self) -> str:
        """The address to open in a browser."""
        return self.url("gateway")

    @property
    def data_folders(self) -> tuple[Path, ...]:
        """Everything that `make clean` forgets."""
        names = ("kafka", "postgres", "log", "secrets", "audit_log", "audit_signer")
        return tuple(self.folder / name for name in names)

    def url(self, name: str) -> str:
        """The address of the process called `name`."""
        port = next(process.port for process in PROCESSES if process.name == name)
        if port is None:
            raise ValueError(f"{name} listens nowhere")
        return f"http://{HOST}:{self.first_port + port}"

    def environment(self, process: Process, secrets: Secrets) -> dict[str, str]:
        """The environment of `process`: this program's own, and what the process needs to know."""
        searching = process.role == "audit_search"
        master_key = secrets.search_master_key if searching else secrets.audit_master_key
        own = {
            name: value
            for name, value in os.environ.items()
            if not _is_ours(name) or name in SAID_BY_THE_USER
        }
        every = {
            "AUDIT_EXPORTS_DIR": self.folder / "audit_log" / "exports",
            "AUDIT_KEYSTORE_DIR": self.folder / "audit_log" / "keystore",
            "AUDIT_MASTER_KEY_FILE": master_key,
            "AUDIT_URL": self.url("audit-log"),
            "BODY_KEY_FILE": secrets.body_key,
            "GATEWAY_URL": self.url("gateway"),
            "JWKS_FILE": secrets.jwks,
            "JWT_KEY_FILE": secrets.jwt_key,
            "PROVISIONING_URL": self.url("provisioning"),
            "REVIEW_URL": self.url("review-scheduler"),
            "SIGNER_KEY_FILE": secrets.signer_key,
            "SIGNER_STATE_DIR": self.folder / "audit_signer" / "state",
            "SOURCES_FILE": secrets.sources,
        }
        told: dict[str, object] = {name: every[name] for name in process.settings}
        told["KAFKA"] = self.kafka
        told["DATABASE_URL"] = self._database_url(process.role, secrets)
        if process.port is not None:
            told["HOST"] = HOST
            told["PORT"] = self.first_port + process.port
        return own | {f"PORTALKEEPER_{name}": str(value) for name, value in told.items()}

    def make_folders(self, secrets: Secrets) -> None:
        """Make every folder that a process is told to write to, closed to other users."""
        for process in PROCESSES:
            for name, value in self.environment(process, secrets).items():
                if _is_ours(name) and name.endswith("_DIR"):
                    Path(value).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the installation for this program alone.

        Raises:
            CannotStart: another one holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "run.lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise CannotStart(
                    f"Portalkeeper already runs from this folder ({lock.read().strip()}): "
                    "use that one, or stop it with Ctrl-C where it was started."
                ) from None
            lock.truncate(0)
            lock.write(f"process {os.getpid()}, {self.console}")
            lock.flush()
            yield

    def _database_url(self, role: str, secrets: Secrets) -> str:
        # The password stays in a file, out of the environment that other tools list and log.
        server = f"{HOST}:{self.first_port + POSTGRES_PORT}"
        passfile = secrets.passfile("admin" if role == "postgres" else role)
        return f"postgresql://{role}@{server}/{DATABASE}?passfile={passfile}"


def first_port_wanted(environment: Mapping[str, str]) -> int:
    """The first port that the user asks for with `PORTALKEEPER_PORT`.

    Raises:
        CannotStart: it is no port, or leaves no room for the others behind it.
    """
    text = environment.get("PORTALKEEPER_PORT", str(FIRST_PORT))
    last = max(PORTS)
    if not text.isdecimal() or not 1024 <= int(text) <= 65535 - last:
        raise CannotStart(f"PORTALKEEPER_PORT must be a number from 1024 to {65535 - last}.")
    return int(text)


def find_first_port() -> int:
    """A first port with room for all the others, for a run that nobody needs to find.

    Raises:
        CannotStart: too many ports are in use.
    """
    rows = range(FIRST_PORT + 100, FIRST_PORT + 2000, 20)
    # Two that look at the same moment should not both take the first.
    for first in random.sample(rows, len(rows)):
        if all(is_port_free(first + port) for port in PORTS):
            return first
    raise CannotStart("No row of free ports was found: set PORTALKEEPER_PORT to one.")


def _is_ours(name: str) -> bool:
    return name.startswith("PORTALKEEPER_")
