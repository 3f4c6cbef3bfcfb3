"""What lists show of a worker, so that a list over everybody reads no whole states."""

from datetime import datetime

from shared.contracts.state import WorkerState
from shared.values import value_class


@value_class(frozen=True, slots=True)
class Listed:
    """A worker in lists.

    `title` and `sites` are those of the employments that go on, or of the last one. `words` is what
    a search looks through, in small letters. The counts of portals are None where a decision left
    portals as they were: how many something is known of or wanted on, usable, and exposed.
    """

    name: str | None
    status: str
    title: str | None
    duties: tuple[str, ...]
    sites: tuple[str, ...]
    words: str
    blocked: bool
    findings: int
    training_due_at: datetime | None
    portals_known: int | None
    portals_usable: int | None
    portals_exposed: int | None


def listed(state: WorkerState, *, portals_decided: bool) -> Listed:
    """How lists show a state."""
    going_on = [each for each in state.employments if each.open]
    shown = going_on or state.employments[-1:]
    titles = [each.title for each in shown if each.title]
    words = (state.worker, state.name, *titles)
    portals = state.portals if portals_decided else None
    return Listed(
        name=state.name,
        status=state.status.value,
        title=shown[0].title if shown else None,
        duties=state.duties,
        sites=tuple(sorted({site for each in shown for site in each.sites})),
        words="\n".join(filter(None, words)).lower(),
        blocked=state.blocked,
        findings=len(state.findings),
        training_due_at=min((due.due_at for due in state.training_due), default=None),
        portals_known=None if portals is None else len(portals),
        portals_usable=None if portals is None else sum(bool(each.effective) for each in portals),
        portals_exposed=(
            None if portals is None else sum(each.exposed_since is not None for each in portals)
        ),
    )
