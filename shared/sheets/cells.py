"""What single cells say: ids, days, instants; and cells that are safe to open in a spreadsheet."""

import re
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from shared.sheets.table import Row, UnreadableSheet

FORMULA_STARTS = "=+-@|%"
"""What some spreadsheet takes for the beginning of a formula or a command, also after blanks."""

_COMPUTED = re.compile(rf"'*([\t\r\n]|\s*[{re.escape(FORMULA_STARTS)}])")

_SCIENTIFIC = re.compile(r"\d+[.,]\d+[eE][+-]?\d{1,3}|\d+[eE]\+\d{2,3}")
_NUMBER = re.compile(r"\d+\.0+|\d{1,3}(,\d{3})+(\.\d+)?")
_KEPT_AS_TEXT = re.compile(r"'(?=[\w])|=\"(?P<id>[^\"]*)\"")
_COMPUTED_ID = re.compile(r"[=@].*|#(REF|N/A|VALUE|NAME|DIV/0|NUM|NULL)[!?]?", re.S)
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MANGLED = re.compile(rf"\d{{1,2}}-({'|'.join(_MONTHS)})|({'|'.join(_MONTHS)})-\d{{2}}", re.I)
_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_SLASHED = re.compile(r"(\d{1,2})[/.](\d{1,2})[/.](\d{4}|\d{2})")
_NAMED = re.compile(r"(\d{1,2})[ -]([A-Za-z]{3})[a-z]*\.?[ ,-]+(\d{4}|\d{2})")
_MONTH_FIRST = re.compile(r"([A-Za-z]{3})[a-z]*\.? (\d{1,2}),? +(\d{4})")
_TIME = re.compile(r"[ T,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)? ?([AaPp])?\.?[Mm]?\.?")
_OFFSET = re.compile(r" ?(Z|UTC|GMT|[+-]\d{2}:?\d{2})$")
NEVER = frozenset({"", "-", "--", "–", "n/a", "na", "none", "never", "never logged in", "null"})


def quoted(cell: str) -> str:
    """A cell that a spreadsheet shows and does not compute: a quote before it makes it text."""
    return f"'{cell}" if _COMPUTED.match(cell) else cell


def unquoted(cell: str) -> str:
    """The cell that `quoted` made this of."""
    return cell[1:] if cell[:1] == "'" and _COMPUTED.match(cell, 1) else cell


def id_in(row: Row, index: int, column: str) -> str:
    """A login or worker id.

    Raises:
        UnreadableSheet: a spreadsheet has turned it into a number or a date, or it is a formula.
    """
    cell = _as_typed(unquoted(row.cells[index]))
    where = f"Line {row.line}, column {column!r}"
    if cell and set(cell) == {"#"}:
        raise UnreadableSheet(
            f"{where}: the cell shows only #; make the column wider and save.", row.line, column
        )
    if _SCIENTIFIC.fullmatch(cell):
        raise UnreadableSheet(
            f"{where}: {cell} is an id that Excel wrote as a rounded number. Take it from its"
            " source again, with the column formatted as text.",
            row.line,
            column,
        )
    if _NUMBER.fullmatch(cell):
        raise UnreadableSheet(
            f"{where}: {cell} is an id that a spreadsheet wrote as a number. Take it from its"
            " source again, with the column formatted as text.",
            row.line,
            column,
        )
    if is_computed(cell):
        raise UnreadableSheet(
            f"{where}: the cell holds a formula, or the error of one. Save values only.",
            row.line,
            column,
        )
    if index in row.dates or _MANGLED.fullmatch(cell):
        raise UnreadableSheet(
            f"{where}: {cell} looks like an id that Excel turned into a date. Take it from its"
            " source again, with the column formatted as text.",
            row.line,
            column,
        )
    return cell


