"""What a worker does and holds, as their state tells it, and when a changed role is due a look."""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.contracts.directory import Function
from shared.contracts.state import Entitlement, WorkerState, WorkerStatus


@dataclass(frozen=True, slots=True)
class Role:
    """What a worker does, where and for whom, as sorted values of all open employments."""

    titles: tuple[str, ...]
    duties: tuple[str, ...]
    sites: tuple[str, ...]
    supervisors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holding:
    """One effective entitlement and its portal."""

    portal: str
    entitlement: Entitlement

    @property
    def target(self) -> tuple[str, str, Function]:
        """What the entitlement is for, whichever operation granted it."""
        return (self.portal, self.entitlement.tin, self.entitlement.function)


def role_in(state: WorkerState) -> Role | None:
    """The role a state tells, or None where it tells none.

    A worker who is away, gone, not begun or blocked has not changed role: their last one stands,
    so that a rescinded termination or a leave opens no review.
    """
    if state.status is not WorkerStatus.ACTIVE or state.blocked:
        return None
    employed = [each for each in state.employments if each.open]
    return Role(
        _sorted(each.title for each in employed),
        _sorted(state.duties),
        _sorted(site for each in employed for site in each.sites),
        _sorted(each.supervisor for each in employed),
    )


def _sorted(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))


def supervisor_in(state: WorkerState) -> str | None:
    """The supervisor by the longest-standing open employment that names one.

    Of somebody who has left, by the last that did: whoever they supervised falls to them.
    """
    employed = sorted(
        (each for each in state.employments if each.supervisor),
        key=lambda each: (each.starts_at, each.employment_id),
    )
    named = [each.supervisor for each in employed if each.open]
    named += [each.supervisor for each in reversed(employed)]
    return next(iter(named), None)


def holdings_in(state: WorkerState) -> tuple[Holding, ...]:
    """Every effective entitlement of a state, in a fixed order."""
    held = {
        holding.target: holding
        for access in state.portals
        for holding in (Holding(access.portal, each) for each in access.effective)
    }
    return tuple(held[target] for target in sorted(held))


def explain_role_change(previous: Role | None, current: Role | None) -> str | None:
    """Why a micro-review is due, in words; None if nothing changed or nothing was known before."""
    if previous is None or current is None:
        return None
    changed = [
        name
        for name, before, after in (
            ("title", previous.titles, current.titles),
            ("duties", previous.duties, current.duties),
            ("sites", previous.sites, current.sites),
            ("supervisor", previous.supervisors, current.supervisors),
        )
        if before != after
    ]
    return f"role changed: {', '.join(changed)}" if changed else None
