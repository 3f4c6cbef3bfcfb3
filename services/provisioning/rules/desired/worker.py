"""Desired access: who must have what on which portal, from job duties, contracts and training."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from services.provisioning.rules.desired.directory import Appointment, CompiledDirectory
from services.provisioning.rules.desired.rights import MOVER_GRACE, Desired, Removal, Right
from services.provisioning.rules.desired.separation import Holding, separation_between
from services.provisioning.rules.desired.training import expiries, training_due
from services.provisioning.rules.desired.withheld import (
    held_back,
    not_approved_anew,
    not_recognized,
    portals_rule,
)
from services.provisioning.rules.desired.work import (
    duties_under,
    give,
    kept_after_moving,
    known_sites,
    working_under,
)
from services.provisioning.rules.exceptions import AccessException
from services.provisioning.rules.timeline import Folded
from shared.contracts.directory import (
    Function,
)
from shared.contracts.state import (
    AuthorizedBy,
    ExceptionKind,
    Finding,
    Held,
)


def desire(
    worker: Folded,
    compiled: CompiledDirectory,
    removals: Sequence[Removal],
    as_of: datetime,
    exceptions: Sequence[AccessException] = (),
) -> Desired:
    """What `worker` must have at `as_of` (UTC) under one version of directory and policy.

    Args:
        removals: review decisions that stand.
        exceptions: access beyond policy that somebody approved or opened, whenever it counts.

    Raises:
        Exception: an input contradicts the directory; the caller decides what that means for the
            worker, and nobody else is affected.
    """
    changes = [compiled.next_boundary(as_of)]
    working, away_changes = working_under(worker, compiled, as_of)
    changes.extend(away_changes)
    if not working:
        return Desired({}, {}, (), (), True, _earliest(changes))
    policy = compiled.directory.policy
    authorized = AuthorizedBy("policy", policy.version, policy.signatory)
    findings: list[Finding] = []
    duties: dict[str, None] = {}
    because: dict[Right, set[str]] = {}
    recognized: dict[Right, set[str]] = {}
    unrecognized = compiled.unrecognized((worker.worker, *worker.aliases), as_of)
    for employment in working:
        sites = known_sites(employment.sites, compiled, findings)
        for duty in duties_under(employment, compiled, findings):
            duties[duty] = None
            give(because, duty, sites, compiled, as_of)
            if unrecognized:
                give(recognized, duty, sites, compiled, as_of, frozenset(unrecognized))
    wanted: dict[Right, AuthorizedBy] = dict.fromkeys(because, authorized)
    for appointed in _appointments(worker, compiled, as_of):
        for tin in compiled.enrolled_tins(appointed.portal, as_of):
            if not appointed.tins or tin in appointed.tins:
                wanted[appointed.portal, tin, Function.USER_ADMINISTRATION] = authorized
    for exception in exceptions:
        changes.extend(at for at in (exception.starts_at, exception.ends_at) if at > as_of)
        # The portal may have been taken out before anything was given there.
        if exception.counts(as_of) and exception.portal in compiled.portals:
            right = exception.right
            if right not in wanted or (unrecognized and right in because.keys() - recognized):
                wanted[right] = _beyond_policy(exception)
    kept, ends = kept_after_moving(
        working, compiled, because, duties, as_of, frozenset(unrecognized)
    )
    changes.extend(ends)
    still = AuthorizedBy(MOVER_GRACE, policy.version, policy.signatory)
    for right in kept:
        wanted.setdefault(right, still)
    held: dict[str, list[Held]] = {}
    allowed: dict[Right, AuthorizedBy] = {}
    hired = min(employment.starts_at for employment in working)
    holding = Holding(frozenset(duties), frozenset(right[2] for right in wanted))
    administered: dict[str, list[str]] = {}
    for portal, tin, function in sorted(wanted):
        if function is Function.USER_ADMINISTRATION:
            administered.setdefault(portal, []).append(tin)
    for right, authorization in wanted.items():
        standing = not_approved_anew(removals, right, exceptions, as_of)
        reason = (
            separation_between(right, because, holding, policy.separation)
            or portals_rule(right, administered, worker, working, compiled, as_of)
            or (
                authorization is authorized
                and not_recognized(right, because, recognized, unrecognized, compiled)
            )
            or held_back(
                worker,
                compiled,
                right,
                hired,
                standing,
                as_of,
                trained_later=authorization.kind == ExceptionKind.BREAK_GLASS,
            )
        )
        if reason is None:
            allowed[right] = authorization
        else:
            rule, detail = reason
            held.setdefault(right[0], []).append(Held(right[1], right[2], rule, detail))
    _add_sign_on(compiled, allowed, authorized, still, removals, as_of)
    changes.extend(expiries(worker, compiled, as_of))
    return Desired(
        allowed,
        {portal: tuple(reasons) for portal, reasons in held.items()},
        tuple(duties),
        tuple(dict.fromkeys(findings)),
        False,
        _earliest(changes),
        training_due(worker, compiled, wanted, hired, as_of),
    )


def _beyond_policy(exception: AccessException) -> AuthorizedBy:
    by = exception.approved_by or exception.requested_by
    return AuthorizedBy(exception.kind.value, exception.exception_id, by)


def _earliest(instants: Iterable[datetime | None]) -> datetime | None:
    return min((instant for instant in instants if instant is not None), default=None)


def _appointments(
    worker: Folded, compiled: CompiledDirectory, as_of: datetime
) -> Iterable[Appointment]:
    for alias in (worker.worker, *worker.aliases):
        for appointed in compiled.administrators.get(alias, ()):
            if appointed.holds_at(as_of):
                yield appointed


def _add_sign_on(
    compiled: CompiledDirectory,
    allowed: dict[Right, AuthorizedBy],
    authorized: AuthorizedBy,
    still: AuthorizedBy,
    removals: Sequence[Removal],
    as_of: datetime,
) -> None:
    """What comes with any portal: its sign-on service, a vault seat and the work account.

    What only a former job's access needs is kept with it, and not given for it (`still`).
    """
    needed: dict[Right, AuthorizedBy] = {}
    common = [
        (portal, tin, Function.SIGN_ON)
        for portal in compiled.common
        for tin in compiled.enrolled_tins(portal, as_of)[:1]
    ]
    for (portal_id, tin, _), authorization in allowed.items():
        service = compiled.portals[portal_id].requires_sign_on
        own = common if service is None else [(service, tin, Function.SIGN_ON), *common]
        for right in own:
            if authorization.kind != MOVER_GRACE:
                needed[right] = authorized
            else:
                needed.setdefault(right, still)
    for right, authorization in needed.items():
        if not any(removal.covers(right) for removal in removals):
            allowed[right] = authorization
