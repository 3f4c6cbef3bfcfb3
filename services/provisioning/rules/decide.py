"""The whole decision about one person: fold, desire, compare with the portals, say what follows."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import orjson

from services.provisioning.rules.brake import (
    CLOSE_WAIT_DAYS,
    MAY_GO_ON,
    CauseStatus,
    Parked,
)
from services.provisioning.rules.clocks import KEEP_ALIVE_AHEAD_DAYS, keep_alive_steps, lapse
from services.provisioning.rules.desired import (
    NOTHING,
    REVIEW_REMOVED,
    CompiledDirectory,
    Desired,
    Right,
    desire,
)
from services.provisioning.rules.exceptions import AccessException, describe_exception, expired
from services.provisioning.rules.facts import (
    Facts,
    Outcome,
    ReviewRemoval,
    Standing,
    Unanswered,
)
from services.provisioning.rules.guards import (
    CASCADING_ADMINISTRATOR,
    LAST_ADMINISTRATOR,
    LAST_ADMINISTRATOR_KEPT,
    asked_first,
    cascade_preamble,
    kept_preamble,
    removal_preamble,
)
from services.provisioning.rules.observing import OBSERVE_ONLY, Observed, observe
from services.provisioning.rules.operations import (
    BESIDE,
    DEFAULT_STEPS,
    EVENT_OF,
    OPERATION_LIFE,
    REMOVES,
    TAKES,
    Account,
    Held,
    Move,
    Operation,
    Order,
    Target,
    Transition,
    describe,
    needed,
    operation_id,
    rights_of,
    target_key,
)
from services.provisioning.rules.sponsors import sponsor_findings
from services.provisioning.rules.timeline import Folded, fold
from shared.contracts.access import (
    ACCESS_EVENT_MODELS,
    BreakGlassEnded,
    ExceptionEnded,
    ExposureEnded,
    ExposureStarted,
    FindingRaised,
    FindingResolved,
    GuardRefused,
    OperationOverdue,
    OperationRequested,
)
from shared.contracts.directory import Function, OperationKind, Portal, RuleName, Step
from shared.contracts.state import (
    AccountStatus,
    AuthorizedBy,
    DecisionApplied,
    Entitlement,
    ExceptionInForce,
    ExceptionKind,
    ExceptionStatus,
    Finding,
    OpenOperation,
    OperationStatus,
    ParkedRemoval,
    PortalAccess,
    WorkerState,
    WorkerStatus,
)
from shared.contracts.state import Held as HeldBack

NEVER_ASKED = Target()
UNSET = datetime.fromtimestamp(0, UTC)
UNKNOWN_PORTAL = "unknown_portal"
CLOSING = target_key(OperationKind.CLOSE, None, None)
ASIDE = frozenset(target_key(kind, None, None) for kind in BESIDE) | {CLOSING}
"""Targets whose retries are looked after where they are asked for."""

UNANSWERED = AuthorizedBy("brake", "", "")
"""Stands for whoever answers for a parked entitlement: nobody does, it only is not removed yet."""

TEMPORARY = frozenset({"exception", "break_glass", "mover_grace"})
"""Kinds of authorization that end by themselves."""

MAX_CAUSES = 5
"""Ids of causing events that an operation carries; its timeline shows them all."""

WHY_OBSERVED = "differs from policy as far as is known; import the portal's first user list"

PORTALS_EDITION = 3
"""Raise it with what is planned for portals or said of them: then nothing older stands."""


def decide(facts: Facts, compiled: CompiledDirectory, as_of: datetime) -> Outcome:
    """What follows for one person at `as_of` (UTC). Total: what cannot be computed is blocked."""
    return _Decision(facts, compiled, as_of).run()


def decide_beside_portals(
    facts: Facts, standing: Standing, compiled: CompiledDirectory, as_of: datetime
) -> Outcome | None:
    """What `decide` says where a person's portals stand as they are; None where they may not.

    Comparing with the portals again changes nothing while desire comes to the same and nothing has
    come due. `facts` lacks accounts and operations: the caller vouches that nobody has changed them
    since `standing` was decided.
    """
    return _Decision(facts, compiled, as_of).beside(standing)


class _Decision:
    def __init__(self, facts: Facts, compiled: CompiledDirectory, as_of: datetime) -> None:
        self._facts = facts
        self._compiled = compiled
        self._as_of = as_of
        self._next: list[datetime] = []
        self._events: list[tuple[str, tuple[str, ...], object]] = []
        self._operations: dict[str, Operation] = {}
        self._by_account: dict[tuple[str, str], dict[str, Operation]] = {}
        for operation in facts.operations:
            self._know(operation)
        self._changed_operations: dict[str, Operation] = {}
        self._changed_accounts: dict[tuple[str, str], Account] = {}
        self._findings: dict[Finding, None] = {}
        self._desired_before: dict[datetime, Collection[Right]] = {}
        self._unknown: dict[str, None] = {}
        self._waiting = {parked.target: parked for parked in facts.parked}
        self._still_parked: dict[Any, Parked] = {}
        self._portals_raised = False
        self._reviews: list[ReviewRemoval] = []

    def run(self) -> Outcome:
        facts = self._facts
        folded: Folded | None = None
        desired: Desired | None = None
        reviews = self._reviews = self._judge_reviews()
        over = expired(facts.exceptions, self._as_of)
        for _, ended in over:
            self._say_ended(ended)
        for exception in facts.exceptions:
            # Also of somebody who is away, for whom nothing is desired that could end.
            self._note(exception.ends_at)
        try:
            folded = fold(facts.person, self._as_of, self._compiled.zone)
            self._find_about(folded)
            desired = self._desire(folded, reviews)
        except Exception as error:
            desired = self._when_it_fails(folded, error)
        portals: list[PortalAccess] = []
        if desired is not None:
            self._findings.update(dict.fromkeys(desired.findings))
            before = len(self._findings)
            portals = self._portals(folded, desired)
            self._portals_raised = len(self._findings) > before
            if self._unknown:
                detail = f"{', '.join(self._unknown)}: {WHY_OBSERVED}"
                self._findings[Finding(OBSERVE_ONLY, detail)] = None
        else:
            portals = self._as_it_stands()
        self._mark_overdue()
        if folded is not None and folded.status is WorkerStatus.ERASED:
            self._findings.clear()
        self._say_findings()
        change_at = min(self._next, default=None)
        return Outcome(
            state=self._state(folded, desired, portals, reviews),
            as_of=self._as_of,
            folded=folded,
            accounts=list(self._changed_accounts.values()),
            operations=list(self._changed_operations.values()),
            reviews=[review for review in reviews if review not in facts.reviews],
            exceptions=[ended for _, ended in over],
            parked=[one for key, one in self._still_parked.items() if key not in self._waiting],
            unparked=[
                one
                for key, one in self._waiting.items()
                if desired is not None and key not in self._still_parked
            ],
            events=self._events,
            next_change_at=_earliest(folded, desired, change_at),
            standing=self._standing(folded, desired, change_at),
        )

    def beside(self, standing: Standing) -> Outcome | None:
        """The decision if the portals stand, which nobody but this person may have a part in."""
        if standing.change_at is not None and standing.change_at <= self._as_of:
            return None
        try:
            folded = fold(self._facts.person, self._as_of, self._compiled.zone)
            desired = self._desire(folded, ())
        except Exception:
            return None
        if self._basis(folded, desired) != standing.basis:
            return None
        self._find_about(folded)
        self._findings.update(dict.fromkeys(desired.findings))
        self._say_findings()
        return Outcome(
            state=self._state(folded, desired, (), ()),
            as_of=self._as_of,
            folded=folded,
            events=self._events,
            next_change_at=_earliest(folded, desired, standing.change_at),
            standing=standing,
        )

    def _standing(
        self, folded: Folded | None, desired: Desired | None, change_at: datetime | None
    ) -> Standing | None:
        if self._portals_raised:
            return None
        basis = self._basis(folded, desired)
        return None if basis is None else Standing(basis, change_at)

    def _basis(self, folded: Folded | None, desired: Desired | None) -> bytes | None:
        """Digest of what decides about portals, where it is only directory and desire."""
        person = self._facts.person
        if (
            folded is None
            or desired is None
            or desired is NOTHING
            or folded.status is WorkerStatus.ERASED
            or len(person.aliases) > 1
            or self._compiled.observed_since
            or person.worker in self._compiled.administrators
            or self._facts.sole_administrator_of
            or self._facts.reviews
            or self._facts.exceptions
            or self._still_parked
        ):
            return None
        content = (
            PORTALS_EDITION,
            self._compiled.version,
            tuple(desired.rights.items()),
            tuple(desired.held.items()),
            self._why_cut(folded) if desired.cut else None,
            folded.status is WorkerStatus.ACTIVE,
        )
        return hashlib.blake2b(orjson.dumps(content), digest_size=16).digest()

    def _find_about(self, folded: Folded) -> None:
        gone = {sponsor for sponsor, left in self._facts.sponsors.items() if left}
        self._findings.update(dict.fromkeys((*folded.findings, *sponsor_findings(folded, gone))))

    # -- desire

    def _desire(self, folded: Folded, reviews: Sequence[ReviewRemoval]) -> Desired:
        if folded.status is WorkerStatus.ERASED:
            # Whom they leave a portal without an administrator for still depends on dates.
            return replace(NOTHING, next_change_at=self._compiled.next_boundary(self._as_of))
        standing = [review.removal for review in reviews if review.status == "standing"]
        return desire(folded, self._compiled, standing, self._as_of, self._facts.exceptions)

    def _when_it_fails(self, folded: Folded | None, error: Exception) -> Desired | None:
        """Somebody whose employment is over loses access even when nothing else can be computed."""
        self._findings[Finding("blocked", f"cannot be computed: {type(error).__name__}")] = None
        if folded is not None and folded.termination_in_effect and not folded.open_employments:
            return NOTHING
        return None

    def _judge_reviews(self) -> list[ReviewRemoval]:
        """A decision counts if what it was about is still there; later changes cannot revive it."""
        held = {
            (account.portal, *held): own.operation_id
            for account in self._facts.accounts
            for held, own in account.rights.items()
        }
        judged = []
        for review in self._facts.reviews:
            if review.status == "new":
                granted_by = {op for right, op in held.items() if review.removal.covers(right)}
                if not granted_by:
                    judged.append(replace(review, status="moot", detail="was gone already"))
                elif review.operation_id is not None and review.operation_id not in granted_by:
                    judged.append(replace(review, status="moot", detail="was granted anew since"))
                else:
                    judged.append(replace(review, status="standing"))
            else:
                judged.append(review)
            one = judged[-1]
            if (
                one.status == "standing"
                and one.unanswered is not None
                and one.unanswered.verdict is CauseStatus.REJECTED
            ):
                detail = f"{one.unanswered.judged_by} decided that what nobody answered stays"
                judged[-1] = replace(one, status="rejected", detail=detail)
        return judged

    def _say_ended(self, ended: AccessException) -> None:
        type_, model = (
            ("exception.ended", ExceptionEnded)
            if ended.kind is ExceptionKind.EXCEPTION
            else ("break_glass.ended", BreakGlassEnded)
        )
        said = model(**describe_exception(ended), by="time")
        self._say(type_, (ended.exception_id, ended.status.value), said)

    # -- portals

    def _portals(self, folded: Folded | None, desired: Desired) -> list[PortalAccess]:
        wanted: dict[str, dict[Held, AuthorizedBy]] = {}
        for (portal, tin, function), authorization in desired.rights.items():
            wanted.setdefault(portal, {})[tin, function] = authorization
        accounts: dict[str, list[Account]] = {}
        for account in self._facts.accounts:
            accounts.setdefault(account.portal, []).append(account)
        names = {*wanted, *accounts, *desired.held, *self._facts.sole_administrator_of}
        result = []
        for name in sorted(
            names, key=lambda name: (self._compiled.portal(name).removal_rank, name)
        ):
            own = sorted(
                accounts.get(name, [Account(self._facts.person.worker, name)]),
                key=lambda account: (not account.rights, account.worker),
            )
            for account in own[1:]:
                # One person, one login: merged ids may have brought a second one along.
                twice = f"two logins on {self._compiled.portal(name).name}"
                self._findings[Finding("second_account", twice)] = None
                result.append(self._one(account, folded, desired, {}, "second_account"))
            why = None
            if desired.cut:
                why = self._why_cut(folded)
            result.append(self._one(own[0], folded, desired, wanted.get(name, {}), why))
        return result

    def _one(
        self,
        account: Account,
        folded: Folded | None,
        desired: Desired,
        wanted: Mapping[Held, AuthorizedBy],
        why_cut: str | None,
    ) -> PortalAccess:
        portal = self._compiled.portal(account.portal)
        held = desired.held.get(account.portal, ())
        # What a former job gave is kept for a while, never given.
        wanted = {
            own: authorization
            for own, authorization in wanted.items()
            if authorization.kind != "mover_grace" or own in account.rights
        }
        spared: Mapping[Held, AuthorizedBy] = {}
        if why_cut == "on_leave" and portal.closes_only:
            # What could not be given back after the return is left alone.
            why_cut = None
            wanted = {
                own: entitlement.authorized_by or UNANSWERED
                for own, entitlement in account.effective.items()
            }
        if why_cut is None and portal.id in self._compiled.observed_since:
            observed = self._observe(account, wanted, held)
            wanted, held = observed.wanted, (*held, *observed.held)
            spared = observed.spared
        operations = self._open_operations(account)
        rule_of = _why_too_much(account, held)
        parked: list[Parked] = []
        if why_cut is None:
            wanted, parked = self._brake(account, wanted, {**spared, **rule_of}, operations)
        kept = {**spared, **{_held(one): UNANSWERED for one in parked}, **wanted}
        if why_cut is None and not kept and self._suspends_unanswered(account):
            why_cut = "review_unanswered"
        if why_cut is None and not kept and self._is_all_or_nothing(portal):
            why_cut = "no_longer_needed"
        orders, moves = needed(
            account,
            operations,
            kept,
            cut=why_cut is not None,
            cut_kind=self._cut_kind(portal),
            rule_of=rule_of,
            why_cut=why_cut or "",
            reopens=self._holds(portal, RuleName.ENDED_CAN_BE_REOPENED),
        )
        for move in moves:
            self._move(move)
        account = self._with_retries(account, orders)
        for order in orders:
            if order.kind is OperationKind.CLOSE and (waits := self._closing_waits(account)):
                parked.append(waits)
                continue
            account = self._order(account, portal, order, wanted, folded)
        account = self._successor(account, portal, folded)
        account = self._keep_alive(account, portal, folded, needed=bool(wanted))
        account, closing = self._closing(account, portal, why_cut)
        account = self._exposure(account, kept, folded)
        if portal.id not in self._compiled.portals and (
            account.status is not AccountStatus.NONE or self._open_operations(account)
        ):
            detail = f"has a login on {portal.id}, which is not in the directory"
            self._findings[Finding(UNKNOWN_PORTAL, detail)] = None
        if account not in self._facts.accounts and (account.targets or account.rights):
            self._changed_accounts[account.worker, account.portal] = account
        return self._access(account, wanted, held, (*parked, *closing))

    def _brake(
        self,
        account: Account,
        wanted: Mapping[Held, AuthorizedBy],
        reasons: Mapping[Held, str | AuthorizedBy],
        operations: Sequence[Operation],
    ) -> tuple[Mapping[Held, AuthorizedBy], list[Parked]]:
        """What is wanted with what a rejection keeps, and what waits for a verdict.

        Only what a change of rules takes is parked: a person's own change and a named rule are
        reasons that somebody gave for this person.
        """
        under_way = {(op.tin, op.function) for op in operations if op.kind in TAKES}
        kept_by_rejection: dict[Held, AuthorizedBy] = {}
        parked = []
        unanswered = self._unanswered(account, reasons)
        for tin, function in account.effective:
            if (tin, function) in wanted:
                continue
            target = (account.worker, account.portal, tin, function)
            one = self._waiting.get(target)
            expired = unanswered.get((tin, function))
            if one is None and expired is not None:
                if (tin, function) in under_way:
                    continue
                one = Parked(*target, expired.cause_id, self._as_of, expired.verdict)
            elif one is None:
                if (
                    self._facts.new_rules is None
                    or (tin, function) in reasons
                    or (tin, function) in under_way
                ):
                    continue
                one = Parked(*target, self._facts.new_rules, self._as_of)
            if one.verdict in MAY_GO_ON:
                continue
            self._still_parked[target] = one
            if one.verdict is CauseStatus.REJECTED:
                by = AuthorizedBy("brake_rejection", one.cause_id, one.decided_by or "unknown")
                kept_by_rejection[tin, function] = by
            else:
                parked.append(one)
        return {**wanted, **kept_by_rejection}, parked

    def _unanswered(
        self, account: Account, reasons: Mapping[Held, str | AuthorizedBy]
    ) -> dict[Held, Unanswered]:
        """What of an account goes for no other reason than that nobody answered a review."""
        found: dict[Held, Unanswered] = {}
        for held in account.effective:
            if reasons.get(held) != REVIEW_REMOVED:
                continue
            standing = [
                review
                for review in self._reviews
                if review.status == "standing" and review.removal.covers((account.portal, *held))
            ]
            last = [review.unanswered for review in standing if review.unanswered is not None]
            if last and len(last) == len(standing):
                found[held] = last[-1]
        return found

    def _suspends_unanswered(self, account: Account) -> bool:
        """Whether all that is left of a login went unanswered, and policy suspends it for that."""
        return any(
            review.status == "standing"
            and review.unanswered is not None
            and review.unanswered.suspends
            and review.unanswered.verdict in MAY_GO_ON
            and review.removal.portal == account.portal
            for review in self._reviews
        )

    def _keep_alive(
        self, account: Account, portal: Portal, folded: Folded | None, *, needed: bool
    ) -> Account:
        """Work for the holder before the portal disables a login for want of use.

        On leave the clock runs on and the work does not: the login lapses, and is brought back by
        the same work after the return.
        """
        days = self._idle_days(portal)
        asked = [op for op in self._open_operations(account) if op.kind is OperationKind.KEEP_ALIVE]
        lapses = lapse(account, days)
        if lapses != account.lapses_at:
            account = replace(account, lapses_at=lapses)
        away = folded is None or folded.status is not WorkerStatus.ACTIVE
        if lapses is None or away or not needed:
            self._withdraw_all(asked)
            return account
        due = lapses - timedelta(days=KEEP_ALIVE_AHEAD_DAYS)
        if lapses <= self._as_of:
            detail = f"the login on {portal.name} was last used more than {days} days ago"
            self._findings[Finding("login_lapsed", detail)] = None
        self._note(lapses)
        if self._as_of < due:
            self._note(due)
            self._withdraw_all(asked)
            return account
        too_late = [
            op
            for op in asked
            if op.status is OperationStatus.REQUESTED and op.requested_at < lapses <= self._as_of
        ]
        self._withdraw_all(too_late)
        if len(too_late) == len(asked):
            account, _ = self._request(
                account,
                portal,
                OperationKind.KEEP_ALIVE,
                None,
                None,
                (),
                "inactivity",
                keep_alive_steps(portal, lapses, self._as_of),
                {},
                deadline=lapses if lapses > self._as_of else None,
            )
        return account

    def _idle_days(self, portal: Portal) -> int | None:
        """How long a login may rest before it, or its password, has to be brought back there."""
        known = [
            days
            for rule in (RuleName.INACTIVITY_DAYS, RuleName.PASSWORD_IDLE_DAYS)
            if (days := self._compiled.number(portal, rule, self._as_of)) is not None
        ]
        return min(known, default=None)

    def _withdraw_all(self, operations: Sequence[Operation]) -> None:
        """Cancel what nobody took on; what somebody took on is superseded and still has to end."""
        for operation in operations:
            if operation.status is not OperationStatus.SUPERSEDED:
                cancel = operation.status is OperationStatus.REQUESTED
                move = Transition.CANCEL if cancel else Transition.SUPERSEDE
                self._move(Move(operation, move))

    def _closing(
        self, account: Account, portal: Portal, why_cut: str | None
    ) -> tuple[Account, list[Parked]]:
        """Ending a login for good: where the portal can, after a wait, with the brake's leave."""
        if portal.closes_only:
            return account, []
        closing = [op for op in self._open_operations(account) if op.kind is OperationKind.CLOSE]
        over = (
            why_cut == "employment_ended"
            and OperationKind.CLOSE in portal.steps
            and account.status in (AccountStatus.SUSPENDED, AccountStatus.ACTIVE)
            and not account.effective
            and not any(op.kind is not OperationKind.CLOSE for op in self._open_operations(account))
        )
        known = account.targets.get(CLOSING)
        if not over:
            self._withdraw_all(closing)
            if known is not None and known.retry_at is not None:
                account = replace(
                    account, targets={**account.targets, CLOSING: Target(known.generation)}
                )
            return account, []
        if closing:
            return account, []
        if known is None or known.retry_at is None:
            known = Target(
                known.generation if known else 0,
                OperationKind.CLOSE,
                self._as_of + timedelta(days=CLOSE_WAIT_DAYS),
            )
            account = replace(account, targets={**account.targets, CLOSING: known})
        if known.retry_at is not None and known.retry_at > self._as_of:
            self._note(known.retry_at)
            return account, []
        waits = self._closing_waits(account)
        if waits is not None:
            return account, [waits]
        steps = portal.steps[OperationKind.CLOSE]
        account, _ = self._request(
            account, portal, OperationKind.CLOSE, None, None, (), "employment_ended", steps, {}
        )
        return account, []

    def _closing_waits(self, account: Account) -> Parked | None:
        """The brake's row while ending a login for good waits for its verdict; None once it may.

        What is decided together is judged together: who comes later is another cause, for one that
        was judged is not looked at again.
        """
        target = (account.worker, account.portal, None, None)
        cause = f"closings-{self._as_of:%Y%m%dT%H%M%S%fZ}"
        one = self._waiting.get(target) or Parked(*target, cause, self._as_of)
        if one.verdict in MAY_GO_ON:
            return None
        self._still_parked[target] = one
        return one

    def _observe(
        self, account: Account, wanted: Mapping[Held, AuthorizedBy], held: Iterable[HeldBack]
    ) -> Observed:
        """Keep to what is known on a portal whose first roster is not reconciled yet."""
        before = self._desired_at(self._compiled.observed_since[account.portal])
        removed = {(reason.tin, reason.function) for reason in held}
        for review in self._facts.reviews:
            removed |= {
                right for right in account.rights if review.removal.covers((account.portal, *right))
            }
        observed = observe(account, wanted, rights_of(before, account.portal), removed)
        if observed.held or observed.spared:
            self._unknown[self._compiled.portal(account.portal).name] = None
        return observed

    def _desired_at(self, instant: datetime) -> Collection[Right]:
        """What policy gave this person at an earlier instant (UTC), by what is known now."""
        if instant not in self._desired_before:
            then = min(instant, self._as_of)
            folded = fold(self._facts.person, then, self._compiled.zone)
            self._desired_before[instant] = desire(folded, self._compiled, (), then).rights.keys()
        return self._desired_before[instant]

    def _as_it_stands(self) -> list[PortalAccess]:
        """A blocked worker's portals: shown as known, nothing ordered and nothing withdrawn."""
        return [self._access(account, {}, (), ()) for account in self._facts.accounts]

    def _access(
        self,
        account: Account,
        wanted: Mapping[Held, AuthorizedBy],
        held: Iterable[Any],
        parked: Iterable[Parked],
    ) -> PortalAccess:
        return PortalAccess(
            portal=account.portal,
            status=account.status,
            grade=account.grade,
            login_id=account.login_id,
            desired=tuple(
                Entitlement(tin, function, wanted[tin, function])
                for tin, function in sorted(wanted)
            ),
            effective=tuple(own for _, own in sorted(account.effective.items())),
            held=tuple(held),
            operations=tuple(
                OpenOperation(
                    op.operation_id,
                    op.kind,
                    op.tin,
                    op.function,
                    op.generation,
                    op.status,
                    op.requested_at,
                    op.deadline,
                    op.claimed_by,
                )
                for op in sorted(self._open_operations(account), key=_since_when)
            ),
            exposed_since=account.exposed_since,
            last_login_at=account.last_login_at,
            last_login_grade=account.last_login_grade,
            last_login_source=account.last_login_source,
            lapses_at=account.lapses_at,
            parked=tuple(
                ParkedRemoval(one.tin, one.function, one.cause_id, one.parked_at, one.verdict.value)
                for one in parked
            ),
            findings=self._facts.portal_findings.get(account.portal, ()),
        )

    def _open_operations(self, account: Account) -> list[Operation]:
        own = self._by_account.get((account.worker, account.portal))
        return [op for op in own.values() if op.open] if own else []

    def _why_cut(self, folded: Folded | None) -> str:
        if folded is None or folded.status is WorkerStatus.TERMINATED:
            return "employment_ended"
        if folded.status is WorkerStatus.ERASED:
            return "erased"
        if folded.status is WorkerStatus.ON_LEAVE:
            return "on_leave"
        return "not_employed"

    def _holds(self, portal: Portal, rule: RuleName) -> bool:
        return self._compiled.holds(portal, rule, self._as_of)

    def _is_all_or_nothing(self, portal: Portal) -> bool:
        """Whether a login there that nobody needs any more has to go as a whole.

        There is no part of a login that several know: it is known or it is not.
        """
        return portal.closes_only or self._holds(portal, RuleName.ONE_LOGIN)

    def _cut_kind(self, portal: Portal) -> OperationKind:
        if self._holds(portal, RuleName.ONE_LOGIN):
            return OperationKind.ROTATE
        if portal.revoke_instead_of_suspend:
            return OperationKind.REVOKE
        if portal.closes_only:
            return OperationKind.CLOSE
        return OperationKind.SUSPEND

    # -- operations

    def _with_retries(self, account: Account, orders: Sequence[Order]) -> Account:
        """What is no longer wanted the same way is forgotten; what failed lately has to wait."""
        if not any(target.retry_kind for target in account.targets.values()):
            return account
        asked = {
            target_key(order.kind, *(order.held or (None, None))): order.kind for order in orders
        }
        targets = dict(account.targets)
        for key, target in account.targets.items():
            if (
                key not in ("successor", CLOSING)
                and target.retry_kind
                and asked.get(key) != target.retry_kind
            ):
                targets[key] = Target(target.generation)
        return account if targets == account.targets else replace(account, targets=targets)

    def _order(
        self,
        account: Account,
        portal: Portal,
        order: Order,
        wanted: Mapping[Held, AuthorizedBy],
        folded: Folded | None,
    ) -> Account:
        tin, function = order.held or (None, None)
        steps = portal.steps.get(order.kind) or DEFAULT_STEPS[order.kind]
        if order.kind is OperationKind.OPEN and account.login_id is None:
            steps = (*asked_first(portal, self._holds(portal, RuleName.IDENTITY_SURVIVES)), *steps)
        guards = []
        if order.kind in TAKES and function in (None, Function.USER_ADMINISTRATION):
            reviewed = order.rule == REVIEW_REMOVED
            if portal.id in self._facts.sole_administrator_of or (
                reviewed and self._administers_alone(portal)
            ):
                voluntary = reviewed or (folded is not None and folded.leaves_voluntarily)
                guards.append(
                    (LAST_ADMINISTRATOR_KEPT, kept_preamble(portal))
                    if self._holds(portal, RuleName.LAST_ADMINISTRATOR_KEPT)
                    else (LAST_ADMINISTRATOR, removal_preamble(portal, voluntary=voluntary))
                )
            elif self._administers(account) and self._holds(
                portal, RuleName.TERMINATING_ADMIN_ENDS_ASSIGNED
            ):
                guards.append((CASCADING_ADMINISTRATOR, cascade_preamble(portal)))
        steps = (*(step for _, step in guards), *steps)
        account, operation = self._request(
            account, portal, order.kind, tin, function, order.rights, order.rule, steps, wanted
        )
        if operation is None:
            return account
        for rule, _ in guards:
            self._say(
                "guard.refused",
                (operation.operation_id,),
                GuardRefused(
                    rule=rule,
                    operation_id=operation.operation_id,
                    portal=portal.id,
                    worker=account.worker,
                    effect="a step comes before the removal",
                ),
            )
        return account

    def _administers_alone(self, portal: Portal) -> bool:
        """Whether the directory appoints nobody else to administer a portal."""
        appointed = self._compiled.appointed(portal.id, self._as_of)
        return bool(appointed) and set(appointed) <= set(self._facts.person.aliases)

    def _administers(self, account: Account) -> bool:
        return any(function is Function.USER_ADMINISTRATION for _, function in account.rights)

    def _request(
        self,
        account: Account,
        portal: Portal,
        kind: OperationKind,
        tin: str | None,
        function: Function | None,
        rights: tuple[Held, ...],
        rule: str,
        steps: tuple[Step, ...],
        wanted: Mapping[Held, AuthorizedBy],
        deadline: datetime | None = None,
    ) -> tuple[Account, Operation | None]:
        key = target_key(kind, tin, function)
        target = account.targets.get(key, NEVER_ASKED)
        if target.retry_kind is kind and target.retry_at and target.retry_at > self._as_of:
            self._note(target.retry_at)
            return account, None
        generation = target.generation + 1
        deadlines = self._compiled.directory.organization.deadlines
        urgent = kind in REMOVES or (kind is OperationKind.CLOSE and portal.closes_only)
        hours = deadlines.removal_hours if urgent else deadlines.grant_hours
        operation = Operation(
            operation_id=operation_id(
                self._facts.organization, account.worker, account.portal, key, kind, generation
            ),
            worker=account.worker,
            portal=account.portal,
            kind=kind,
            tin=tin,
            function=function,
            generation=generation,
            status=OperationStatus.REQUESTED,
            rights=rights,
            authorized_by=wanted[rights[0]] if rights else None,
            rule=rule,
            events=self._facts.cause[:MAX_CAUSES],
            steps=steps,
            requested_at=self._as_of,
            deadline=deadline or self._as_of + timedelta(hours=hours),
            rank=portal.removal_rank,
        )
        self._put(operation)
        said = OperationRequested(
            **describe(operation),
            # What they hold is written much sooner than the models themselves.
            steps=cast("Any", [step.__dict__ for step in steps]),
            rank=operation.rank,
        )
        self._say("operation.requested", (operation.operation_id,), said)
        account = replace(account, targets={**account.targets, key: Target(generation)})
        return account, operation

    def _successor(self, account: Account, portal: Portal, folded: Folded | None) -> Account:
        """The only administrator's dated exit first needs somebody to hand over to."""
        asked = [
            op
            for op in self._open_operations(account)
            if op.kind is OperationKind.APPOINT_SUCCESSOR
        ]
        if not asked and not self._facts.sole_administrator_of:
            return account
        leaves_at = folded.leaves_at if folded else None
        if portal.id not in self._facts.sole_administrator_of or leaves_at is None:
            self._withdraw_all(asked)
            return account
        detail = f"the only administrator of {portal.name} leaves on {leaves_at.date()}"
        self._findings[Finding(LAST_ADMINISTRATOR, detail)] = None
        if asked:
            return account
        account, _ = self._request(
            account,
            portal,
            OperationKind.APPOINT_SUCCESSOR,
            None,
            Function.USER_ADMINISTRATION,
            (),
            LAST_ADMINISTRATOR,
            portal.steps.get(OperationKind.APPOINT_SUCCESSOR)
            or DEFAULT_STEPS[OperationKind.APPOINT_SUCCESSOR],
            {},
            deadline=max(leaves_at, self._as_of + timedelta(hours=1)),
        )
        return account

    def _move(self, move: Move) -> None:
        before = move.operation
        after = replace(before, status=OPERATION_LIFE[before.status, move.transition])
        if move.transition is Transition.REINSTATE:
            after = replace(after, overdue=False)
        self._put(after)
        type_ = EVENT_OF[move.transition]
        self._say(
            type_,
            (before.operation_id, move.transition.value, str(self._as_of)),
            ACCESS_EVENT_MODELS[type_](
                **describe(after),
                previous_status=before.status,
                transition=move.transition.value,
            ),
        )

    def _know(self, operation: Operation) -> None:
        self._operations[operation.operation_id] = operation
        own = self._by_account.setdefault((operation.worker, operation.portal), {})
        own[operation.operation_id] = operation

    def _put(self, operation: Operation) -> None:
        self._know(operation)
        self._changed_operations[operation.operation_id] = operation

    def _mark_overdue(self) -> None:
        for operation in list(self._operations.values()):
            if not operation.open or operation.overdue:
                continue
            if operation.deadline > self._as_of:
                self._note(operation.deadline)
                continue
            if operation.portal in self._facts.outages:
                continue
            if operation.status is OperationStatus.SUPERSEDED:
                # Whoever took it on never said; a late word still counts as a fact.
                self._move(Move(operation, Transition.CANCEL))
                # What waited for it can be ordered now.
                self._next.append(self._as_of)
                continue
            late = replace(operation, overdue=True)
            self._put(late)
            said = OperationOverdue(**describe(late))
            # It may be overdue once more, after having been withdrawn and wanted again.
            self._say("operation.overdue", (operation.operation_id, str(self._as_of)), said)

    # -- exposure and findings

    def _exposure(
        self, account: Account, wanted: Mapping[Held, AuthorizedBy], folded: Folded | None
    ) -> Account:
        effective = account.effective
        if not effective and account.exposed_since is None:
            return account
        exposed = sorted(held for held in effective if held not in wanted)
        if exposed and account.exposed_since is None:
            since = self._as_of
            if folded is not None and folded.ended_at is not None and not wanted:
                since = folded.ended_at
            removal = next(
                (op.operation_id for op in self._open_operations(account) if op.kind in TAKES),
                None,
            )
            self._say(
                "exposure.started",
                (account.worker, account.portal, str(since), removal or ""),
                ExposureStarted(account.worker, account.portal, since, tuple(exposed), removal),
            )
            return replace(account, exposed_since=since)
        if not exposed and account.exposed_since is not None:
            self._say(
                "exposure.ended",
                (account.worker, account.portal, str(account.exposed_since), str(self._as_of)),
                ExposureEnded(account.worker, account.portal, account.exposed_since, self._as_of),
            )
            return replace(account, exposed_since=None)
        return account

    def _say_findings(self) -> None:
        for finding in self._findings:
            if finding not in self._facts.known_findings:
                self._say_finding("finding.raised", FindingRaised, finding)
        for finding in sorted(
            self._facts.known_findings - self._findings.keys(), key=lambda f: (f.rule, f.detail)
        ):
            self._say_finding("finding.resolved", FindingResolved, finding)

    def _say_finding(
        self, type: str, model: type[FindingRaised] | type[FindingResolved], finding: Finding
    ) -> None:
        worker = self._facts.person.worker
        self._say(
            type,
            (worker, finding.rule, finding.detail, str(self._as_of)),
            model(worker, finding.rule, finding.detail),
        )

    def _say(self, type: str, cause: tuple[str, ...], data: object) -> None:
        self._events.append((type, cause, data))

    def _note(self, instant: datetime | None) -> None:
        if instant is not None and instant > self._as_of:
            self._next.append(instant)

    # -- state

    def _state(
        self,
        folded: Folded | None,
        desired: Desired | None,
        portals: Sequence[PortalAccess],
        reviews: Sequence[ReviewRemoval],
    ) -> WorkerState:
        person = self._facts.person
        erased = folded is not None and folded.status is WorkerStatus.ERASED
        return WorkerState(
            organization=self._facts.organization,
            worker=person.worker,
            epoch=0,
            version=0,
            as_of=UNSET,
            status=folded.status if folded else WorkerStatus.UNKNOWN,
            blocked=desired is None,
            aliases=folded.aliases if folded else (),
            name=folded.name if folded else None,
            email=folded.email if folded else None,
            npi=folded.npi if folded else None,
            employments=folded.employments if folded else (),
            duties=desired.duties if desired else (),
            training=folded.training if folded else (),
            training_due=desired.training_due if desired else (),
            portals=tuple(
                access
                for access in portals
                if access.desired
                or access.effective
                or access.held
                or access.operations
                or access.status != "none"
            ),
            findings=() if erased else tuple(self._findings),
            decisions=tuple(_applied(review, portals) for review in reviews),
            exceptions=()
            if erased
            else tuple(
                ExceptionInForce(
                    one.exception_id,
                    one.kind,
                    one.portal,
                    one.tin,
                    one.function,
                    one.starts_at,
                    one.ends_at,
                    one.approved_by,
                )
                for one in self._facts.exceptions
                if one.status is ExceptionStatus.APPROVED and one.ends_at > self._as_of
            ),
        )


