"""Covering for each other: a reviewer names somebody who decides in their place on some days."""

from dataclasses import replace
from datetime import date, timedelta
from uuid import UUID, uuid4

from services.review_scheduler import events
from services.review_scheduler.rules.reviewers import identify
from services.review_scheduler.store.delegations import (
    Delegation,
    add_delegation,
    covered_by,
    delegates_of,
    end_delegation,
    lock_delegation,
)
from services.review_scheduler.store.directory import load_directory
from services.review_scheduler.store.workers import load_people, lock_workers
from shared.auth import Principal
from shared.clock import Clock
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection

DELEGATED_MAX_DAYS = 366
"""Who is away for longer is no longer the reviewer."""


async def delegate(
    conn: Connection,
    clock: Clock,
    who: Principal,
    reviewer: str | None,
    to: str,
    since: date,
    until: date,
) -> Delegation:
    """Have somebody decide in a reviewer's place; only review:admin may say so for others.

    Raises:
        Problem: 403 for another's reviews, 422 for days or persons that cannot be.
    """
    organization = who.organization
    people = await load_people(conn, organization, [each for each in (reviewer, to) if each])
    own = identify(who.worker, people) if who.worker else None
    reviewer = identify(reviewer, people) if reviewer else own
    to = identify(to, people)
    if reviewer is None:
        raise Problem(
            422, "reviewer_missing", "Your sign-in names no worker; say for whom somebody covers."
        )
    if reviewer != own and not who.may("review:admin"):
        raise Problem(403, "not_reviewer", "Only review:admin says who covers for somebody else.")
    if reviewer == to:
        raise Problem(422, "delegate_self", "Name somebody else; this is the reviewer.")
    if to not in people or not people[to].present:
        raise Problem(422, "delegate_unknown", f"{to} is nobody who works here now.")
    # Owns the order of what is said about the reviewer.
    await lock_workers(conn, [(organization, reviewer)])
    now = await clock.now(conn)
    today = (await load_directory(conn, organization)).calendar.day(now)
    if not max(since, today) <= until <= since + timedelta(days=DELEGATED_MAX_DAYS):
        raise Problem(
            422,
            "delegation_days",
            f"The last day lies today or later, not before the first, and at most"
            f" {DELEGATED_MAX_DAYS} days after it.",
        )
    delegation = Delegation(
        uuid4(), organization, reviewer, to, since, until, who.worker or who.subject, now
    )
    await add_delegation(conn, delegation)
    await enqueue(conn, [events.review_delegated(delegation, who.subject, now)], held=True)
    return delegation


async def end(conn: Connection, clock: Clock, who: Principal, delegation_id: UUID) -> Delegation:
    """End it now; one that has ended stays as it is.

    Raises:
        Problem: 404 for one that is none of the caller's concern.
    """
    found = await lock_delegation(conn, who.organization, delegation_id)
    if found is None or not (
        who.may("review:admin") or who.worker in (found.reviewer, found.delegate)
    ):
        raise Problem(404, "no_such_delegation", "There is no such delegation; list them again.")
    if found.ended_at is not None:
        return found
    now = await clock.now(conn)
    ended = replace(found, ended_at=now)
    await end_delegation(conn, delegation_id, now)
    by = who.worker or who.subject
    await enqueue(conn, [events.review_delegated(ended, by, now)])
    return ended


async def covering(
    conn: Connection, clock: Clock, organization: str, reviewer: str | None
) -> tuple[str, ...]:
    """Who may decide in a reviewer's place now."""
    if reviewer is None:
        return ()
    today = (await load_directory(conn, organization)).calendar.day(await clock.now(conn))
    return (await delegates_of(conn, organization, [reviewer], today)).get(reviewer, ())


async def own_ids(conn: Connection, who: Principal) -> set[str]:
    """The ids under which whoever is signed in may have been asked."""
    if who.worker is None:
        return set()
    people = await load_people(conn, who.organization, [who.worker])
    return {who.worker, identify(who.worker, people)}


async def asked_for(conn: Connection, clock: Clock, who: Principal) -> set[str]:
    """The ids under which reviews were given to whoever is signed in, or to whom they cover for."""
    own = await own_ids(conn, who)
    today = (await load_directory(conn, who.organization)).calendar.day(await clock.now(conn))
    return own | await covered_by(conn, who.organization, own, today)
