"""What is kept from somebody by a rule that has a name."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from services.provisioning.rules.desired.directory import Billed, CompiledDirectory
from services.provisioning.rules.desired.rights import REVIEW_REMOVED, Removal, Right
from services.provisioning.rules.desired.training import is_trained
from services.provisioning.rules.exceptions import AccessException
from services.provisioning.rules.timeline import Folded
from shared.contracts.directory import (
    Function,
    RuleName,
)
from shared.contracts.state import (
    Employment,
)

STAFF = frozenset({"employee", "clinician"})
"""Kinds of employment that portals call staff, as opposed to contractors, students and vendors."""


def portals_rule(
    right: Right,
    administered: Mapping[str, Sequence[str]],
    worker: Folded,
    working: Sequence[Employment],
    compiled: CompiledDirectory,
    as_of: datetime,
) -> tuple[str, str] | None:
    """The portal's own rule about who may hold what there, if one withholds the right.

    Args:
        administered: the tax ids that the worker is to administer on each portal, sorted.
    """
    portal, tin, function = compiled.portal(right[0]), right[1], right[2]
    if function is Function.USER_ADMINISTRATION:
        most = compiled.number(portal, RuleName.MAX_ADMINISTRATORS, as_of)
        if most is not None and not set(compiled.appointed(portal.id, as_of, tin)[:most]) & {
            worker.worker,
            *worker.aliases,
        }:
            return (
                "max_administrators",
                f"{portal.name} takes {most} administrators per tax id, and as many were appointed"
                " before; end the appointment of one of them in the directory first",
            )
        most = compiled.number(portal, RuleName.MAX_TINS_PER_ADMINISTRATOR, as_of)
        if most is not None and tin in administered[portal.id][most:]:
            return (
                "max_tins_per_administrator",
                f"{portal.name} lets one administrator serve {most} tax ids, and this one serves as"
                f" many already; appoint somebody else there with tins: [{tin}], and name in this"
                " appointment the tax ids that stay",
            )
        if compiled.holds(portal, RuleName.ADMINISTRATOR_MUST_BE_STAFF, as_of) and not any(
            employment.kind in STAFF for employment in working
        ):
            return (
                "administrator_must_be_staff",
                f"{portal.name} takes only staff as administrators; appoint somebody else",
            )
    elif portal.id in administered and compiled.holds(portal, RuleName.ONE_ROLE_PER_PERSON, as_of):
        return (
            "one_role_per_person",
            f"administers {portal.name}, which gives each person one role: have somebody else"
            " administer it, or somebody else do this work there",
        )
    return None


def not_recognized(
    right: Right,
    because: Mapping[Right, set[str]],
    recognized: Collection[Right],
    unrecognized: Mapping[Billed, str],
    compiled: CompiledDirectory,
) -> tuple[str, str] | None:
    """Whether only carriers that do not recognize the clinician yet, or any more, give a right."""
    if not unrecognized or right not in because or right in recognized:
        return None
    portal, tin, _ = right
    reached = {reach.carrier for reach in compiled.portal(portal).reaches}
    reasons = [
        why for (carrier, under), why in unrecognized.items() if under == tin and carrier in reached
    ]
    return "carrier_not_effective", "; ".join(reasons)


def not_approved_anew(
    removals: Sequence[Removal],
    right: Right,
    exceptions: Sequence[AccessException],
    as_of: datetime,
) -> Sequence[Removal]:
    """The review removals that stand against a right: a later approval of it outweighs them."""
    approvals = [
        exception.approved_at
        for exception in exceptions
        if exception.right == right and exception.counts(as_of) and exception.approved_at
    ]
    if not approvals:
        return removals
    latest = max(approvals)
    return [removal for removal in removals if removal.decided_at > latest]


def held_back(
    worker: Folded,
    compiled: CompiledDirectory,
    right: Right,
    hired: datetime,
    removals: Sequence[Removal],
    as_of: datetime,
    *,
    trained_later: bool,
) -> tuple[str, str] | None:
    """The rule that keeps a right from being desired, if one does."""
    for removal in removals:
        if removal.covers(right):
            return (
                REVIEW_REMOVED,
                f"removed by review {removal.review_id}; stays so until approved anew",
            )
    if trained_later:
        return None
    portal, _, function = right
    for module in compiled.modules_for(portal, function):
        if not is_trained(worker, module, hired, compiled, as_of):
            return "training_missing", f"needs {module.name} ({module.id})"
    return None
