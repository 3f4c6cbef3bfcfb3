"""What opens a micro-review: what changed about a worker, and what time brings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from services.review_scheduler.rules.calendar import BusinessCalendar
from services.review_scheduler.rules.roles import Holding, Role, explain_role_change
from shared.contracts.directory import Function, OperationKind
from shared.contracts.review import OpeningRule
from shared.contracts.review_policy import NoAnswer, ReviewPolicy
from shared.contracts.state import ExceptionKind, WorkerState, WorkerStatus

WAIT_BUSINESS_DAYS = 5
"""Who comes back gets access again little by little: a review waits so long for all of it."""

LIMITED_KINDS = frozenset({"contractor", "student", "vendor_staff"})
"""Whose work ends on a day that is known from the beginning."""

GIVES = frozenset({OperationKind.OPEN, OperationKind.GRANT, OperationKind.RESUME})
BEYOND_POLICY, SHARED, DORMANT = "drift", "shared", "dormant"
"""What provisioning calls its findings about a login."""
SPONSOR_LEFT: Final = "sponsor_left"
"""What provisioning finds about somebody who is not staff, once their supervisor has left."""

Target = tuple[str, str, Function]


@dataclass(frozen=True, slots=True)
class Span:
    """One employment: `ends_at` is the instant from which it is over, if that is known."""

    employment_id: str
    kind: str
    ends_at: datetime | None
    open: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What the next state of a worker is compared with, and what time is counted from.

    `exceptions` are those in force: id, kind and portal. `beyond` is held beyond policy, as a
    finding says; `shared` and `dormant` are portals with such a finding; `logins` the last known
    login on each portal. `giving`: access is still being given. `unsponsored` are the employments
    for which nobody answers, since the supervisor has left.
    """

    status: WorkerStatus
    leave_since: datetime | None = None
    employments: tuple[Span, ...] = ()
    exceptions: tuple[tuple[str, ExceptionKind, str], ...] = ()
    beyond: tuple[Target, ...] = ()
    shared: tuple[str, ...] = ()
    dormant: tuple[str, ...] = ()
    logins: Mapping[str, datetime] = field(default_factory=dict)
    giving: bool = False
    unsponsored: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """What HR calls the worker in the employments that are open."""
        return tuple(sorted({each.kind for each in self.employments if each.open}))


def known_in(state: WorkerState) -> Known:
    """What a state tells of all that opens reviews."""
    since = [each.leave_since for each in state.employments if each.open and each.leave_since]
    held = {
        access.portal: {(own.tin, own.function) for own in access.effective}
        for access in state.portals
        if access.effective
    }
    found = {
        access.portal: {each.rule for each in access.findings}
        for access in state.portals
        if access.portal in held
    }
    wanted = {
        access.portal: {(own.tin, own.function) for own in access.desired}
        for access in state.portals
    }
    return Known(
        state.status,
        min(since, default=None),
        tuple(
            Span(each.employment_id, each.kind, each.ends_at, each.open)
            for each in state.employments
        ),
        tuple((each.exception_id, each.kind, each.portal) for each in state.exceptions),
        tuple(
            (portal, *own)
            for portal in sorted(held)
            if BEYOND_POLICY in found[portal]
            for own in sorted(held[portal] - wanted[portal])
        ),
        tuple(sorted(portal for portal in held if SHARED in found[portal])),
        tuple(sorted(portal for portal in held if DORMANT in found[portal])),
        {
            access.portal: access.last_login_at
            for access in state.portals
            if access.portal in held and access.last_login_at
        },
        any(each.kind in GIVES for access in state.portals for each in access.operations),
        _unsponsored(state),
    )


def _unsponsored(state: WorkerState) -> tuple[str, ...]:
    """Each employment that the finding may be about, with the supervisor it names."""
    if not any(each.rule == SPONSOR_LEFT for each in state.findings):
        return ()
    return tuple(
        f"{each.employment_id}/{each.supervisor}"
        for each in state.employments
        if each.open and each.kind in LIMITED_KINDS and each.supervisor
    )


