"""Keeping a timer for each campaign that comes by itself, and beginning those that are due.

An installation begins without a campaign: its first ones are those of the next month and quarter,
or are opened by command. A period that begins while an earlier campaign is unfinished still gets
its own, because unfinished work must not stop the calendar.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from typing import Any

import asyncpg

from services.review_scheduler.handlers.campaigns import begin
from services.review_scheduler.rules.calendar import (
    next_start,
    period_title,
    recertification_due,
    recertification_start,
)
from services.review_scheduler.rules.opening import derive_id
from services.review_scheduler.rules.scope import narrows
from services.review_scheduler.store.campaigns import Plan
from services.review_scheduler.store.directory import (
    CALENDAR_TIMER,
    DirectoryView,
    calendar_timers,
    load_directory,
    lock_organization,
    organizations,
)
from shared.clock import Clock
from shared.contracts.review_policy import CampaignCalendar
from shared.postgres import Connection, in_transaction
from shared.timers import Timer, cancel, due_keys, set_timers, take

OPENED_BY_CALENDAR = "calendar"


@dataclass(frozen=True, slots=True)
class _Coming:
    """A calendar's next campaign; for a recertification, of one portal and ahead of its date."""

    calendar: CampaignCalendar
    portal: str | None = None
    due_on: date | None = None

    @property
    def key(self) -> str:
        return f"{self.calendar.id}/{self.portal}" if self.portal else self.calendar.id


def _coming(directory: DirectoryView) -> Iterator[_Coming]:
    for calendar in directory.reviews.calendars:
        if calendar.every != "recertification":
            yield _Coming(calendar)
            continue
        for portal, due_on in sorted(directory.recertify_by.items()):
            if not calendar.scope.portals or portal in calendar.scope.portals:
                yield _Coming(calendar, portal, due_on)


def _starts(coming: _Coming, directory: DirectoryView, now: datetime) -> datetime:
    zone = directory.calendar.zone
    if coming.due_on is not None:
        return recertification_start(coming.due_on, coming.calendar.ahead_days, zone)
    every = coming.calendar.every
    assert every != "recertification", "it names a portal and a date"
    return next_start(every, now, zone)


async def set_all_calendars(pool: "asyncpg.Pool[Any]", clock: Clock) -> None:
    """Have every organization's campaigns begin in time, also those that a newer version brings."""
    async with pool.acquire() as conn:
        known = await organizations(conn)
    for organization in known:
        await in_transaction(pool, partial(set_calendars, clock, organization))


async def set_calendars(clock: Clock, organization: str, conn: Connection) -> None:
    """Have the organization's campaigns begin by its policy, in its zone.

    One that is due already is left to be begun: a service that was down over the turn of a quarter
    must not skip it because the directory came first.
    """
    if not await lock_organization(conn, organization):
        return
    now = await clock.now(conn)
    directory = await load_directory(conn, organization)
    known = await calendar_timers(conn, organization)
    today = directory.calendar.day(now)
    wanted = {
        f"{organization}/{each.key}": each
        for each in _coming(directory)
        if each.due_on is None or each.due_on > today
    }
    await cancel(conn, CALENDAR_TIMER, [key for key in known if key not in wanted])
    await set_timers(
        conn,
        [
            Timer(CALENDAR_TIMER, key, _starts(each, directory, now), {})
            for key, each in wanted.items()
            if key not in known or known[key] > now
        ],
    )


async def open_due_campaigns(pool: "asyncpg.Pool[Any]", clock: Clock) -> int:
    """Begin the campaigns that are due; how many timers were.

    After a standstill over more than one turn of a period only the present one is begun.
    """
    async with pool.acquire() as conn:
        keys = await due_keys(conn, CALENDAR_TIMER, await clock.now(conn))
    for organization in sorted({key.partition("/")[0] for key in keys}):
        own = [key for key in keys if key.startswith(f"{organization}/")]
        await in_transaction(pool, partial(_open_due, clock, organization, own))
    return len(keys)


async def _open_due(clock: Clock, organization: str, keys: list[str], conn: Connection) -> None:
    known = await lock_organization(conn, organization)
    now = await clock.now(conn)
    # Taken even where the organization was removed: its campaigns are over then.
    taken = {timer.key for timer in await take(conn, CALENDAR_TIMER, keys, now)}
    if not known:
        return
    directory = await load_directory(conn, organization)
    timers = []
    for coming in _coming(directory):
        key = f"{organization}/{coming.key}"
        if key not in taken:
            continue
        plan = plan_of(coming.calendar, directory, now)
        if coming.due_on is None:
            timers.append(Timer(CALENDAR_TIMER, key, _starts(coming, directory, now), {}))
        else:
            # The next one follows from the portal's next date, once that is known.
            plan = _for_portal(plan, coming, directory, now)
        cause = ("calendar", organization, coming.key, plan.period)
        await begin(conn, plan, derive_id(*cause), OPENED_BY_CALENDAR, directory, now)
    await set_timers(conn, timers)


def plan_of(calendar: CampaignCalendar, directory: DirectoryView, now: datetime) -> Plan:
    """What a campaign that a calendar asks for now is to be."""
    day = directory.calendar.day(now)
    period = day.isoformat()
    if calendar.every != "recertification":
        period = period_title(calendar.every, day)
    title = f"{calendar.name} {period}" if narrows(calendar.scope) else period
    last = directory.calendar.turn(now, calendar.spread_days - 1)
    return Plan(
        organization=directory.organization.id if directory.organization else "",
        title=title,
        period=period,
        calendar=calendar.id,
        scope=calendar.scope,
        no_answer=calendar.no_answer,
        days_to_decide=calendar.days_to_decide,
        waves=calendar.spread_days,
        due_at=directory.calendar.due_after_days(last, calendar.days_to_decide),
    )


def _for_portal(plan: Plan, coming: _Coming, directory: DirectoryView, now: datetime) -> Plan:
    assert coming.portal is not None
    assert coming.due_on is not None
    reached = directory.portals.get(coming.portal)
    name = reached.name if reached else coming.portal
    due_at = recertification_due(
        now, coming.calendar.days_to_decide, coming.due_on, directory.calendar
    )
    return replace(
        plan,
        title=f"{coming.calendar.name} {name} {coming.due_on}",
        period=coming.due_on.isoformat(),
        scope=plan.scope.model_copy(update={"portals": (coming.portal,)}),
        due_at=due_at,
        waves=1,
    )
