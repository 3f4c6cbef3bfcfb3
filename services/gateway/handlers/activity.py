"""Records of what people did at the gateway, in the transaction in which it took effect."""

from datetime import datetime

from shared.contracts.facts import fact
from shared.contracts.topics import ADMIN_EVENTS
from shared.outbox import OutboxMessage

SOURCE = "/portalkeeper/gateway"


def activity(
    kind: str,
    organization: str,
    actor: str,
    cause: tuple[str, ...],
    now: datetime,
    data: object,
) -> OutboxMessage:
    """One event on `admin.activity-events.v1`.

    Args:
        actor: the subject's id, `UNKNOWN_ACTOR` where nobody could be told.
        cause: what makes the event this one and no other.
    """
    return fact(
        ADMIN_EVENTS,
        kind,
        source=SOURCE,
        organization=organization,
        subject=actor,
        cause=cause,
        time=now,
        data=data,
    )
