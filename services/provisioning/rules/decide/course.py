"""What a decision about one person has come to so far, and what is said of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

from services.provisioning.rules.brake import Parked
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.desired.rights import Right
from services.provisioning.rules.desired.worker import desire
from services.provisioning.rules.facts import Facts, ReviewRemoval
from services.provisioning.rules.needed import Move
from services.provisioning.rules.operations import (
    EVENT_OF,
    OPERATION_LIFE,
    REMOVES,
    Account,
    Held,
    Operation,
    Target,
    Transition,
    describe,
    operation_id,
    target_key,
)
from services.provisioning.rules.timeline import fold
from shared.contracts.access import ACCESS_EVENT_MODELS
from shared.contracts.access.decisions import FindingRaised, FindingResolved
from shared.contracts.access.operations import OperationOverdue, OperationRequested
from shared.contracts.directory import Function, OperationKind, Portal, RuleName, Step
from shared.contracts.state import AuthorizedBy, Finding, OperationStatus

NEVER_ASKED = Target()

MAX_CAUSES = 5
"""Ids of causing events that an operation carries; its timeline shows them all."""


class Course:
    """Facts about one person at an instant, and everything that follows from them as it is found.

    Functions that decide take it and add to it; `decide` reads what has gathered at the end.
    """

    def __init__(self, facts: Facts, compiled: CompiledDirectory, as_of: datetime) -> None:
        self.facts = facts
        self.compiled = compiled
        self.as_of = as_of
        self.next: list[datetime] = []
        self.events: list[tuple[str, tuple[str, ...], object]] = []
        self._operations: dict[str, Operation] = {}
        self._by_account: dict[tuple[str, str], dict[str, Operation]] = {}
        for operation in facts.operations:
            self._know(operation)
        self.changed_operations: dict[str, Operation] = {}
        self.changed_accounts: dict[tuple[str, str], Account] = {}
        self.findings: dict[Finding, None] = {}
        self._desired_before: dict[datetime, Collection[Right]] = {}
        self.observed_on: dict[str, None] = {}
        self.waiting = {parked.target: parked for parked in facts.parked}
        self.still_parked: dict[Any, Parked] = {}
        self.portals_raised = False
        self.reviews: list[ReviewRemoval] = []

    def desired_at(self, instant: datetime) -> Collection[Right]:
        """What policy gave this person at an earlier instant (UTC), by what is known now."""
        if instant not in self._desired_before:
            then = min(instant, self.as_of)
            folded = fold(self.facts.person, then, self.compiled.zone)
            self._desired_before[instant] = desire(folded, self.compiled, (), then).rights.keys()
        return self._desired_before[instant]

    def holds(self, portal: Portal, rule: RuleName) -> bool:
        """Whether a yes-or-no rule of a portal holds now."""
        return self.compiled.holds(portal, rule, self.as_of)

    def open_operations(self, account: Account) -> list[Operation]:
        """Operations on a login that have not ended, also those of this decision."""
        own = self._by_account.get((account.worker, account.portal))
        return [op for op in own.values() if op.open] if own else []

    def request(
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
        """Ask for an operation, unless what failed lately has to wait: then None.

        Args:
            wanted: who answers for each right that it gives.
            deadline: by when (UTC), instead of what policy says for its kind.
        """
        key = target_key(kind, tin, function)
        target = account.targets.get(key, NEVER_ASKED)
        if target.retry_kind is kind and target.retry_at and target.retry_at > self.as_of:
            self.note(target.retry_at)
            return account, None
        generation = target.generation + 1
        deadlines = self.compiled.directory.organization.deadlines
        urgent = kind in REMOVES or (kind is OperationKind.CLOSE and portal.closes_only)
        hours = deadlines.removal_hours if urgent else deadlines.grant_hours
        operation = Operation(
            operation_id=operation_id(
                self.facts.organization, account.worker, account.portal, key, kind, generation
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
            events=self.facts.cause[:MAX_CAUSES],
            steps=steps,
            requested_at=self.as_of,
            deadline=deadline or self.as_of + timedelta(hours=hours),
            rank=portal.removal_rank,
        )
        self.put(operation)
        said = OperationRequested(
            **describe(operation),
            # What they hold is written much sooner than the models themselves.
            steps=cast("Any", [step.__dict__ for step in steps]),
            rank=operation.rank,
        )
        self.say("operation.requested", (operation.operation_id,), said)
        account = replace(account, targets={**account.targets, key: Target(generation)})
        return account, operation

    def move(self, move: Move) -> None:
        """Take an operation on along its life cycle, and say so."""
        before = move.operation
        after = replace(before, status=OPERATION_LIFE[before.status, move.transition])
        if move.transition is Transition.REINSTATE:
            after = replace(after, overdue=False)
        self.put(after)
        type_ = EVENT_OF[move.transition]
        self.say(
            type_,
            (before.operation_id, move.transition.value, str(self.as_of)),
            ACCESS_EVENT_MODELS[type_](
                **describe(after),
                previous_status=before.status,
                transition=move.transition.value,
            ),
        )

    def withdraw_all(self, operations: Sequence[Operation]) -> None:
        """Cancel what nobody took on; what somebody took on is superseded and still has to end."""
        for operation in operations:
            if operation.status is not OperationStatus.SUPERSEDED:
                cancel = operation.status is OperationStatus.REQUESTED
                move = Transition.CANCEL if cancel else Transition.SUPERSEDE
                self.move(Move(operation, move))

    def _know(self, operation: Operation) -> None:
        self._operations[operation.operation_id] = operation
        own = self._by_account.setdefault((operation.worker, operation.portal), {})
        own[operation.operation_id] = operation

    def put(self, operation: Operation) -> None:
        """Keep an operation that is new or changed."""
        self._know(operation)
        self.changed_operations[operation.operation_id] = operation

    def mark_overdue(self) -> None:
        """Say once what is past its deadline, where the portal works."""
        for operation in list(self._operations.values()):
            if not operation.open or operation.overdue:
                continue
            if operation.deadline > self.as_of:
                self.note(operation.deadline)
                continue
            if operation.portal in self.facts.outages:
                continue
            if operation.status is OperationStatus.SUPERSEDED:
                # Whoever took it on never said; a late word still counts as a fact.
                self.move(Move(operation, Transition.CANCEL))
                # What waited for it can be ordered now.
                self.next.append(self.as_of)
                continue
            late = replace(operation, overdue=True)
            self.put(late)
            said = OperationOverdue(**describe(late))
            # It may be overdue once more, after having been withdrawn and wanted again.
            self.say("operation.overdue", (operation.operation_id, str(self.as_of)), said)

    def say_findings(self) -> None:
        """Say which findings are new and which no longer stand."""
        for finding in self.findings:
            if finding not in self.facts.known_findings:
                self._say_finding("finding.raised", FindingRaised, finding)
        for finding in sorted(
            self.facts.known_findings - self.findings.keys(), key=lambda f: (f.rule, f.detail)
        ):
            self._say_finding("finding.resolved", FindingResolved, finding)

    def _say_finding(
        self, type: str, model: type[FindingRaised] | type[FindingResolved], finding: Finding
    ) -> None:
        worker = self.facts.person.worker
        self.say(
            type,
            (worker, finding.rule, finding.detail, str(self.as_of)),
            model(worker, finding.rule, finding.detail),
        )

    def say(self, type: str, cause: tuple[str, ...], data: object) -> None:
        """Publish an event about the person; the same `cause` gives it the same id again."""
        self.events.append((type, cause, data))

    def note(self, instant: datetime | None) -> None:
        """Decide again at an instant (UTC), if it is still to come."""
        if instant is not None and instant > self.as_of:
            self.next.append(instant)
