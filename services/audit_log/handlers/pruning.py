"""Pruning what need not be kept any longer: whole partitions, from the log's beginning on.

Every hash stays, so all proofs still verify. Entries that a legal hold covers, or that are about
somebody whose access was in effect within the years of retention, are copied aside first.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from services.audit_log.handlers.erasing import years_later
from services.audit_log.rules.terms import Query, Terms
from services.audit_log.store import keeping, pruning, search
from shared.clock import DatabaseClock
from shared.contracts.admin import INSTALLATION, CommandAccepted
from shared.contracts.facts import fact
from shared.contracts.topics import ADMIN_EVENTS
from shared.outbox import enqueue
from shared.postgres import Connection

PER_READ = 10_000


class CannotPrune(Exception):
    """Nothing may be pruned now; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one partition's pruning did: the entries `[first, end)`, and how many were kept."""

    first: int
    end: int
    kept: int


async def prune_next(conn: Connection, terms: Terms, years: int) -> Pruned | None:
    """Prune the oldest partition if all of it is older than `years`; None if it is not.

    Call it as the owner of the log's tables, in a transaction of its own.

    Raises:
        CannotPrune: what is held cannot be told, because search is not complete.
    """
    await keeping.lock_holds(conn)
    oldest = await pruning.oldest_partition(conn)
    now = await DatabaseClock().now(conn)
    if oldest is None or years_later(oldest.newest_recorded_at, years) > now:
        return None
    if not await search.is_there(conn) or await search.position(conn) < oldest.end:
        raise CannotPrune("search is not complete, so nobody can tell what is held: wait for it")
    kept: set[int] = set()
    for wanted in await _held_terms(conn, terms, now, years):
        before = oldest.end
        while found := await search.find(
            conn, wanted, before=before, limit=PER_READ, lowest=oldest.first
        ):
            kept.update(found)
            before = found[-1]
    await pruning.drop(conn, oldest, sorted(kept))
    await enqueue(
        conn,
        [
            fact(
                ADMIN_EVENTS,
                "command.accepted",
                source="/portalkeeper/audit_log",
                organization=INSTALLATION,
                subject="audit_log",
                cause=("prune", str(oldest.first), str(uuid4())),
                time=now,
                data=CommandAccepted("audit.prune", f"{oldest.first}-{oldest.end - 1}"),
            )
        ],
    )
    return Pruned(oldest.first, oldest.end, len(kept))


async def _held_terms(conn: Connection, terms: Terms, now: datetime, years: int) -> list[list[int]]:
    """For each reason to keep entries, the terms by which they are found."""
    wanted = []
    for hold in await keeping.read_holds(conn, active=True):
        facets = () if hold.kind == "organization" else ((hold.kind, hold.subject),)
        wanted.append(terms.of_query(Query(hold.organization, facets)))
    since = _years_before(now, years)
    for organization, worker in await keeping.kept_for_access(conn, since):
        wanted.append(terms.of_query(Query(organization, (("worker", worker),))))
        wanted.append([terms.of_dead_letter(organization, worker)])
    return wanted


def _years_before(instant: datetime, years: int) -> Any:
    return years_later(instant, -years)
