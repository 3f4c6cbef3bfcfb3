from datetime import date
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.review_scheduler.rules.deciding import RefusalRule, refuse_reviewer
from services.review_scheduler.rules.lines import (
    LINE_MOVES,
    Line,
    LineMove,
    LineStatus,
    ReviewStatus,
    follow,
    review_status,
)
from services.review_scheduler.rules.opening import Holder, Occasion, build_reviews
from services.review_scheduler.rules.reviewers import Choice, Person, choose_reviewer, identify
from services.review_scheduler.rules.roles import explain_role_change, holdings_in, role_in
from shared.contracts.directory import Administrator, Function
from shared.contracts.state import DecisionApplied, WorkerState, WorkerStatus
from tests.review_scheduler.worlds import ORGANIZATION, START, TIN, administrator, holds, state

TODAY = date(2026, 11, 23)
LOS_ANGELES = ZoneInfo("America/Los_Angeles")


# Quarters and due dates


# Reviewers

HERE = {
    "holder": Person("sam", True),
    "sam": Person("tess", True),
    "tess": Person(None, True),
    "ada": Person("tess", True),
    "olga": Person("tess", True),
}
AWAY = {"sam": Person("tess", False)}
NO_COMMAND = {"holder": Person(None, True), "sam": Person(None, True)}


@pytest.mark.parametrize(
    ("people", "administrators", "reviewer", "rule"),
    [
        (HERE, [administrator("noridian", "ada")], "sam", "supervisor"),
        (HERE | AWAY, [administrator("noridian", "ada")], "tess", "next_above"),
        (
            HERE | AWAY | {"tess": Person(None, False)},
            [administrator("noridian", "ada")],
            "ada",
            "portal_administrator",
        ),
        (HERE | NO_COMMAND, [administrator("noridian", "ada")], "ada", "portal_administrator"),
        (
            HERE | NO_COMMAND,
            [administrator("noridian", "holder", deputy="olga")],
            "olga",
            "portal_administrator",
        ),
        (
            HERE | NO_COMMAND,
            [administrator("noridian", "holder"), administrator("availity", "olga")],
            "olga",
            "organization_administrator",
        ),
        (
            HERE | NO_COMMAND,
            [administrator("noridian", "ada", until=date(2026, 11, 22))],
            None,
            "review_admin_queue",
        ),
        (
            HERE | NO_COMMAND,
            [administrator("noridian", "ada", since=date(2026, 11, 24))],
            None,
            "review_admin_queue",
        ),
        (
            HERE | NO_COMMAND,
            [administrator("noridian", "nobody-known")],
            None,
            "review_admin_queue",
        ),
        # Who reports to themselves, or in a circle, is not reviewed by themselves.
        (HERE | {"holder": Person("holder", True)}, [], None, "review_admin_queue"),
        (
            HERE | {"sam": Person("holder", False)},
            [administrator("noridian", "holder")],
            None,
            "review_admin_queue",
        ),
        (HERE | {"sam": Person("sam", False)}, [], None, "review_admin_queue"),
        # A supervisor under an id that was merged away is asked under the one in use.
        (
            HERE | {"holder": Person("old", True), "old": Person(None, False, "ada")},
            [],
            "ada",
            "supervisor",
        ),
        # The holder under an earlier id is still the holder.
        (
            HERE | {"holder": Person("old", True), "old": Person("tess", True, "holder")},
            [],
            None,
            "review_admin_queue",
        ),
    ],
)
def test_the_first_who_is_present_reviews_and_never_the_holder(
    people: dict[str, Person],
    administrators: list[Administrator],
    reviewer: str | None,
    rule: str,
) -> None:
    chosen = choose_reviewer("holder", "noridian", people, administrators, TODAY)

    assert (chosen.reviewer, chosen.rule) == (reviewer, rule)


NAMES = st.sampled_from(["ana", "ben", "cho", "dee", "eli"])
PEOPLE = st.dictionaries(
    NAMES, st.builds(Person, st.none() | NAMES, st.booleans(), st.none() | NAMES)
)
APPOINTMENTS = st.lists(
    st.builds(
        administrator,
        st.sampled_from(["noridian", "availity"]),
        NAMES,
        deputy=st.none() | NAMES,
    ),
    max_size=3,
)


