"""The whole decision about one person: fold, desire, compare with the portals, say what follows."""

import hashlib
from dataclasses import replace
from datetime import datetime

import orjson

from services.provisioning.rules.decide.course import Course
from services.provisioning.rules.decide.portals import as_it_stands, on_portals, why_cut
from services.provisioning.rules.decide.reviews import judge_reviews
from services.provisioning.rules.decide.shown import shown_state
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.desired.rights import NOTHING, Desired
from services.provisioning.rules.desired.worker import desire
from services.provisioning.rules.exceptions import AccessException, describe_exception, expired
from services.provisioning.rules.facts import Facts, Outcome, Standing
from services.provisioning.rules.observing import OBSERVE_ONLY
from services.provisioning.rules.sponsors import sponsor_findings
from services.provisioning.rules.timeline import Folded, fold
from shared.contracts.access.decisions import BreakGlassEnded, ExceptionEnded
from shared.contracts.state import ExceptionKind, Finding, PortalAccess, WorkerStatus

WHY_OBSERVED = "differs from policy as far as is known; import the portal's first user list"

PORTALS_EDITION = 3
"""Raise it with what is planned for portals or said of them: then nothing older stands."""


def decide(facts: Facts, compiled: CompiledDirectory, as_of: datetime) -> Outcome:
    """What follows for one person at `as_of` (UTC). Total: what cannot be computed is blocked."""
    course = Course(facts, compiled, as_of)
    course.reviews = judge_reviews(facts)
    folded: Folded | None = None
    desired: Desired | None = None
    over = expired(facts.exceptions, course.as_of)
    for _, ended in over:
        _say_ended(course, ended)
    for exception in facts.exceptions:
        # Also of somebody who is away, for whom nothing is desired that could end.
        course.note(exception.ends_at)
    try:
        folded = fold(facts.person, course.as_of, compiled.zone)
        _find_about(course, folded)
        desired = _desire(course, folded)
    except Exception as error:
        desired = _when_it_fails(course, folded, error)
    portals: list[PortalAccess] = []
    if desired is not None:
        course.findings.update(dict.fromkeys(desired.findings))
        before = len(course.findings)
        portals = on_portals(course, folded, desired)
        course.portals_raised = len(course.findings) > before
        if course.observed_on:
            detail = f"{', '.join(course.observed_on)}: {WHY_OBSERVED}"
            course.findings[Finding(OBSERVE_ONLY, detail)] = None
    else:
        portals = as_it_stands(course)
    course.mark_overdue()
    if folded is not None and folded.status is WorkerStatus.ERASED:
        course.findings.clear()
    course.say_findings()
    change_at = min(course.next, default=None)
    return Outcome(
        state=shown_state(course, folded, desired, portals),
        as_of=course.as_of,
        folded=folded,
        accounts=list(course.changed_accounts.values()),
        operations=list(course.changed_operations.values()),
        reviews=[review for review in course.reviews if review not in facts.reviews],
        exceptions=[ended for _, ended in over],
        parked=[one for key, one in course.still_parked.items() if key not in course.waiting],
        unparked=[
            one
            for key, one in course.waiting.items()
            if desired is not None and key not in course.still_parked
        ],
        events=course.events,
        next_change_at=_earliest(folded, desired, change_at),
        standing=_standing(course, folded, desired, change_at),
    )


def decide_beside_portals(
    facts: Facts, standing: Standing, compiled: CompiledDirectory, as_of: datetime
) -> Outcome | None:
    """What `decide` says where a person's portals stand as they are; None where they may not.

    Comparing with the portals again changes nothing while desire comes to the same and nothing has
    come due. `facts` lacks accounts and operations: the caller vouches that nobody has changed them
    since `standing` was decided.
    """
    if standing.change_at is not None and standing.change_at <= as_of:
        return None
    course = Course(facts, compiled, as_of)
    try:
        folded = fold(facts.person, as_of, compiled.zone)
        desired = _desire(course, folded)
    except Exception:
        return None
    if _basis(course, folded, desired) != standing.basis:
        return None
    _find_about(course, folded)
    course.findings.update(dict.fromkeys(desired.findings))
    course.say_findings()
    return Outcome(
        state=shown_state(course, folded, desired, ()),
        as_of=as_of,
        folded=folded,
        events=course.events,
        next_change_at=_earliest(folded, desired, standing.change_at),
        standing=standing,
    )


def _standing(
    course: Course, folded: Folded | None, desired: Desired | None, change_at: datetime | None
) -> Standing | None:
    if course.portals_raised:
        return None
    basis = _basis(course, folded, desired)
    return None if basis is None else Standing(basis, change_at)


def _basis(course: Course, folded: Folded | None, desired: Desired | None) -> bytes | None:
    """Digest of what decides about portals, where it is only directory and desire."""
    person = course.facts.person
    if (
        folded is None
        or desired is None
        or desired is NOTHING
        or folded.status is WorkerStatus.ERASED
        or len(person.aliases) > 1
        or course.compiled.observed_since
        or person.worker in course.compiled.administrators
        or course.facts.sole_administrator_of
        or course.facts.reviews
        or course.facts.exceptions
        or course.still_parked
    ):
        return None
    content = (
        PORTALS_EDITION,
        course.compiled.version,
        tuple(desired.rights.items()),
        tuple(desired.held.items()),
        why_cut(folded) if desired.cut else None,
        folded.status is WorkerStatus.ACTIVE,
    )
    return hashlib.blake2b(orjson.dumps(content), digest_size=16).digest()


def _find_about(course: Course, folded: Folded) -> None:
    gone = {sponsor for sponsor, left in course.facts.sponsors.items() if left}
    course.findings.update(dict.fromkeys((*folded.findings, *sponsor_findings(folded, gone))))


def _desire(course: Course, folded: Folded) -> Desired:
    if folded.status is WorkerStatus.ERASED:
        # Whom they leave a portal without an administrator for still depends on dates.
        return replace(NOTHING, next_change_at=course.compiled.next_boundary(course.as_of))
    standing = [review.removal for review in course.reviews if review.status == "standing"]
    return desire(folded, course.compiled, standing, course.as_of, course.facts.exceptions)


def _when_it_fails(course: Course, folded: Folded | None, error: Exception) -> Desired | None:
    """Somebody whose employment is over loses access even when nothing else can be computed."""
    course.findings[Finding("blocked", f"cannot be computed: {type(error).__name__}")] = None
    if folded is not None and folded.termination_in_effect and not folded.open_employments:
        return NOTHING
    return None


def _say_ended(course: Course, ended: AccessException) -> None:
    type_, model = (
        ("exception.ended", ExceptionEnded)
        if ended.kind is ExceptionKind.EXCEPTION
        else ("break_glass.ended", BreakGlassEnded)
    )
    said = model(**describe_exception(ended), by="time")
    course.say(type_, (ended.exception_id, ended.status.value), said)


def _earliest(
    folded: Folded | None, desired: Desired | None, change_at: datetime | None
) -> datetime | None:
    """The first instant at which anything dated changes: of the fold, of desire, of portals."""
    changes = (
        folded.next_change_at if folded else None,
        desired.next_change_at if desired else None,
        change_at,
    )
    return min((at for at in changes if at is not None), default=None)