def _as_typed(cell: str) -> str:
    """An id without what people write around it so that a spreadsheet keeps its zeros."""
    kept = _KEPT_AS_TEXT.match(cell)
    if kept is None:
        return cell
    return cell[1:] if kept["id"] is None else kept["id"].strip()


def is_computed(cell: str) -> bool:
    """Whether a cell holds a formula as it was typed, or the error that one came to."""
    return _COMPUTED_ID.fullmatch(cell) is not None


def day_in(row: Row, index: int, column: str, *, day_first: bool = False) -> date | None:
    """A calendar day; None where the cell says that there is none.

    Args:
        day_first: 3/4/2026 is the third of April, not the fourth of March.

    Raises:
        UnreadableSheet: it is no day.
    """
    at = _parsed(row, index, column, day_first)
    return None if at is None else at[0]


def instant_in(row: Row, index: int, column: str, zone: ZoneInfo) -> datetime | None:
    """An instant in UTC: what has no zone is on the wall clock of `zone`, a day its midnight.

    Raises:
        UnreadableSheet: it is no instant.
    """
    at = _parsed(row, index, column)
    if at is None:
        return None
    day, clock, offset = at
    if offset is not None:
        return datetime.combine(day, clock, tzinfo=offset.tzinfo).astimezone(UTC)
    return datetime.combine(day, clock, tzinfo=zone).astimezone(UTC)


def reads_as(cell: str) -> frozenset[bool] | None:
    """In which orders a day written with slashes or dots can be meant: True for the day first.

    None for what is no such day; both orders, unless one of the first two numbers is no month or
    they are equal, so that the order makes no difference (then None as well).
    """
    parts = _SLASHED.match(unquoted(cell))
    if parts is None or parts[1] == parts[2]:
        return None
    first, second = int(parts[1]), int(parts[2])
    return frozenset(
        day_first for day_first, month in ((False, first), (True, second)) if 1 <= month <= 12
    )


def _parsed(
    row: Row, index: int, column: str, day_first: bool = False
) -> tuple[date, time, datetime | None] | None:
    cell = unquoted(row.cells[index])
    if cell.casefold() in NEVER:
        return None
    found = _read_instant(cell, day_first)
    if found is None:
        raise UnreadableSheet(
            f"Line {row.line}, column {column!r}: {cell!r} is no day such as 2026-03-31 or"
            f" {'31/3/2026' if day_first else '3/31/2026'}.",
            row.line,
            column,
        )
    return found


def _read_instant(cell: str, day_first: bool) -> tuple[date, time, datetime | None] | None:
    offset = None
    if (zone := _OFFSET.search(cell)) and ":" in cell:
        sign = zone[1].replace("UTC", "+00:00").replace("GMT", "+00:00").replace("Z", "+00:00")
        offset = datetime.fromisoformat(f"2000-01-01T00:00:00{sign}")
        cell = cell[: zone.start()]
    try:
        for pattern, order in (
            (_ISO, (1, 2, 3)),
            (_SLASHED, (3, 2, 1) if day_first else (3, 1, 2)),
            (_NAMED, (3, 2, 1)),
            (_MONTH_FIRST, (3, 1, 2)),
        ):
            if parts := pattern.match(cell):
                year, month, day = (parts[position] for position in order)
                clock = _clock(cell[parts.end() :])
                if clock is None:
                    return None
                return date(_year(year), _month(month), int(day)), clock, offset
    except ValueError:
        return None
    return None


def _year(text: str) -> int:
    return int(text) + (2000 if len(text) == 2 else 0)


def _month(text: str) -> int:
    return int(text) if text.isdigit() else _MONTHS.index(text.casefold()) + 1


def _clock(rest: str) -> time | None:
    if not rest.strip():
        return time()
    parts = _TIME.fullmatch(rest)
    if parts is None:
        return None
    hour = int(parts[1])
    if parts[4]:
        hour = hour % 12 + (12 if parts[4] in "Pp" else 0)
    return time(hour, int(parts[2]), int(parts[3] or 0))
