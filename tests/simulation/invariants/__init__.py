"""What must hold whenever an organization has come to rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.provisioning.store import history as history_store
from tests.simulation.invariants.access import (
    differences_are_being_worked_on,
    everybody_has_what_is_desired,
    everybody_is_to_have_what_they_should,
    exposures_are_shown,
    logins_beyond_the_directory_are_shown,
    only_what_can_be_undone,
    the_departed_have_nothing,
)
from tests.simulation.invariants.again import (
    a_clean_replay_agrees,
    deciding_again_changes_nothing,
    replay_agrees,
)
from tests.simulation.invariants.published import (
    Ledger,
    access_agrees,
    every_event_once,
    fold,
    history_agrees,
    operations_agree,
    states_agree,
)
from tests.simulation.invariants.tables import outbox_of, read_tables
from tests.simulation.source import Log

if TYPE_CHECKING:
    from tests.simulation.theatre import Theatre


async def check(
    theatre: Theatre, organization: str, hr: Log, ledger: Ledger, *, converged: bool
) -> None:
    """Every invariant.

    Args:
        converged: whether all work has been done, so that portals hold what is desired.

    Raises:
        AssertionError: one does not hold.
    """
    now = theatre.clock.at
    tables = await read_tables(theatre.plain, organization)
    outbox = await outbox_of(theatre.plain)
    published = fold(outbox)
    assert not await theatre.plain.fetchval("SELECT count(*) FROM undecided"), "left undecided"
    every_event_once(hr, tables, published)
    operations_agree(tables, published, ledger)
    access_agrees(tables, published)
    history_agrees(tables, await history_store.known_now(theatre.plain, organization))
    states_agree(tables, published)
    only_what_can_be_undone(tables)
    the_departed_have_nothing(hr, tables, now)
    await everybody_is_to_have_what_they_should(theatre.plain, organization, hr, tables, now)
    differences_are_being_worked_on(tables, now)
    if converged:
        everybody_has_what_is_desired(tables)
    await exposures_are_shown(theatre.plain, organization, tables)
    await logins_beyond_the_directory_are_shown(theatre.plain, organization, tables)
    await replay_agrees(theatre, organization, hr)
    await deciding_again_changes_nothing(theatre, organization, len(outbox))
    await a_clean_replay_agrees(theatre, organization, hr, tables)
