"""The topics services meet in: names, partitions and how long Kafka keeps them."""

from dataclasses import dataclass, field

DAY_MS = 24 * 60 * 60 * 1000
FACT_RETENTION_DAYS = 30
"""Long enough for a service to be down over a holiday and still find every record."""

WORKER_PARTITIONS = 6
"""How far one service can scale out; more partitions would mean smaller batches."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One Kafka topic. `config` holds topic-level settings as Kafka spells them."""

    name: str
    key: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def _facts(name: str, key: str, partitions: int = WORKER_PARTITIONS) -> Topic:
    return Topic(
        name,
        key,
        partitions,
        {
            "cleanup.policy": "delete",
            "retention.ms": str(FACT_RETENTION_DAYS * DAY_MS),
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(2 * 1024 * 1024),
        },
    )


def _state(name: str, key: str, partitions: int = WORKER_PARTITIONS) -> Topic:
    return Topic(
        name,
        key,
        partitions,
        {
            "cleanup.policy": "compact",
            "min.compaction.lag.ms": str(FACT_RETENTION_DAYS * DAY_MS),
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(2 * 1024 * 1024),
        },
    )


HR_EVENTS = _facts("hr.worker-events.v1", "organization/worker")
DIRECTORY_EVENTS = _state("portal.directory-events.v1", "organization/kind/id", partitions=1)
ACCESS_EVENTS = _facts("portal.access-events.v1", "organization/worker, /portal, or organization")
WORKER_STATE = _state("portal.worker-state.v1", "organization/worker")
REVIEW_EVENTS = _facts("review.events.v1", "organization/worker, or /campaign")
ADMIN_EVENTS = _facts("admin.activity-events.v1", "organization/actor", partitions=3)
DEAD_LETTERS = _facts("portalkeeper.dead-letters.v1", "source topic/partition", partitions=3)
CHECKPOINTS = Topic(
    "audit.checkpoints.v1",
    "log origin",
    1,
    {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "message.timestamp.type": "LogAppendTime",
    },
)

OCSF_RETENTION_DAYS = 7
"""A SIEM keeps its own copy, and everything can be published anew from the log."""

OCSF_EVENTS = Topic(
    "compliance.ocsf-events.v1",
    "organization/worker",
    WORKER_PARTITIONS,
    {
        "cleanup.policy": "delete",
        "retention.ms": str(OCSF_RETENTION_DAYS * DAY_MS),
        "message.timestamp.type": "LogAppendTime",
    },
)

TOPICS: tuple[Topic, ...] = (
    HR_EVENTS,
    DIRECTORY_EVENTS,
    ACCESS_EVENTS,
    WORKER_STATE,
    REVIEW_EVENTS,
    ADMIN_EVENTS,
    DEAD_LETTERS,
    CHECKPOINTS,
    OCSF_EVENTS,
)

AUDITED_TOPICS: tuple[Topic, ...] = (
    HR_EVENTS,
    DIRECTORY_EVENTS,
    ACCESS_EVENTS,
    REVIEW_EVENTS,
    ADMIN_EVENTS,
    DEAD_LETTERS,
)
"""What the audit log ingests; the other topics can be derived from these."""
