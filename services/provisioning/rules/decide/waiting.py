"""What a change of rules takes waits for the brake's verdict."""

from collections.abc import Mapping, Sequence

from services.provisioning.rules.brake import MAY_GO_ON, CauseStatus, Parked
from services.provisioning.rules.decide.course import Course
from services.provisioning.rules.decide.reviews import unanswered_removals
from services.provisioning.rules.operations import TAKES, Account, Held, Operation
from shared.contracts.state import AuthorizedBy


def brake(
    course: Course,
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
    unanswered = unanswered_removals(course.reviews, account, reasons)
    for tin, function in account.effective:
        if (tin, function) in wanted:
            continue
        target = (account.worker, account.portal, tin, function)
        one = course.waiting.get(target)
        expired = unanswered.get((tin, function))
        if one is None and expired is not None:
            if (tin, function) in under_way:
                continue
            one = Parked(*target, expired.cause_id, course.as_of, expired.verdict)
        elif one is None:
            if (
                course.facts.new_rules is None
                or (tin, function) in reasons
                or (tin, function) in under_way
            ):
                continue
            one = Parked(*target, course.facts.new_rules, course.as_of)
        if one.verdict in MAY_GO_ON:
            continue
        course.still_parked[target] = one
        if one.verdict is CauseStatus.REJECTED:
            by = AuthorizedBy("brake_rejection", one.cause_id, one.decided_by or "unknown")
            kept_by_rejection[tin, function] = by
        else:
            parked.append(one)
    return {**wanted, **kept_by_rejection}, parked
