"""What an entitlement is, and what somebody is to have."""

from collections.abc import Mapping
from datetime import datetime

from shared.contracts.directory import (
    Function,
)
from shared.contracts.state import (
    AuthorizedBy,
    Finding,
    Held,
    TrainingDue,
)
from shared.values import value_class

Right = tuple[str, str, Function]
"""(portal, TIN, function): what an entitlement is, whoever holds it."""


MOVER_GRACE = "mover_grace"
"""Who answers for what a former job gave: it is kept for a while, and never given."""

REVIEW_REMOVED = "review_removed"
"""The rule that holds back what a review decided to remove."""


@value_class(frozen=True, slots=True)
class Removal:
    """A review decision to remove, as an input of desired access; None stands for all of them."""

    review_id: str
    line_id: str
    portal: str
    tin: str | None
    function: str | None
    decided_by: str
    decided_at: datetime

    def covers(self, right: Right) -> bool:
        """Whether the decision names this right."""
        portal, tin, function = right
        return (
            self.portal == portal
            and self.tin in (None, tin)
            and self.function in (None, function.value)
        )


@value_class(frozen=True, slots=True)
class Desired:
    """What a worker must have at an instant.

    `suspended` says that nothing may be usable now although the employment may go on (leave).
    """

    rights: Mapping[Right, AuthorizedBy]
    held: Mapping[str, tuple[Held, ...]]
    duties: tuple[str, ...]
    findings: tuple[Finding, ...]
    cut: bool
    next_change_at: datetime | None
    training_due: tuple[TrainingDue, ...] = ()


NOTHING = Desired({}, {}, (), (), True, None)
"""Desired access of someone who must have none."""
