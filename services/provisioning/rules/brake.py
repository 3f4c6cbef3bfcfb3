"""The brake: removals that follow from a change of rules, not of a person, wait for a verdict.

A slip in a directory file must not take everybody's access away. So what a new directory or policy
takes, and what ends a login for good, is parked under its cause. A cause is judged as a whole, once
it is known whom it touches: small ones pass by themselves, large ones wait for a person.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from shared.contracts.directory import BrakeLimits, Function
from shared.values import value_class

CLOSE_WAIT_DAYS = 30
"""From when a departure first left nothing usable to when a login may be ended for good: longer
than it takes to notice a wrong termination or to rescind one."""


class CauseStatus(StrEnum):
    """Where a cause stands. `passed` by itself, `released` by a person."""

    GATHERING = "gathering"
    PASSED = "passed"
    ENGAGED = "engaged"
    RELEASED = "released"
    REJECTED = "rejected"


class CauseMove(StrEnum):
    """What can happen to a cause."""

    LET_PASS = "let_pass"
    ENGAGE = "engage"
    RELEASE = "release"
    REJECT = "reject"


_S, _M = CauseStatus, CauseMove

CAUSE_LIFE: Mapping[tuple[CauseStatus, CauseMove], CauseStatus] = {
    (_S.GATHERING, _M.LET_PASS): _S.PASSED,
    (_S.GATHERING, _M.ENGAGE): _S.ENGAGED,
    (_S.ENGAGED, _M.RELEASE): _S.RELEASED,
    (_S.ENGAGED, _M.REJECT): _S.REJECTED,
}
"""The life of a cause; a pair that is absent is refused."""

MAY_GO_ON = frozenset({CauseStatus.PASSED, CauseStatus.RELEASED})


@value_class(frozen=True, slots=True)
class Parked:
    """One removal that waits. Without TIN and function it is the closing of the whole account."""

    worker: str
    portal: str
    tin: str | None
    function: Function | None
    cause_id: str
    parked_at: datetime
    verdict: CauseStatus = CauseStatus.GATHERING
    decided_by: str | None = None

    @property
    def target(self) -> tuple[str, str, str | None, Function | None]:
        """What would be removed."""
        return (self.worker, self.portal, self.tin, self.function)


def judge(parked: int, recent: int, held: int, limits: BrakeLimits) -> CauseMove:
    """What becomes of a cause whose recompute has finished.

    Args:
        parked: how many removals it has parked.
        recent: how many other causes let pass within the sliding window.
        held: how many entitlements the organization's people hold altogether.
    """
    total = parked + recent
    if total > limits.removals and total * 100 > limits.percent * held:
        return CauseMove.ENGAGE
    return CauseMove.LET_PASS