@given(NAMES, PEOPLE, APPOINTMENTS, st.sets(st.sampled_from(["noridian", "availity", "lni"])))
def test_every_entitlement_is_on_exactly_one_line_and_never_reviewed_by_its_holder(
    holder: str,
    people: dict[str, Person],
    administrators: list[Administrator],
    portals: set[str],
) -> None:
    held = holdings_in(
        state(holder, access=[holds(each, "eligibility", "remittance") for each in sorted(portals)])
    )
    occasion = Occasion(
        ("campaign", "c"), UUID(int=1), "campaign", "campaign", START, START, "escalate"
    )

    reviews = build_reviews(
        occasion,
        Holder(ORGANIZATION, holder, ("billing",), held),
        people,
        administrators,
        [],
        TODAY,
        authorizer_may_review=False,
    )

    asked = [line.holding for review in reviews for line in review.lines]
    assert sorted(each.target for each in asked) == sorted(each.target for each in held)
    assert all(review.lines for review in reviews)
    assert len({review.reviewer for review in reviews}) == len(reviews)
    for review in reviews:
        assert review.reviewer != holder
        assert review.reviewer is None or identify(review.reviewer, people) != identify(
            holder, people
        )


def test_portals_with_other_administrators_make_several_reviews_of_one_worker() -> None:
    held = holdings_in(state("holder", access=[holds("noridian"), holds("availity")]))

    reviews = build_reviews(
        Occasion(("campaign", "c"), UUID(int=1), "campaign", "campaign", START, START, "escalate"),
        Holder(ORGANIZATION, "holder", (), held),
        HERE | NO_COMMAND,
        [administrator("noridian", "ada"), administrator("availity", "olga")],
        [],
        TODAY,
        authorizer_may_review=False,
    )

    assert {review.reviewer: len(review.lines) for review in reviews} == {"ada": 1, "olga": 1}


# Roles


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (state("w", 2), None),
        (state("w", 2, title="Front desk"), "role changed: title"),
        (state("w", 2, duties=["front-desk"]), "role changed: duties"),
        (state("w", 2, sites=["tacoma", "olympia"]), "role changed: sites"),
        (state("w", 2, supervisor="tess"), "role changed: supervisor"),
        (
            state("w", 2, title="Lead", duties=[], sites=[], supervisor=None),
            "role changed: title, duties, sites, supervisor",
        ),
        (state("w", 2, title="Front desk", status=WorkerStatus.TERMINATED), None),
        (state("w", 2, title="Front desk", status=WorkerStatus.ON_LEAVE), None),
        (state("w", 2, title="Front desk", blocked=True), None),
    ],
)
def test_a_micro_review_is_due_when_what_a_worker_does_has_changed(
    after: WorkerState, why: str | None
) -> None:
    assert explain_role_change(role_in(state("w")), role_in(after)) == why


def test_the_first_role_ever_seen_is_no_change() -> None:
    assert explain_role_change(None, role_in(state("w"))) is None


def test_the_order_in_which_duties_and_sites_are_told_does_not_matter() -> None:
    one = state("w", duties=["a", "b"], sites=["x", "y"])
    other = state("w", duties=["b", "a"], sites=["y", "x"])

    assert role_in(one) == role_in(other)


# Following


CAMPAIGN = UUID(int=3)


def line(status: LineStatus, campaign: UUID | None = CAMPAIGN) -> Line:
    return Line(
        UUID(int=1),
        UUID(int=2),
        campaign,
        ORGANIZATION,
        "w",
        "noridian",
        TIN,
        Function.ELIGIBILITY,
        "op-1",
        status,
    )


def applied(status: str) -> DecisionApplied:
    return DecisionApplied(str(UUID(int=2)), str(UUID(int=1)), status, "by provisioning")


HELD = [holds("noridian")]
ANEW = [holds("noridian", operation="op-2")]
GONE = WorkerStatus.TERMINATED
UNDECIDED, DECIDED, ORDERED = (
    LineStatus.UNDECIDED,
    LineStatus.REMOVAL_DECIDED,
    LineStatus.REMOVAL_ORDERED,
)


