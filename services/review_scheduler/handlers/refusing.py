"""A refusal is a fact with the name of its rule, and an answer with an HTTP status."""

from collections.abc import Mapping
from datetime import datetime

from services.review_scheduler import events
from services.review_scheduler.rules.deciding import RefusalRule
from shared.auth import Principal
from shared.outbox import enqueue
from shared.postgres import Connection

REFUSAL_STATUS: Mapping[RefusalRule, int] = {
    RefusalRule.REVIEWER_UNKNOWN: 403,
    RefusalRule.SELF_REVIEW: 403,
    RefusalRule.NOT_REVIEWER: 403,
    RefusalRule.AUTHORIZER: 403,
    RefusalRule.NOT_ASKED: 403,
    RefusalRule.LINE_UNKNOWN: 422,
    RefusalRule.REASON_MISSING: 422,
    RefusalRule.ASKED_ABSENT: 422,
    RefusalRule.TOO_MANY: 422,
    RefusalRule.LINE_MOOT: 409,
    RefusalRule.REMOVAL_CONFIRMED: 409,
    RefusalRule.HELD_NO_MORE: 409,
    RefusalRule.LINE_DECIDED: 409,
    RefusalRule.ANSWERED: 409,
    RefusalRule.NOTHING_LEFT: 409,
    RefusalRule.COUNT_DIFFERS: 409,
}


async def refused(
    conn: Connection, who: Principal, command: str, target: str, rule: RefusalRule, now: datetime
) -> RefusalRule:
    """Write down that a command is refused, in the transaction that must then commit."""
    status = REFUSAL_STATUS[rule]
    await enqueue(conn, [events.command_refused(who, command, target, rule, status, now)])
    return rule