@dataclass(frozen=True, slots=True)
class Trigger:
    """Something about a worker that is to be reviewed.

    It asks about `targets`, or all they hold on `portals`, or where neither is named all they
    hold. `cause` makes the ids of the lines: what was asked about once for a cause is not again.
    """

    rule: OpeningRule
    reason: str
    cause: tuple[str, ...]
    portals: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it asks about everything."""
        return not self.portals and not self.targets

    def asks(self, holding: Holding) -> bool:
        """Whether it asks about an entitlement."""
        if self.targets:
            return holding.target in self.targets
        return not self.portals or holding.portal in self.portals


@dataclass(frozen=True, slots=True)
class Waiting:
    """A trigger of somebody who came back, until their access has come back as well."""

    trigger: Trigger
    until: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """What to ask about now, what waits, and the instant (UTC) at which to look again."""

    triggers: tuple[Trigger, ...]
    waiting: tuple[Waiting, ...]
    look_at: datetime | None


def changes(
    before: Known | None,
    role_before: Role | None,
    state: WorkerState,
    role: Role | None,
    policy: ReviewPolicy,
) -> list[Trigger]:
    """What a newer state brings that is to be reviewed; nothing for a worker never seen before.

    Where the whole of somebody's access is to be looked at, that covers the rest.
    """
    if before is None or state.status is not WorkerStatus.ACTIVE or state.blocked:
        return []
    after = known_in(state)
    mark = (str(state.epoch), str(state.version))
    found = [
        *_rehired(before, after),
        *_returned(before, state.as_of, policy),
        *_moved(role_before, role, mark),
        *_extended(before, after),
    ]
    return found[:1] if found else [*_ended(before, after), *_found(before, after, mark)]


def _rehired(before: Known, after: Known) -> Iterable[Trigger]:
    known = {each.employment_id for each in before.employments}
    if not known or any(each.open for each in before.employments):
        return
    for each in after.employments:
        if each.open and each.employment_id not in known:
            yield Trigger("rehired", "hired again", ("rehired", each.employment_id))
            return


def _returned(before: Known, now: datetime, policy: ReviewPolicy) -> Iterable[Trigger]:
    if before.status is not WorkerStatus.ON_LEAVE or before.leave_since is None:
        return
    days = (now - before.leave_since).days
    if days >= policy.long_leave_days:
        since = before.leave_since.isoformat()
        yield Trigger(
            "returned_from_leave", f"back after a leave of {days} days", ("returned", since)
        )


def _moved(before: Role | None, after: Role | None, mark: tuple[str, ...]) -> Iterable[Trigger]:
    reason = explain_role_change(before, after)
    if reason is not None:
        yield Trigger("role_changed", reason, ("micro", *mark))


def _extended(before: Known, after: Known) -> Iterable[Trigger]:
    ended = {each.employment_id: each.ends_at for each in before.employments if each.open}
    for each in after.employments:
        until = ended.get(each.employment_id)
        if (
            until is not None
            and each.open
            and each.kind in LIMITED_KINDS
            and (each.ends_at is None or each.ends_at > until)
        ):
            end = each.ends_at.isoformat() if each.ends_at else "open"
            kind = each.kind.replace("_", " ")
            yield Trigger(
                "contractor_extended",
                f"the end of work as {kind} was put off",
                ("extended", each.employment_id, end),
            )


def _ended(before: Known, after: Known) -> Iterable[Trigger]:
    still = {exception_id for exception_id, _, _ in after.exceptions}
    for exception_id, kind, portal in before.exceptions:
        if exception_id in still:
            continue
        if kind == ExceptionKind.BREAK_GLASS:
            rule: OpeningRule = "break_glass_ended"
            reason = "break-glass access has ended"
        else:
            rule, reason = "exception_ended", "an exception has ended"
        yield Trigger(rule, reason, ("ended", exception_id), (portal,))


def _found(before: Known, after: Known, mark: tuple[str, ...]) -> Iterable[Trigger]:
    beyond = tuple(each for each in after.beyond if each not in before.beyond)
    for portal in sorted({each[0] for each in beyond}):
        own = tuple(each for each in beyond if each[0] == portal)
        functions = ", ".join(sorted({each[2].value.replace("_", " ") for each in own}))
        yield Trigger(
            "beyond_policy", f"beyond policy: {functions}", ("beyond", portal, *mark), targets=own
        )
    for portal in after.shared:
        if portal not in before.shared:
            yield Trigger(
                "shared_login",
                "the login is used by several people",
                ("shared", portal, *mark),
                (portal,),
            )


def due(
    known: Known,
    holdings: Sequence[Holding],
    found: Sequence[Trigger],
    waiting: Sequence[Waiting],
    policy: ReviewPolicy,
    calendar: BusinessCalendar,
    now: datetime,
) -> Due:
    """What to ask about a worker now: what was found, what waited, and what time has brought.

    Somebody who comes back is asked about once their access is back, at the latest after
    `WAIT_BUSINESS_DAYS`; never with an empty list. Who is gone is asked about no more.
    """
    if known.status in (WorkerStatus.TERMINATED, WorkerStatus.ERASED):
        return Due((), (), None)
    until = calendar.due_after_business_days(now, WAIT_BUSINESS_DAYS)
    waits = [*waiting]
    ready: list[Trigger] = []
    for trigger in found:
        if trigger.rule in ("rehired", "returned_from_leave"):
            waits.append(Waiting(trigger, until))
        else:
            ready.append(trigger)
    held = bool(holdings) and known.status is WorkerStatus.ACTIVE
    still = [each for each in waits if not (held and (not known.giving or each.until <= now))]
    ready = [*(each.trigger for each in waits if each not in still), *ready]
    idle, next_idle = _idle(known, holdings, policy, now)
    if known.status is WorkerStatus.ACTIVE:
        ready += [*_unanswered_for(known, holdings), *idle]
    looks = [each.until for each in still if each.until > now and held]
    return Due(
        tuple(ready[:1] if ready and ready[0].whole else ready),
        tuple(still),
        min([*looks, *([next_idle] if next_idle else [])], default=None),
    )


def _unanswered_for(known: Known, holdings: Sequence[Holding]) -> Iterable[Trigger]:
    """Whether somebody else should answer now for all that a person holds who is not staff.

    It names what they hold, for it holds as long as nobody else is named: a whole look would
    be begun anew with each state.
    """
    for employment in known.unsponsored if holdings else ():
        yield Trigger(
            SPONSOR_LEFT,
            "whoever answered for them has left",
            (SPONSOR_LEFT, employment),
            tuple(sorted({each.portal for each in holdings})),
        )


def no_answer_to(rule: OpeningRule, policy: ReviewPolicy) -> NoAnswer:
    """What becomes of access about which nobody answers in time."""
    return policy.sponsor_left_no_answer if rule == SPONSOR_LEFT else policy.micro_no_answer


def _idle(
    known: Known, holdings: Sequence[Holding], policy: ReviewPolicy, now: datetime
) -> tuple[list[Trigger], datetime | None]:
    """Logins that nobody has used for too long, and when the next one will be that."""
    limit = timedelta(days=policy.inactive_days)
    triggers: list[Trigger] = []
    ahead: list[datetime] = []
    for portal in sorted({each.portal for each in holdings}):
        last = known.logins.get(portal)
        if last is None and portal in known.dormant:
            triggers.append(
                Trigger("inactive", "never used, as far as is known", ("idle", portal), (portal,))
            )
        elif last is not None and last + limit <= now:
            reason = f"not used since {last.date()}"
            cause = ("idle", portal, last.isoformat())
            triggers.append(Trigger("inactive", reason, cause, (portal,)))
        elif last is not None:
            ahead.append(last + limit)
    return triggers, min(ahead, default=None)