def _since_when(operation: Operation) -> tuple[datetime, str]:
    """An order of operations that does not depend on how they were read."""
    return (operation.requested_at, operation.operation_id)


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


def _applied(review: ReviewRemoval, portals: Sequence[PortalAccess]) -> DecisionApplied:
    removal = review.removal
    if review.status in ("moot", "rejected"):
        return DecisionApplied(removal.review_id, removal.line_id, review.status, review.detail)
    waiting = {
        (access.portal, one.tin, one.function) for access in portals for one in access.parked
    }
    if any(None not in right and removal.covers(cast("Right", right)) for right in waiting):
        detail = "waits for the brake's verdict"
        return DecisionApplied(removal.review_id, removal.line_id, "parked", detail)
    still = any(
        removal.covers((access.portal, own.tin, own.function))
        for access in portals
        for own in access.effective
    )
    status, detail = ("ordered", "removal ordered") if still else ("confirmed", "no longer held")
    return DecisionApplied(removal.review_id, removal.line_id, status, detail)


def _why_too_much(account: Account, held: Iterable[Any]) -> dict[Held, str]:
    """Why entitlements are no longer desired, where a rule by name is behind it."""
    ended: dict[Held, str] = {
        own: f"{entitlement.authorized_by.kind}_ended"
        for own, entitlement in account.rights.items()
        if entitlement.authorized_by and entitlement.authorized_by.kind in TEMPORARY
    }
    return ended | {(reason.tin, reason.function): reason.rule for reason in held}


def _held(parked: Parked) -> Held:
    assert parked.tin is not None
    assert parked.function is not None
    return (parked.tin, parked.function)
