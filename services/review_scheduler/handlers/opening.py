"""Opening reviews: stored, said, and with the first step of the ladder set."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from services.review_scheduler import events
from services.review_scheduler.rules.ladder import next_step_at, passed_rung
from services.review_scheduler.rules.occasions import Trigger, no_answer_to
from services.review_scheduler.rules.opening import Holder, NewReview, Occasion, build_reviews
from services.review_scheduler.store.directory import DirectoryView
from services.review_scheduler.store.reviews import add_reviews, lines_known, reviews_known
from services.review_scheduler.store.waiting import LADDER_TIMER
from services.review_scheduler.store.workers import load_people_around
from shared.outbox import OutboxMessage
from shared.postgres import Connection
from shared.timers import Timer, set_timers


async def open_reviews(
    conn: Connection, reviews: Sequence[NewReview], directory: DirectoryView, now: datetime
) -> list[OutboxMessage]:
    """Store reviews of one organization, whose workers are locked; the events that say so."""
    if not reviews:
        return []
    policy, calendar = directory.reviews, directory.calendar
    dues = {each.occasion.due_at for each in reviews}
    passed = {due_at: passed_rung(due_at, policy, calendar, now) for due_at in dues}
    steps = {
        due_at: next_step_at(due_at, expired=False, policy=policy, calendar=calendar, now=now)
        for due_at in dues
    }
    await add_reviews(conn, reviews, [passed[each.occasion.due_at] for each in reviews])
    await set_timers(
        conn,
        [
            Timer(LADDER_TIMER, str(each.review_id), at, {})
            for each in reviews
            if (at := steps[each.occasion.due_at]) is not None
        ],
    )
    return [events.review_opened(each) for each in reviews]


async def open_micro_reviews(
    conn: Connection,
    found: Sequence[tuple[Holder, Trigger]],
    directory: DirectoryView,
    now: datetime,
) -> list[OutboxMessage]:
    """Open what triggers ask about holders of one organization, who are locked.

    What was asked about before for the same cause is not asked again, and nobody gets an empty
    list.
    """
    if not found:
        return []
    policy, calendar = directory.reviews, directory.calendar
    organization = found[0][0].organization
    keys = [(organization, holder.worker) for holder, _ in found]
    people = await load_people_around(conn, organization, keys, directory)
    due_at = calendar.due_after_business_days(now, policy.micro_days_to_decide)
    reviews = [
        review
        for holder, trigger in found
        for review in build_reviews(
            Occasion(
                trigger.cause,
                None,
                trigger.rule,
                trigger.reason,
                now,
                due_at,
                no_answer_to(trigger.rule, policy),
            ),
            holder,
            people,
            directory.administrators,
            directory.job_duties,
            calendar.day(now),
            authorizer_may_review=policy.authorizer_may_review,
        )
    ]
    return await open_reviews(conn, await new_reviews(conn, reviews), directory, now)


async def new_reviews(conn: Connection, reviews: Sequence[NewReview]) -> list[NewReview]:
    """The reviews with what of them was not opened before for the same cause.

    Nothing is added to one that was opened before: what is held since then is asked next time.
    """
    known = await lines_known(conn, [line.line_id for each in reviews for line in each.lines])
    opened = await reviews_known(conn, [each.review_id for each in reviews])
    left = [
        replace(each, lines=tuple(line for line in each.lines if line.line_id not in known))
        for each in reviews
    ]
    return [each for each in left if each.lines and each.review_id not in opened]
