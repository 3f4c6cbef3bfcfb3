"""What people read: words stay whole, times are those of the clock on the wall."""

import io
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from services.cli.printing import Rows, at_this_clock, shared_out

OPERATION = "60de4706-c7fd-574b-bddf-19405aa3b610"


def printed(rows: Rows, *, width: int, terminal: bool = True) -> list[str]:
    file = io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=terminal, color_system=None, soft_wrap=True
    )
    console.print(rows)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def work() -> Rows:
    rows = Rows("Operation", "What", "Who", "Note", "Due")
    rows.add_row(OPERATION, "revoke", "Dana Kowalczyk", "", "2026-11-25T17:04:29.15Z")
    return rows


@pytest.fixture(autouse=True, scope="module")
def seattle() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "America/Los_Angeles")
        time.tzset()
        yield
    time.tzset()


def test_a_wide_terminal_shows_a_line_per_row_without_columns_that_say_nothing() -> None:
    assert printed(work(), width=120) == [
        "Operation                             What    Who             Due",
        f"{OPERATION}  revoke  Dana Kowalczyk  2026-11-25 09:04 PST",
    ]


def test_words_wrap_between_and_never_within() -> None:
    lines = printed(work(), width=72)
    assert lines[1].startswith(f"{OPERATION}  revoke  Dana")
    assert {"Kowalczyk", "09:04"} <= set(lines[2].split())


def test_a_terminal_too_narrow_for_an_id_shows_a_block_per_row() -> None:
    assert printed(work(), width=50) == [
        f"Operation  {OPERATION}",
        "What       revoke",
        "Who        Dana Kowalczyk",
        "Due        2026-11-25 09:04 PST",
        "",
    ]


def test_another_program_gets_a_line_per_row_whatever_the_width() -> None:
    assert printed(work(), width=20, terminal=False) == printed(work(), width=120)


def test_nothing_is_taken_for_markup() -> None:
    rows = Rows("Step")
    rows.add_row("[x] done [red]now[/red]")
    assert printed(rows, width=80)[1] == "[x] done [red]now[/red]"


def test_an_instant_within_a_sentence_is_told_by_this_clock_and_a_day_stays_one() -> None:
    said = "LATE 2026-11-25T08:00:00+00:00, was due 2026-07-01T07:00:00Z, hired 2026-07-01"
    assert at_this_clock(said) == (
        "LATE 2026-11-25 00:00 PST, was due 2026-07-01 00:00 PDT, hired 2026-07-01"
    )


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 80)), min_size=1, max_size=8),
    st.integers(0, 200),
)
def test_widths_fill_the_room_as_far_as_words_need_it(
    columns: list[tuple[int, int]], spare: int
) -> None:
    least = [words for words, _ in columns]
    most = [words + more for words, more in columns]
    widths = shared_out(least, most, sum(least) + spare)
    assert all(low <= width <= high for low, width, high in zip(least, widths, most, strict=True))
    assert sum(widths) <= sum(least) + spare
    unmet = sum(most) - sum(widths)
    assert unmet == 0 or sum(least) + spare - sum(widths) == 0
