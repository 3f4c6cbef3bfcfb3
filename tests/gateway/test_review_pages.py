"""The campaign's chart stays in its box and tells the same as the numbers; cells tell instants."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.console.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, burn_down
from services.gateway.console.reviews import narrower
from services.gateway.console.view import make_environment

OPENED = datetime(2026, 11, 2, 16, tzinfo=UTC)
ZONE = ZoneInfo("America/Los_Angeles")


def campaign(lines: int, undecided: int, **more: Any) -> dict[str, Any]:
    due_at = (OPENED + timedelta(days=14)).isoformat()
    return {
        "lines": lines,
        "undecided": undecided,
        "moot": 0,
        "opened_at": OPENED.isoformat(),
        "due_at": due_at,
        "closed_at": None,
        **more,
    }


def progress(left: list[int], done_in_days: float | None, now: datetime) -> dict[str, Any]:
    done_at = None if done_in_days is None else (now + timedelta(days=done_in_days)).isoformat()
    days = [(OPENED + timedelta(days=n)).date().isoformat() for n in range(len(left))]
    return {
        "remaining": [{"day": day, "lines": n} for day, n in zip(days, left, strict=True)],
        "forecast": {"done_at": done_at},
    }


@given(
    st.integers(1, 1_000_000),
    st.lists(st.floats(0, 1), max_size=20),
    st.none() | st.floats(0, 10_000),
    st.floats(0, 400),
)
def test_the_chart_of_any_campaign_stays_in_its_box_and_never_goes_back(
    lines: int, shares: list[float], done_in_days: float | None, day: float
) -> None:
    left = sorted((int(lines * share) for share in shares), reverse=True)
    now = OPENED + timedelta(days=day)
    undecided = left[-1] if left else lines

    chart = burn_down(campaign(lines, undecided), progress(left, done_in_days, now), now, ZONE)

    assert chart is not None
    points = [
        tuple(map(float, point.split(",")))
        for line in (chart.left, chart.ahead)
        for point in line.split()
    ]
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted(y for _, y in points)
    assert LEFT <= chart.due_x <= WIDTH - RIGHT


def test_a_campaign_that_asks_nothing_has_no_chart() -> None:
    assert burn_down(campaign(3, 0, moot=3), progress([], None, OPENED), OPENED, ZONE) is None


def test_a_last_login_is_told_in_the_zone_and_how_it_is_known() -> None:
    page = make_environment().get_template("review_line_cells.html")
    login = {
        "last_login_at": "2026-11-22T10:00:00Z",
        "last_login_grade": "roster",
        "last_login_source": "roster-9",
        "lapses_at": None,
    }

    line: dict[str, Any] = {"login": login, "duties": [], "authorized_by": None}

    told = page.render(line=line, names={"job_duty": {}}, zone=ZONE, now=OPENED)

    assert "Sun 22 Nov 02:00" in told
    assert "on the portal&#39;s own list" in told


def test_who_would_decide_on_too_many_lines_is_offered_parts_of_them_instead() -> None:
    lines = [{"portal": each, "function": "eligibility"} for each in ("noridian", "availity")]
    page = make_environment().get_template("review_bulk.html")
    where = {"advice": "keep"}
    context = page.new_context(
        {
            "found": {"count": 1_001, "lines": lines},
            "narrower": narrower(where, lines),
            "where": where,
            "decision": "keep",
            "names": {"portal": {"availity": "Availity"}},
            "problem_notice": lambda _problem: "",
        }
    )

    told = "".join(page.blocks["body"](context))

    assert "Keep more than 1,000 lines at once" in told
    assert (
        '<a href="/reviews/bulk?advice=keep&amp;portal=availity&amp;decision=keep">Availity' in told
    )
    assert "<form" not in told
    assert narrower({"portal": "noridian"}, lines) == [
        {"portal": "noridian", "function": "eligibility"}
    ]
