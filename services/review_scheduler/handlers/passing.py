"""Passing a review on: asking somebody who knows more, and saying that it is not one's own."""

from collections.abc import Sequence
from uuid import UUID

from services.review_scheduler import events
from services.review_scheduler.handlers.decisions import Desk, lay_out, refuse_person
from services.review_scheduler.handlers.refusing import refused
from services.review_scheduler.rules.deciding import RefusalRule, refuse_asking
from services.review_scheduler.rules.ladder import never_asked
from services.review_scheduler.rules.lines import LineStatus
from services.review_scheduler.rules.opening import derive_id
from services.review_scheduler.rules.reviewers import Choice, choose_reviewer, identify
from services.review_scheduler.store.questions import (
    Question,
    add_questions,
    load_question,
    store_answer,
)
from services.review_scheduler.store.reviews import (
    holders_of,
    load_lines_by_id,
    reassign_review,
)
from services.review_scheduler.store.waiting import load_pending
from services.review_scheduler.store.workers import load_people, load_people_around, lock_workers
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.review import Advice
from shared.errors import Problem
from shared.outbox import enqueue
from shared.postgres import Connection


async def ask_somebody(
    conn: Connection,
    clock: Clock,
    who: Principal,
    review_id: UUID,
    line_ids: Sequence[UUID],
    asked: str,
    words: str,
) -> RefusalRule | None:
    """Ask a named person about lines; they come back to the reviewer with the answer.

    Returns:
        The rule that refuses it, written as a fact, or None.

    Raises:
        Problem: 404 when the organization has no such review.
    """
    desk = await lay_out(conn, clock, who.organization, review_id)
    people = await load_people(conn, who.organization, [asked, desk.review.worker])
    asked = identify(asked, people)
    refusal = await refuse_person(conn, clock, who, desk.review) or refuse_asking(
        [desk.lines[each].status if each in desk.lines else None for each in line_ids],
        asked,
        identify(desk.review.worker, people),
        is_present=asked in people and people[asked].present,
    )
    if refusal is not None:
        return await refused(conn, who, "review.ask", str(review_id), refusal, desk.at)
    assert who.worker is not None, "the rule refuses those without"
    cause = (asked, desk.at.isoformat())
    questions = [
        Question(derive_id("question", str(each), *cause), each, asked, who.worker, desk.at, words)
        for each in line_ids
    ]
    await add_questions(conn, who.organization, questions)
    said = [events.line_asked(desk.lines[each.line_id], each) for each in questions]
    await enqueue(conn, said, held=True)
    return None


async def answer_question(
    conn: Connection,
    clock: Clock,
    who: Principal,
    question_id: UUID,
    advice: Advice,
    answer: str,
) -> RefusalRule | None:
    """Answer what one was asked about a line; it decides nothing.

    Raises:
        Problem: 404 for a question that is not there.
    """
    question = await load_question(conn, who.organization, question_id)
    if question is None:
        raise Problem(404, "no_such_question", "There is no such question; list yours again.")
    await lock_workers(conn, await holders_of(conn, [question.line_id]))
    question = await load_question(conn, who.organization, question_id) or question
    line = (await load_lines_by_id(conn, [question.line_id]))[question.line_id]
    now = await clock.now(conn)
    people = await load_people(conn, who.organization, [who.worker] if who.worker else [])
    refusal = None
    if who.worker is None or question.asked not in (who.worker, identify(who.worker, people)):
        refusal = RefusalRule.NOT_ASKED
    elif question.answered_at is not None:
        refusal = RefusalRule.ANSWERED
    elif line.status is not LineStatus.UNDECIDED:
        refusal = RefusalRule.LINE_DECIDED
    if refusal is not None:
        return await refused(conn, who, "review.answer", str(question_id), refusal, now)
    assert who.worker is not None
    await store_answer(conn, question_id, advice, answer, who.worker, now)
    said = events.question_answered(line, question, advice, answer, who.worker, now)
    await enqueue(conn, [said], held=True)
    return None


async def decline_review(
    conn: Connection, clock: Clock, who: Principal, review_id: UUID, words: str
) -> RefusalRule | None:
    """Say that a review is not one's own: it goes to the next by rule, who has not declined it.

    Raises:
        Problem: 404 when the organization has no such review.
    """
    desk = await lay_out(conn, clock, who.organization, review_id)
    refusal = await refuse_person(conn, clock, who, desk.review)
    if refusal is None and all(
        line.status is not LineStatus.UNDECIDED for line in desk.lines.values()
    ):
        refusal = RefusalRule.NOTHING_LEFT
    if refusal is not None:
        return await refused(conn, who, "review.decline", str(review_id), refusal, desk.at)
    declined = [*desk.review.declined, *([desk.review.reviewer] if desk.review.reviewer else [])]
    choice = await _choose_next(conn, desk, declined)
    await reassign_review(conn, review_id, choice, declined)
    undecided = sum(line.status is LineStatus.UNDECIDED for line in desk.lines.values())
    said = events.review_declined(desk.review, choice, who, words, undecided, desk.at)
    await enqueue(conn, [said], held=True)
    return None


async def _choose_next(conn: Connection, desk: Desk, declined: Sequence[str]) -> Choice:
    """The next by rule for the portal with most left to decide."""
    left = [line.portal for line in desk.lines.values() if line.status is LineStatus.UNDECIDED]
    portal = max(sorted(set(left)), key=left.count)
    key = (desk.review.organization, desk.review.worker)
    people = await load_people_around(conn, desk.review.organization, [key], desk.directory)
    pending = await load_pending(conn, [desk.review.review_id])
    barred = {each for one in pending for each in never_asked(one, desk.directory.reviews)}
    return choose_reviewer(
        desk.review.worker,
        portal,
        people,
        desk.directory.administrators,
        desk.today,
        barred | set(declined),
    )
