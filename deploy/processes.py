"""The processes that make up Portalkeeper, and what each is told through its environment.

The embedded run and `docker-compose.yml` start these same modules; a test compares the two.
"""

from dataclasses import dataclass
from enum import IntEnum


class StopTurn(IntEnum):
    """When a process is stopped: first what takes work in, last what hands results on."""

    ENTRANCE = 0
    SERVICE = 1
    RELAY = 2


@dataclass(frozen=True)
class Process:
    """One process: `python -m <module>` under a database role of its own.

    `port` is counted from the installation's first port; None means that it listens nowhere.
    `settings` are the variables it needs beyond those that all have, without `PORTALKEEPER_`.
    """

    name: str
    module: str
    role: str
    turn: StopTurn
    port: int | None = None
    settings: tuple[str, ...] = ()


PROCESSES = (
    Process(
        "provisioning",
        "services.provisioning.main",
        "provisioning",
        StopTurn.SERVICE,
        port=1,
        settings=("JWKS_FILE",),
    ),
    Process(
        "provisioning-express",
        "services.provisioning.express",
        "provisioning",
        StopTurn.SERVICE,
        port=4,
        settings=("JWKS_FILE",),
    ),
    Process(
        "provisioning-decider",
        "services.provisioning.decider",
        "provisioning",
        StopTurn.SERVICE,
    ),
    Process(
        "provisioning-relay",
        "services.provisioning.relay",
        "provisioning",
        StopTurn.RELAY,
    ),
    Process(
        "audit-log",
        "services.audit_log.main",
        "audit_log",
        StopTurn.SERVICE,
        port=2,
        settings=(
            "AUDIT_EXPORTS_DIR",
            "AUDIT_KEYSTORE_DIR",
            "AUDIT_MASTER_KEY_FILE",
            "JWKS_FILE",
        ),
    ),
    Process(
        "audit-signer",
        "services.audit_log.signer",
        "audit_signer",
        StopTurn.RELAY,
        settings=("SIGNER_KEY_FILE", "SIGNER_STATE_DIR"),
    ),
    Process(
        "audit-projector",
        "services.audit_log.projector",
        "audit_search",
        StopTurn.RELAY,
        settings=("AUDIT_MASTER_KEY_FILE", "AUDIT_KEYSTORE_DIR"),
    ),
    Process(
        "audit-relay",
        "services.audit_log.relay",
        "audit_log",
        StopTurn.RELAY,
    ),
    Process(
        "review-scheduler",
        "services.review_scheduler.main",
        "review_scheduler",
        StopTurn.SERVICE,
        port=3,
        settings=("JWKS_FILE",),
    ),
    Process(
        "review-relay",
        "services.review_scheduler.relay",
        "review_scheduler",
        StopTurn.RELAY,
    ),
    Process(
        "gateway-relay",
        "services.gateway.relay",
        "gateway",
        StopTurn.RELAY,
    ),
    Process(
        "gateway-notifier",
        "services.gateway.notifier",
        "gateway",
        StopTurn.SERVICE,
        port=5,
        settings=("BODY_KEY_FILE", "GATEWAY_URL", "JWKS_FILE"),
    ),
    Process(
        "gateway",
        "services.gateway.main",
        "gateway",
        StopTurn.ENTRANCE,
        port=0,
        settings=(
            "AUDIT_URL",
            "BODY_KEY_FILE",
            "GATEWAY_URL",
            "JWKS_FILE",
            "JWT_KEY_FILE",
            "PROVISIONING_URL",
            "REVIEW_URL",
            "SOURCES_FILE",
        ),
    ),
)

KAFKA_PORT = 10
POSTGRES_PORT = 11
CONTROLLER_PORT = 12
"""Ports of the embedded servers, counted like those of the processes."""

PORTS = {
    **{process.port: process.name for process in PROCESSES if process.port is not None},
    KAFKA_PORT: "Kafka",
    POSTGRES_PORT: "PostgreSQL",
    CONTROLLER_PORT: "Kafka's controller",
}
"""Who listens on which port, counted from the installation's first."""
