"""What portals held for whom over two times: when it was so (valid), and when it became known.

A `Statement` says of one entitlement over a stretch of valid time that the portal held it, or that
it did not. Applied in the order in which they became known, statements give the history: each
replaces what was known of its own stretch and leaves the rest, and what it replaced stays readable
as what was known before. Instants are UTC.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from services.provisioning.rules.operations import Account
from shared.contracts.directory import Function
from shared.contracts.state import Entitlement
from shared.values import value_class

FOREVER = datetime.max.replace(tzinfo=UTC)
"""The end of what has not ended."""

HistoryKey = tuple[str, str, str, Function]
"""(worker, portal, TIN, function)."""


@value_class(frozen=True, slots=True)
class Source:
    """Where a statement comes from.

    `id` is the operation, adoption or roster that brought it about, `said_by` a person's id or a
    connector's name, `event_id` the published event that says it.
    """

    id: str
    said_by: str
    event_id: str


@value_class(frozen=True, slots=True)
class Statement:
    """What is said of one entitlement from `valid_from` until `valid_until`.

    `entitlement` is how it was held then; None says that it was not held.
    """

    worker: str
    portal: str
    tin: str
    function: Function
    valid_from: datetime
    valid_until: datetime
    entitlement: Entitlement | None
    login_id: str | None
    source: Source

    @property
    def key(self) -> HistoryKey:
        """What it is about."""
        return (self.worker, self.portal, self.tin, self.function)


@value_class(frozen=True, slots=True)
class Holding:
    """A stretch of valid time in which an entitlement was held, as known since `known_from`."""

    worker: str
    portal: str
    tin: str
    function: Function
    valid_from: datetime
    valid_until: datetime
    known_from: datetime
    entitlement: Entitlement
    login_id: str | None
    source: Source
    ended: Source | None = None

    @property
    def key(self) -> HistoryKey:
        """What it is about."""
        return (self.worker, self.portal, self.tin, self.function)


def statements_between(
    before: Account, after: Account, source: Source, *, at: datetime
) -> list[Statement]:
    """What a change of an account says about entitlements.

    What came to be held counts from its own `since`, which may be long ago; what was held on other
    evidence or authority before, and what is held no more, changed `at`.
    """
    said: list[Statement] = []
    for held in sorted({*before.effective, *after.effective}):
        was, is_ = before.effective.get(held), after.effective.get(held)
        if was == is_ and (was is None or before.login_id == after.login_id):
            continue
        begins = at if was is not None or is_ is None or is_.since is None else is_.since
        said.append(
            Statement(
                after.worker,
                after.portal,
                *held,
                begins,
                FOREVER,
                is_,
                after.login_id if is_ is not None else None,
                source,
            )
        )
    return said


def overtake(known: Holding, said: Statement, known_from: datetime) -> list[Holding]:
    """What is still known of a holding beside a statement about some or all of its stretch."""
    rest = []
    if known.valid_from < said.valid_from:
        ended = said.source if said.entitlement is None else None
        rest.append(replace(known, valid_until=said.valid_from, known_from=known_from, ended=ended))
    if said.valid_until < known.valid_until:
        rest.append(replace(known, valid_from=said.valid_until, known_from=known_from))
    return rest


def overlaps(known: Holding, said: Statement) -> bool:
    """Whether they speak of a common stretch of one entitlement."""
    return (
        known.key == said.key
        and known.valid_from < said.valid_until
        and said.valid_from < known.valid_until
    )


def newly_held(said: Statement, known_from: datetime) -> Holding | None:
    """The holding that a statement brings; None where it says that nothing was held."""
    if said.entitlement is None or said.valid_from >= said.valid_until:
        return None
    return Holding(
        said.worker,
        said.portal,
        said.tin,
        said.function,
        said.valid_from,
        said.valid_until,
        known_from,
        said.entitlement,
        said.login_id,
        said.source,
    )


def in_rounds(said: Iterable[Statement]) -> list[list[Statement]]:
    """Statements in their order, cut so that no round has two about one entitlement."""
    rounds: list[list[Statement]] = []
    count: dict[HistoryKey, int] = {}
    for statement in said:
        number = count.get(statement.key, 0)
        count[statement.key] = number + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(statement)
    return rounds


def as_known(history: Sequence[tuple[datetime, Statement]], known_at: datetime) -> list[Holding]:
    """What was known at an instant, told naively: every statement until then, one by one.

    Args:
        history: (when it became known, statement), in the order in which they became known.
    """
    known: list[Holding] = []
    for known_from, said in history:
        if known_from > known_at:
            break
        known = [
            rest
            for one in known
            for rest in (overtake(one, said, known_from) if overlaps(one, said) else [one])
        ]
        new = newly_held(said, known_from)
        if new is not None:
            known.append(new)
    return known
