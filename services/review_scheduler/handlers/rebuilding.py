"""Writing an empty database anew from what the service itself has said."""

from datetime import datetime
from uuid import UUID

from services.review_scheduler.handlers.removals import REMOVAL_TIMER, removal_due
from services.review_scheduler.rules.retelling import Retold
from services.review_scheduler.store.counts import count_lines, keep_counts
from services.review_scheduler.store.rebuilding import TABLES, add_rows
from services.review_scheduler.store.waiting import LADDER_TIMER
from shared.postgres import Connection
from shared.timers import Timer, set_timers


async def write_anew(conn: Connection, told: Retold, now: datetime) -> None:
    """Store what was told, and look at everything that waits: what is due follows at once."""
    told.stand()
    removing = ("removal_decided", "removal_ordered")
    timers = [
        Timer(LADDER_TIMER, review_id, now, {})
        for review_id, review in told.reviews.items()
        if review["status"] == "open"
    ]
    for line_id, line in told.lines.items():
        if line["status"] in removing:
            line.setdefault("removal_due_at", removal_due(line["decided_at"]))
            if line.get("overdue_at") is None:
                timers.append(Timer(REMOVAL_TIMER, line_id, line["removal_due_at"], {}))
    tables = (told.campaigns, told.reviews, told.lines, told.delegations, told.questions)
    for table, rows in zip(TABLES, tables, strict=True):
        await add_rows(conn, table, list(rows.values()))
    await count_lines(conn, [UUID(review_id) for review_id in told.reviews])
    await keep_counts(conn)
    await set_timers(conn, timers)
