"""How far enrolments are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.provisioning.rules.enrolment import Phase, PhaseState, PhaseStatus
from shared.postgres import Connection


def _state(row: Any) -> PhaseState:
    return PhaseState(
        row["enrolment"],
        Phase(row["phase"]),
        PhaseStatus(row["status"]),
        row["owner"],
        row["ticked"],
        row["since"],
        row["due_at"],
        row["note"],
    )


async def phases(
    conn: Connection, organization: str, enrolment: str | None = None, *, lock: bool = False
) -> list[PhaseState]:
    """The phases of one enrolment, or of all; locked in order, if asked for."""
    rows = await conn.fetch(
        "SELECT enrolment, phase, status, owner, ticked, since, due_at, note FROM enrolment_phase"
        " WHERE organization = $1 AND ($2::text IS NULL OR enrolment = $2)"
        " ORDER BY enrolment, phase" + (" FOR UPDATE" if lock else ""),
        organization,
        enrolment,
    )
    return [_state(row) for row in rows]


async def add_phases(conn: Connection, organization: str, states: Sequence[PhaseState]) -> None:
    """Store phases of enrolments that are new; what is known already stays."""
    await conn.executemany(
        "INSERT INTO enrolment_phase"
        " (organization, enrolment, phase, status, owner, ticked, since, due_at, note)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        [(organization, *_columns(state)) for state in states],
    )


async def save_phase(conn: Connection, organization: str, state: PhaseState) -> None:
    """Store how a phase stands now."""
    await conn.execute(
        "UPDATE enrolment_phase SET status = $4, owner = $5, ticked = $6, since = $7, due_at = $8,"
        " note = $9 WHERE organization = $1 AND enrolment = $2 AND phase = $3",
        organization,
        *_columns(state),
    )


async def forget_enrolments(conn: Connection, organization: str, known: Sequence[str]) -> None:
    """Drop the phases of enrolments that are no longer in the directory."""
    await conn.execute(
        "DELETE FROM enrolment_phase WHERE organization = $1 AND NOT enrolment = ANY($2::text[])",
        organization,
        list(known),
    )


def _columns(state: PhaseState) -> tuple[Any, ...]:
    return (
        state.enrolment,
        state.phase.value,
        state.status.value,
        state.owner,
        {item: dict(told) for item, told in state.ticked.items()},
        state.since,
        state.due_at,
        state.note,
    )
