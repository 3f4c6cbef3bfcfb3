"""Questions about lines, written only under the lock of the worker the line is about."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.contracts.review import Advice
from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Question:
    """Somebody is asked about a line; `answered_at` is None until they have answered."""

    question_id: UUID
    line_id: UUID
    asked: str
    asked_by: str
    asked_at: datetime
    words: str
    answered_at: datetime | None = None


async def add_questions(conn: Connection, organization: str, questions: Sequence[Question]) -> None:
    """Store questions that wait for an answer."""
    await conn.execute(
        """
        INSERT INTO question (organization, question_id, line_id, asked, asked_by, asked_at, words)
        SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::timestamptz[],
            $7::text[])
        """,
        organization,
        [each.question_id for each in questions],
        [each.line_id for each in questions],
        [each.asked for each in questions],
        [each.asked_by for each in questions],
        [each.asked_at for each in questions],
        [each.words for each in questions],
    )


async def load_question(conn: Connection, organization: str, question_id: UUID) -> Question | None:
    """One question of the organization."""
    row = await conn.fetchrow(
        """
        SELECT question_id, line_id, asked, asked_by, asked_at, words, answered_at FROM question
        WHERE organization = $1 AND question_id = $2
        """,
        organization,
        question_id,
    )
    return None if row is None else Question(**dict(row))


async def store_answer(
    conn: Connection, question_id: UUID, advice: Advice, answer: str, by: str, now: datetime
) -> None:
    """Keep what somebody answered."""
    await conn.execute(
        """
        UPDATE question SET advice = $2, answer = $3, answered_by = $4, answered_at = $5
        WHERE question_id = $1
        """,
        question_id,
        advice,
        answer,
        by,
        now,
    )


async def questions_about(
    conn: Connection, line_ids: Collection[UUID]
) -> dict[UUID, list[dict[str, Any]]]:
    """What was asked and answered about lines, oldest first."""
    rows = await conn.fetch(
        """
        SELECT line_id, question_id::text, asked, asked_by, asked_at, words, advice, answer,
            answered_by, answered_at
        FROM question WHERE line_id = ANY($1::uuid[]) ORDER BY asked_at, question_id
        """,
        list(line_ids),
    )
    about: dict[UUID, list[dict[str, Any]]] = {}
    for row in rows:
        said = dict(row)
        about.setdefault(said.pop("line_id"), []).append(said)
    return about


async def waiting_questions(
    conn: Connection, organization: str, asked: Collection[str]
) -> list[dict[str, Any]]:
    """Questions that wait for somebody, by all their ids, with the lines as they are stored."""
    rows = await conn.fetch(
        """
        SELECT question_id::text, asked_by, asked_at, words, line_id::text, portal, tin, function,
            grade, since, authorized_by, duties, operation_id, line.status, review.worker,
            worker.name AS worker_name, review.due_at
        FROM question JOIN line USING (line_id) JOIN review USING (review_id)
            LEFT JOIN worker ON worker.organization = review.organization
                AND worker.worker = review.worker
        WHERE question.organization = $1 AND asked = ANY($2::text[]) AND answered_at IS NULL
            AND line.status = 'undecided'
        ORDER BY asked_at, question_id
        """,
        organization,
        list(asked),
    )
    return [dict(row) for row in rows]
