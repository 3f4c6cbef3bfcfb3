"""Charts: what is drawn is what is counted, and a line stands where the promise is."""

import pytest

from services.gateway.console.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    columns,
    lapses_by_portal,
    lapses_by_week,
    removal_spread,
)

BOUNDS = (1, 5, 15, 60, 240, 1440, 4320, None)


def removals(promised_hours: int, *numbers: int) -> dict[str, object]:
    spread = [
        {"up_to_minutes": bound, "removals": number}
        for bound, number in zip(BOUNDS, numbers, strict=True)
    ]
    return {"promised_hours": promised_hours, "spread": spread}


def test_columns_are_as_high_as_their_numbers_and_stay_in_the_box() -> None:
    chart = columns([("a", 4), ("b", 0), ("c", 2)])
    assert chart is not None
    heights = [column.height for column in chart.columns]
    assert heights == [max(heights), 0, max(heights) / 2]
    for column in chart.columns:
        assert LEFT <= column.x < column.x + column.width <= WIDTH - RIGHT
        assert TOP < column.y <= column.y + column.height <= HEIGHT - BOTTOM + 0.1


def test_nothing_is_drawn_of_nothing() -> None:
    assert columns([("a", 0)]) is None
    assert columns([]) is None
    assert removal_spread(removals(1, *[0] * 8)) is None
    assert lapses_by_week([], 60) is None


@pytest.mark.parametrize(
    ("hours", "within", "share"), [(1, 3, 1), (4, 4, 1), (24, 5, 1), (48, 6, 0.5), (200, 7, 0.5)]
)
def test_the_promise_stands_in_the_span_it_falls_into(
    hours: int, within: int, share: float
) -> None:
    chart = removal_spread(removals(hours, 3, 2, 1, 0, 0, 1, 0, 1))
    assert chart is not None
    assert chart.mark_x is not None
    step = (WIDTH - LEFT - RIGHT) / len(BOUNDS)
    assert chart.mark_x == pytest.approx(LEFT + (within + share) * step, abs=0.1)
    assert [column.label for column in chart.columns][:4] == [
        "≤ 1 min",
        "≤ 5 min",
        "≤ 15 min",
        "≤ 1 h",
    ]


def test_lapses_are_counted_by_week_and_what_has_lapsed_comes_first() -> None:
    weeks = [
        {"week": -1, "portal": "hub", "portal_name": "Hub", "logins": 2},
        {"week": 1, "portal": "hub", "portal_name": "Hub", "logins": 3},
        {"week": 1, "portal": "mac", "portal_name": None, "logins": 4},
    ]
    chart = lapses_by_week(weeks, 21)
    assert chart is not None
    assert [(column.label, column.number) for column in chart.columns] == [
        ("lapsed", 2),
        ("this week", 0),
        ("next", 7),
        ("+2 wk", 0),
    ]
    assert lapses_by_portal(weeks) == ([-1, 1], [("Hub", [2, 3]), ("mac", [0, 4])])
