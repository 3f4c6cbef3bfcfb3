"""What a line shows of now: a table per rule, and what holds for all of them."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.review_scheduler.rules.deciding import (
    RefusalRule,
    needs_reason,
    refuse_decision,
)
from services.review_scheduler.rules.lines import LineStatus
from services.review_scheduler.rules.live import (
    Now,
    Opened,
    changes_since,
    login_for,
    logins_in,
    recommend,
    risks_of,
)
from services.review_scheduler.rules.roles import holdings_in
from shared.contracts.directory import Function, OperationKind
from shared.contracts.review import Decision, Risk
from shared.contracts.review_policy import KeepReasons
from shared.contracts.state import (
    AccountStatus,
    AuthorizedBy,
    Finding,
    Grade,
    Held,
    OpenOperation,
    OperationStatus,
    PortalAccess,
    WorkerStatus,
)
from tests.review_scheduler.worlds import START, TIN, holds, state

INACTIVE_DAYS = 60
LATER = START + timedelta(days=10)
POLICY = AuthorizedBy("policy", "7", "Dr. Reyes")


def opened(function: str = "eligibility") -> Opened:
    return Opened(
        "noridian", TIN, Function(function), START, Grade.PERSON, START, POLICY, ("billing",)
    )


def now(
    access: PortalAccess | None = None,
    *,
    function: str = "eligibility",
    duties: tuple[str, ...] = ("billing",),
    holder: WorkerStatus = WorkerStatus.ACTIVE,
    administers: bool = False,
) -> Now:
    told = state("ana", access=[access or holds("noridian", function)])
    held = next((h for h in holdings_in(told) if h.target[2] == function), None)
    names = tuple(duty.replace("-", " ").capitalize() for duty in duties)
    return Now(LATER, holder, held, logins_in(told)[0], duties, names, administers, INACTIVE_DAYS)


def used(days_ago: int) -> PortalAccess:
    return holds("noridian", last_login_at=LATER - timedelta(days=days_ago))


def found(*rules: str) -> PortalAccess:
    return holds("noridian", findings=tuple(Finding(rule, "") for rule in rules))


def ordered(
    kind: OperationKind, tin: str | None = None, function: Function | None = None
) -> PortalAccess:
    order = OpenOperation(
        "op-9", kind, tin, function, 1, OperationStatus.REQUESTED, LATER, LATER, None
    )
    return replace(holds("noridian"), operations=(order,))


def authorized(kind: str) -> PortalAccess:
    access = holds("noridian")
    by = AuthorizedBy(kind, "E-31", "Dr. Kim")
    return replace(access, effective=(replace(access.effective[0], authorized_by=by),))


OBSERVED = replace(
    holds("noridian", beyond=["eligibility"]),
    held=(Held(TIN, Function.ELIGIBILITY, "observe_only", ""),),
)
GONE = replace(holds("noridian"), effective=())


@pytest.mark.parametrize(
    ("function", "seen", "risks", "advice", "rule"),
    [
        ("eligibility", now(), (), "keep", "duty"),
        ("eligibility", now(duties=()), (), "keep", "policy"),
        ("remittance", now(function="remittance"), ("financial",), "keep", "duty"),
        ("payment", now(function="payment"), ("financial",), "keep", "duty"),
        ("user_administration", now(function="user_administration"), ("administrator",), "keep",
         "duty"),
        ("eligibility", now(administers=True), ("administrator",), "keep", "duty"),
        ("eligibility", now(used(3)), (), "keep", "duty"),
        ("eligibility", now(used(59)), (), "keep", "duty"),
        ("eligibility", now(used(60)), ("dormant",), "remove", "dormant"),
        ("eligibility", now(found("dormant")), ("dormant",), "remove", "dormant"),
        ("eligibility", now(found("shared")), ("shared",), "ask", "shared"),
        ("eligibility", now(found("generic")), ("shared",), "ask", "shared"),
        ("eligibility", now(found("drift")), (), "keep", "duty"),
        ("eligibility", now(holds("noridian", beyond=["eligibility"])), ("beyond_policy",),
         "remove", "beyond_policy"),
        # Who is away has no duties now: that their access goes beyond them says nothing.
        ("eligibility", now(holds("noridian", beyond=["eligibility"]),
                            holder=WorkerStatus.ON_LEAVE), (), "keep", "duty"),
        # Before a portal's first roster, what policy gives is only held back from being ordered.
        ("eligibility", now(OBSERVED), (), "keep", "duty"),
        ("eligibility", now(authorized("exception")), (), "keep", "exception"),
        ("eligibility", now(authorized("break_glass")), (), "keep", "exception"),
        ("eligibility", now(authorized("mover_grace")), (), "ask", "mover_grace"),
        ("eligibility", now(ordered(OperationKind.REVOKE, TIN, Function.ELIGIBILITY)), (),
         "remove", "removal_ordered"),
        ("eligibility", now(ordered(OperationKind.SUSPEND)), (), "remove", "removal_ordered"),
        ("eligibility", now(ordered(OperationKind.REVOKE, TIN, Function.BENEFITS)), (), "keep",
         "duty"),
        ("eligibility", now(ordered(OperationKind.KEEP_ALIVE)), (), "keep", "duty"),
        ("eligibility", now(GONE), (), "remove", "gone"),
    ],
)  # fmt: skip
def test_each_risk_and_recommendation_has_its_rule(
    function: str, seen: Now, risks: tuple[str, ...], advice: str, rule: str
) -> None:
    line = opened(function)

    assert risks_of(line, seen) == risks
    recommended = recommend(line, seen, risks_of(line, seen))
    assert (recommended.advice, recommended.rule) == (advice, rule)
    assert recommended.reason.endswith(".")


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (now(), "Billing calls for it; when it was used is not known."),
        (now(used(0)), "Billing calls for it; used within a day."),
        (now(used(1)), "Billing calls for it; last used 1 day ago."),
        (now(used(2), duties=("portal-administration", "billing")),
         "Portal administration and Billing call for it; last used 2 days ago."),
        (now(used(61)), "Last used 61 days ago."),
    ],
)  # fmt: skip
def test_advice_names_duties_as_people_do_and_counts_days(seen: Now, reason: str) -> None:
    assert recommend(opened(), seen, risks_of(opened(), seen)).reason == reason


@pytest.mark.parametrize("second_first", [True, False])
def test_who_has_two_logins_is_judged_by_the_one_that_gives_the_function(
    second_first: bool,
) -> None:
    second = replace(
        used(300), status=AccountStatus.SUSPENDED, desired=(), effective=(), login_id="ana2"
    )
    both = [second, used(3)] if second_first else [used(3), second]
    told = state("ana", access=both)
    login = login_for(logins_in(told), "noridian", TIN, Function.ELIGIBILITY)
    seen = replace(now(), held=holdings_in(told)[0], login=login)

    assert risks_of(opened(), seen) == ()
    assert recommend(opened(), seen, ()).rule == "duty"


@pytest.mark.parametrize(
    ("seen", "changed"),
    [
        (now(), ()),
        (now(used(30)), ()),
        (now(used(3)), ("used since",)),
        (now(duties=()), ("no duty calls for it any more",)),
        (now(duties=("front-desk",)), ("now called for by Front desk",)),
        (now(authorized("exception")), ("authorized anew by Dr. Kim",)),
        (now(holder=WorkerStatus.ON_LEAVE), ("the holder is on leave",)),
        (now(GONE, holder=WorkerStatus.TERMINATED), ("the holder has left", "the access is gone")),
        (now(ordered(OperationKind.SUSPEND)), ("its removal was ordered",)),
        (
            now(
                replace(
                    holds("noridian"),
                    effective=(replace(holds("noridian").effective[0], grade=Grade.ROSTER),),
                )
            ),
            ("seen on the portal's list",),
        ),
    ],
)
def test_what_changed_since_a_line_was_opened_is_named(seen: Now, changed: tuple[str, ...]) -> None:
    assert changes_since(opened(), seen) == changed


@pytest.mark.parametrize(
    ("risk", "asked_by"),
    [
        ("financial", "financial"),
        ("administrator", "user_administration"),
        ("dormant", "dormant"),
        ("beyond_policy", "beyond_policy"),
        ("shared", None),
    ],
)
def test_policy_says_for_which_risks_a_keep_needs_a_reason(
    risk: Risk, asked_by: str | None
) -> None:
    nothing = dict.fromkeys(KeepReasons.model_fields, False)

    for name in KeepReasons.model_fields:
        asks = KeepReasons.model_validate(nothing | {name: True})
        assert needs_reason([risk], asks) is (name == asked_by)


RISKS = st.sets(
    st.sampled_from(["administrator", "financial", "beyond_policy", "dormant", "shared"])
)


@given(
    st.none() | st.sampled_from(LineStatus),
    st.sampled_from(["keep", "remove"]),
    st.none() | st.just("because"),
    RISKS,
    st.booleans(),
    st.booleans(),
)
def test_what_is_over_is_never_decided_and_what_is_risky_is_never_kept_without_a_reason(
    line: LineStatus | None, decision: Decision, reason: str | None, risks: set[Risk], closed: bool,
    held: bool,
) -> None:  # fmt: skip
    asks = KeepReasons()
    refusal = refuse_decision(line, decision, reason, risks, asks, is_closed=closed, is_held=held)

    if line in (None, LineStatus.MOOT, LineStatus.REMOVAL_CONFIRMED) or (closed and not held):
        assert refusal is not None
    elif decision == "keep" and reason is None and needs_reason(risks, asks):
        assert refusal is RefusalRule.REASON_MISSING
    else:
        assert refusal is None
