"""What a decision about one person rests on, and what it comes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from services.provisioning.rules.brake import CauseStatus, Parked
from services.provisioning.rules.desired.rights import Removal
from services.provisioning.rules.exceptions import AccessException
from services.provisioning.rules.operations import (
    Account,
    Operation,
)
from services.provisioning.rules.timeline import Folded, Person
from shared.contracts.state import (
    Finding,
    WorkerState,
)
from shared.values import value_class


@value_class(frozen=True, slots=True)
class Unanswered:
    """That nobody decided in time: what was to be reviewed goes only with the brake's leave."""

    cause_id: str
    suspends: bool
    verdict: CauseStatus = CauseStatus.GATHERING
    judged_by: str | None = None


@value_class(frozen=True, slots=True)
class ReviewRemoval:
    """A review's decision to remove. `operation_id` names what granted the entitlement then.

    `status`: new (not judged yet), standing, or moot.
    """

    removal: Removal
    operation_id: str | None
    status: str
    detail: str = ""
    unanswered: Unanswered | None = None


@value_class(frozen=True, slots=True)
class Facts:
    """Everything a decision about one person depends on, besides the directory and the instant."""

    organization: str
    person: Person
    accounts: tuple[Account, ...] = ()
    operations: tuple[Operation, ...] = ()
    reviews: tuple[ReviewRemoval, ...] = ()
    exceptions: tuple[AccessException, ...] = ()
    known_findings: frozenset[Finding] = frozenset()
    sole_administrator_of: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By portal the tax ids for which nobody else administers it once this person stops."""
    cause: tuple[str, ...] = ()
    parked: tuple[Parked, ...] = ()
    portal_findings: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)
    """By portal: what lists showed about this person's logins and what still stands."""
    sponsors: Mapping[str, bool] = field(default_factory=dict)
    """Who was ever to answer for this person, and whether they have left."""
    outages: frozenset[str] = frozenset()
    """Portals that do not work now: the deadlines of work there stand still."""
    new_rules: str | None = None
    """The brake's cause if directory or policy have changed since the last decision."""


@value_class(frozen=True, slots=True)
class Standing:
    """What a person's portals were last decided from, besides their accounts and operations.

    `basis` is a digest of that, `change_at` the first instant (UTC) after it at which anything of
    their operations comes due.
    """

    basis: bytes
    change_at: datetime | None


@dataclass(slots=True)
class Outcome:
    """What changed for one person. `events` are (type, cause, data) about the person.

    `state` says what is so, without the marks of when it was decided: two decisions that come to
    the same give equal states. Its portals are left out where they stand as they were; `standing`
    is None where they must be looked at the next time.
    """

    state: WorkerState
    as_of: datetime
    folded: Folded | None
    accounts: list[Account] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    reviews: list[ReviewRemoval] = field(default_factory=list)
    exceptions: list[AccessException] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    unparked: list[Parked] = field(default_factory=list)
    events: list[tuple[str, tuple[str, ...], object]] = field(default_factory=list)
    next_change_at: datetime | None = None
    standing: Standing | None = None