@pytest.mark.parametrize(
    ("status", "now", "becomes", "moot"),
    [
        (UNDECIDED, state("w", access=HELD), UNDECIDED, None),
        (UNDECIDED, state("w", access=[]), LineStatus.MOOT, "revoked"),
        (UNDECIDED, state("w", access=ANEW), LineStatus.MOOT, "granted_anew"),
        (UNDECIDED, state("w", access=HELD, status=GONE), LineStatus.MOOT, "worker_left"),
        (UNDECIDED, state("w", merged_into="v"), LineStatus.MOOT, "worker_merged"),
        (UNDECIDED, state("w", access=HELD, status=WorkerStatus.ON_LEAVE), UNDECIDED, None),
        (LineStatus.KEPT, state("w", access=[]), LineStatus.KEPT, None),
        (DECIDED, state("w", access=HELD), DECIDED, None),
        (DECIDED, state("w", access=HELD, decisions=[applied("ordered")]), ORDERED, None),
        (DECIDED, state("w", access=[]), LineStatus.REMOVAL_CONFIRMED, None),
        (ORDERED, state("w", access=HELD, decisions=[applied("ordered")]), ORDERED, None),
        # Said to be confirmed, but the portal still has it: it stays open.
        (ORDERED, state("w", access=HELD, decisions=[applied("confirmed")]), ORDERED, None),
        (
            ORDERED,
            state("w", access=[], decisions=[applied("confirmed")]),
            LineStatus.REMOVAL_CONFIRMED,
            None,
        ),
        (
            ORDERED,
            state("w", access=ANEW, decisions=[applied("confirmed")]),
            LineStatus.REMOVAL_CONFIRMED,
            None,
        ),
        (ORDERED, state("w", access=ANEW, decisions=[applied("ordered")]), ORDERED, None),
        (ORDERED, state("w", access=ANEW), LineStatus.MOOT, "granted_anew"),
        (
            ORDERED,
            state("w", access=HELD, decisions=[applied("moot")]),
            LineStatus.MOOT,
            "overtaken",
        ),
        # Who left with a removal under way is followed until the access is gone.
        (ORDERED, state("w", access=HELD, status=GONE), ORDERED, None),
        # Under an id that was merged away nothing is held, which is no evidence.
        (ORDERED, state("w", merged_into="v"), ORDERED, None),
        (ORDERED, state("v", aliases=("w",), access=HELD), ORDERED, None),
        (ORDERED, state("v", aliases=("w",)), LineStatus.REMOVAL_CONFIRMED, None),
        (UNDECIDED, state("v", aliases=("w",), access=HELD), LineStatus.MOOT, "worker_merged"),
        (LineStatus.MOOT, state("w", access=HELD), LineStatus.MOOT, None),
        (LineStatus.REMOVAL_CONFIRMED, state("w", access=HELD), LineStatus.REMOVAL_CONFIRMED, None),
    ],
)
def test_a_newer_state_moves_a_line_only_as_far_as_evidence_goes(
    status: LineStatus, now: WorkerState, becomes: LineStatus, moot: str | None
) -> None:
    outcome = follow(line(status), now, holdings_in(now), moved=False)

    assert (LINE_MOVES[status][outcome.move] if outcome else status) is becomes
    assert (outcome.moot if outcome else None) == moot


def test_a_second_move_makes_the_questions_of_the_first_moot_but_not_a_campaigns() -> None:
    now = state("w", access=HELD)

    micro = follow(line(UNDECIDED, campaign=None), now, holdings_in(now), moved=True)
    campaign = follow(line(UNDECIDED), now, holdings_in(now), moved=True)

    assert micro is not None
    assert micro.moot == "reviewed_again"
    assert campaign is None


STATUSES = st.sampled_from(LineStatus)


@given(st.lists(STATUSES, min_size=1))
def test_a_review_closes_only_when_every_line_is_kept_moot_or_confirmed_removed(
    lines: list[LineStatus],
) -> None:
    finished = {LineStatus.KEPT, LineStatus.MOOT, LineStatus.REMOVAL_CONFIRMED}

    assert (review_status(lines) is ReviewStatus.CLOSED) == (set(lines) <= finished)
    assert (review_status(lines) is ReviewStatus.OPEN) == (LineStatus.UNDECIDED in lines)


def test_only_a_person_keeps_and_nothing_leaves_an_end() -> None:
    assert LINE_MOVES[LineStatus.MOOT] == {}
    assert LINE_MOVES[LineStatus.REMOVAL_CONFIRMED] == {}
    for moves in LINE_MOVES.values():
        for move, becomes in moves.items():
            if becomes is LineStatus.KEPT:
                assert move is LineMove.KEEP
            if becomes is LineStatus.REMOVAL_DECIDED:
                assert move in (LineMove.REMOVE, LineMove.EXPIRE)


@pytest.mark.parametrize(
    ("who", "reviewer", "is_admin", "refused"),
    [
        ("sam", "sam", False, None),
        ("ada", "sam", True, None),
        ("ada", "sam", False, RefusalRule.NOT_REVIEWER),
        ("ada", None, False, RefusalRule.NOT_REVIEWER),
        ("ada", None, True, None),
        ("w", "sam", True, RefusalRule.SELF_REVIEW),
        ("w", "w", False, RefusalRule.SELF_REVIEW),
        (None, "sam", True, RefusalRule.REVIEWER_UNKNOWN),
    ],
)
def test_nobody_reviews_their_own_access_not_even_an_administrator(
    who: str | None, reviewer: str | None, is_admin: bool, refused: RefusalRule | None
) -> None:
    assert refuse_reviewer(who, "w", {reviewer}, is_admin=is_admin) is refused


def test_whoever_is_left_over_is_the_queue_and_says_so() -> None:
    assert choose_reviewer("w", "noridian", {}, [], TODAY) == Choice(None, "review_admin_queue")
