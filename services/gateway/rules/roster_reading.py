"""HR's list of workers: what its columns mean, and what each line says, or why it cannot be read.

Only columns that a preset or the source's own mapping names are read; everything else in the file,
pay and social security numbers among it, is dropped here and named in the answer.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date

from services.gateway.rules.roster_columns import (
    DAYS,
    Preset,
    Says,
    SourceMapping,
    Standing,
    columns_of,
    plain,
)
from shared.contracts.envelope import EARLIEST_YEAR, LATEST_YEAR, check_id
from shared.contracts.hr import WorkerKind, is_npi
from shared.errors import Rejected
from shared.sheets.cells import day_in, id_in, is_computed, reads_as, unquoted
from shared.sheets.table import Row, Table, UnreadableSheet

TEXT_MAX_CHARACTERS = 200
"""Of every text in an HR event."""


SHOWN_CHARACTERS = 40
TOLD_LINES = 500
"""How often a reader is told how far a long list is read."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one line says of a worker; None where it says nothing. Days are the organization's.

    `status` is the word in the file that `standing` was read from.
    """

    line: int
    worker: str
    standing: Standing | None
    status: str | None
    name: str | None
    email: str | None
    title: str | None
    department: str | None
    sites: tuple[str, ...]
    supervisor: str | None
    kind: WorkerKind | None
    npi: str | None
    hired_on: date | None
    rehired_on: date | None
    terminated_on: date | None
    leave_from: date | None
    leave_until: date | None
    ends_on: date | None


@dataclass(frozen=True, slots=True)
class LineError:
    """Why a line was left out: where it stands, and what to do."""

    line: int | None
    column: str | None
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A whole list as it was understood.

    `present` are the workers it names, also on lines that were left out; `unnamed` is how many
    lines do not even tell whom they are about, so that somebody may seem missing who is not.
    `columns` are the headings that were read and what they say, `dropped` all others, `places`
    those that the directory does not know, each with how many lines name it.
    """

    lines: tuple[Line, ...]
    errors: tuple[LineError, ...]
    present: tuple[str, ...]
    unnamed: int
    columns: Mapping[str, str]
    dropped: tuple[str, ...]
    places: Mapping[str, int]
    notes: tuple[str, ...]


def read_lines(
    table: Table,
    preset: Preset,
    mapping: SourceMapping,
    sites: Mapping[str, str],
    known_ids: Collection[str],
    progress: Callable[[int], None] = lambda _: None,
) -> Reading:
    """Every line of a list that can be read, and for every other why not.

    Args:
        progress: is told now and then how many lines were looked at.
        sites: what the directory calls its places, names as well as ids, to their ids.
        known_ids: workers known so far, against ids that a spreadsheet has changed.

    Raises:
        UnreadableSheet: no column tells who the workers are, or in which order days are written.
    """
    return _Reader(table, preset, mapping, sites, known_ids, progress).read()


class _Reader:
    def __init__(
        self,
        table: Table,
        preset: Preset,
        mapping: SourceMapping,
        sites: Mapping[str, str],
        known_ids: Collection[str],
        progress: Callable[[int], None],
    ) -> None:
        self._table = table
        self._progress = progress
        self._mapping = mapping
        self._at = columns_of(table.columns, preset, mapping)
        self._statuses = {
            plain(word): standing for standing, words in preset.statuses.items() for word in words
        } | {plain(word): standing for word, standing in mapping.statuses.items()}
        self._kinds = {plain(word): kind for kind, words in preset.kinds.items() for word in words}
        self._kinds |= {plain(word): kind for word, kind in mapping.kinds.items()}
        self._sites: dict[str, tuple[str, ...]] = {
            plain(name): (id_,) for name, id_ in sites.items()
        }
        self._sites |= {plain(name): tuple(ids) for name, ids in mapping.sites.items()}
        self._known = set(known_ids)
        self._known_as = {_bare(id_): id_ for id_ in known_ids}
        self._places: dict[str, int] = {}
        self._errors: list[LineError] = []
        self._notes = list(table.notes)
        self._day_first = self._order_of_days(preset)

    def read(self) -> Reading:
        if Says.WORKER not in self._at:
            raise UnreadableSheet(
                "No column tells the workers' ids. The first line must name the columns, one of"
                " them an id that stays the same for a person, such as an employee number. Names"
                " and addresses change, so they are no ids."
            )
        if not self._table.rows:
            raise UnreadableSheet(
                "There are columns and no lines below them, so nobody is named. Export again, with"
                " workers of every status."
            )
        lines: list[Line] = []
        present: dict[str, Row] = {}
        bare: dict[str, str] = {}
        unnamed = 0
        for number, row in enumerate(self._table.rows):
            if number % TOLD_LINES == 0:
                self._progress(number)
            try:
                worker = self._worker(row)
            except UnreadableSheet as error:
                unnamed += 1
                self._note_error(row, error)
                continue
            twin = present.setdefault(worker, row)
            if twin is not row:
                self._twins(worker, twin, row, lines)
                continue
            alike = bare.setdefault(_bare(worker), worker)
            if alike != worker and not {alike, worker} <= self._known:
                self._alike(alike, worker, present[alike], row, lines)
                continue
            try:
                lines.append(self._read_line(worker, row))
            except UnreadableSheet as error:
                self._note_error(row, error)
        read = {self._table.columns[at]: field.value for field, at in self._at.items()}
        return Reading(
            tuple(lines),
            tuple(self._errors),
            tuple(present),
            unnamed,
            read,
            tuple(column for column in self._table.columns if column not in read),
            self._places,
            tuple(self._notes),
        )

    def _note_error(self, row: Row, error: UnreadableSheet) -> None:
        self._errors.append(
            LineError(error.line or row.line, error.column, "unreadable_line", str(error))
        )

    def _twins(self, worker: str, first: Row, second: Row, lines: list[Line]) -> None:
        """The same id twice: once is enough if both say the same, else neither counts."""
        if first.cells == second.cells:
            self._notes.append(f"Lines {first.line} and {second.line} say the same of {worker}.")
            return
        column = self._column(Says.WORKER)
        lines[:] = [line for line in lines if line.worker != worker]
        detail = (
            f"Lines {first.line} and {second.line}, column {column!r}: both are about {worker} and"
            " say different things, so neither was read. Keep the one that is right."
        )
        self._errors.append(LineError(second.line, column, "duplicate_id", detail))

    def _alike(self, one: str, other: str, first: Row, second: Row, lines: list[Line]) -> None:
        """Two ids that differ in what spreadsheets change: whose they are, nobody can tell."""
        column = self._column(Says.WORKER)
        lines[:] = [line for line in lines if line.worker != one]
        detail = (
            f"Lines {first.line} and {second.line}, column {column!r}: {one} and {other} differ in"
            " zeros or capitals only, so neither was read. Are they one person? Then keep one line;"
            " else say how many digits an id has, or give one of them another id."
        )
        self._errors.append(LineError(second.line, column, "ids_alike", detail))

    def _worker(self, row: Row) -> str:
        column = self._column(Says.WORKER)
        id_ = id_in(row, self._at[Says.WORKER], column)
        where = f"Line {row.line}, column {column!r}"
        if not id_:
            raise UnreadableSheet(f"{where}: the worker's id is missing.", row.line, column)
        digits = self._mapping.id_digits
        if digits is not None and id_.isdigit():
            id_ = id_.zfill(digits)
        try:
            check_id(id_, "the worker's id")
        except Rejected as error:
            raise UnreadableSheet(f"{where}: {error.detail}.", row.line, column) from error
        known = self._known_as.get(_bare(id_))
        if id_ not in self._known and known is not None:
            raise UnreadableSheet(
                f"{where}: {id_} is known as {known}. If a spreadsheet dropped zeros or changed"
                " letters, format the column as text and export again, or say how many digits an"
                " id has.",
                row.line,
                column,
            )
        return id_

    def _read_line(self, worker: str, row: Row) -> Line:
        days = {field: self._day(row, field) for field in DAYS}
        word = self._text(row, Says.STATUS)
        first, last = self._text(row, Says.FIRST_NAME), self._text(row, Says.LAST_NAME)
        joined = " ".join(filter(None, (first, last)))
        return Line(
            line=row.line,
            worker=worker,
            standing=self._standing(row),
            status=word or self._text(row, Says.EMPLOYMENT_STATUS),
            name=joined or _natural(self._text(row, Says.NAME)),
            email=self._text(row, Says.EMAIL),
            title=self._text(row, Says.TITLE),
            department=self._text(row, Says.DEPARTMENT),
            sites=self._sites_in(row),
            supervisor=self._text(row, Says.SUPERVISOR),
            kind=self._kinds.get(plain(self._text(row, Says.KIND) or "")),
            npi=self._npi(row),
            hired_on=days[Says.HIRED_ON],
            rehired_on=days[Says.REHIRED_ON],
            terminated_on=days[Says.TERMINATED_ON],
            leave_from=days[Says.LEAVE_FROM],
            leave_until=days[Says.LEAVE_UNTIL],
            ends_on=days[Says.ENDS_ON],
        )

    def _standing(self, row: Row) -> Standing | None:
        """From the status; a system's second one, in the organization's words, may say more."""
        word = self._text(row, Says.STATUS)
        second = self._statuses.get(plain(self._text(row, Says.EMPLOYMENT_STATUS) or ""))
        if word is None:
            return second
        standing = self._statuses.get(plain(word))
        if standing is None:
            column = self._column(Says.STATUS)
            raise UnreadableSheet(
                f"Line {row.line}, column {column!r}: {word[:SHOWN_CHARACTERS]!r} is no status that"
                " is known. Say whether it means active, pending, leave or left.",
                row.line,
                column,
            )
        if standing is Standing.ACTIVE and second in (Standing.LEAVE, Standing.LEFT):
            return second
        return standing

    def _sites_in(self, row: Row) -> tuple[str, ...]:
        text = self._text(row, Says.SITE)
        if text is None:
            return ()
        whole = self._sites.get(plain(text))
        if whole is not None:
            return whole
        for divider in (";", "|", "/", ","):
            parts = [self._sites.get(plain(part)) for part in text.split(divider)]
            if len(parts) > 1 and all(part is not None for part in parts):
                return tuple(dict.fromkeys(id_ for part in parts if part for id_ in part))
        self._places[text] = self._places.get(text, 0) + 1
        return ()

    def _npi(self, row: Row) -> str | None:
        value = self._text(row, Says.NPI)
        if value is not None and not is_npi(value):
            column = self._column(Says.NPI)
            raise UnreadableSheet(
                f"Line {row.line}, column {column!r}: {value[:SHOWN_CHARACTERS]!r} is no NPI: ten"
                " digits whose last is a check digit.",
                row.line,
                column,
            )
        return value

    def _text(self, row: Row, field: Says) -> str | None:
        if field not in self._at:
            return None
        # Line breaks and no-break spaces come with cells that people typed.
        value = " ".join(unquoted(row.cells[self._at[field]]).split())
        if len(value) > TEXT_MAX_CHARACTERS:
            why = f"at most {TEXT_MAX_CHARACTERS} characters are allowed. Is a quote missing?"
        elif not value.isprintable():
            why = "the cell holds characters that cannot be seen. Type it anew."
        elif is_computed(value):
            why = "the cell holds a formula, or the error of one. Save values only."
        else:
            return value or None
        column = self._column(field)
        raise UnreadableSheet(f"Line {row.line}, column {column!r}: {why}", row.line, column)

    def _day(self, row: Row, field: Says) -> date | None:
        if field not in self._at:
            return None
        column = self._column(field)
        cell = row.cells[self._at[field]]
        if cell.isdigit():
            raise UnreadableSheet(
                f"Line {row.line}, column {column!r}: {cell} is a day as Excel counts it. Format"
                " the column as a date and save again.",
                row.line,
                column,
            )
        day = day_in(row, self._at[field], column, day_first=bool(self._day_first))
        if day is not None and not EARLIEST_YEAR <= day.year <= LATEST_YEAR:
            raise UnreadableSheet(
                f"Line {row.line}, column {column!r}: the year {day.year} is a mistake.",
                row.line,
                column,
            )
        return day

    def _order_of_days(self, preset: Preset) -> bool | None:
        """Whether the day comes first in days such as 3/4/2026; None where there are none.

        What the source's mapping says counts, then the file itself, then the preset. A file that
        leaves it open, without either, is asked about rather than guessed at.
        """
        if self._mapping.day_first is not None:
            return self._mapping.day_first
        seen: dict[bool, tuple[Row, str]] = {}
        open_: tuple[Row, str] | None = None
        for field in DAYS:
            if field not in self._at:
                continue
            for row in self._table.rows:
                orders = reads_as(row.cells[self._at[field]])
                if orders is not None and len(orders) == 1:
                    seen.setdefault(next(iter(orders)), (row, self._column(field)))
                elif orders is not None:
                    open_ = open_ or (row, self._column(field))
        if len(seen) == 2:
            (first, column), (second, _) = seen[True], seen[False]
            raise UnreadableSheet(
                f"Line {first.line}, column {column!r}, has the day before the month, line"
                f" {second.line} the month before the day. Write days as 2026-03-31.",
                first.line,
                column,
            )
        if seen:
            return next(iter(seen))
        if open_ is None or preset.day_first is not None:
            return preset.day_first
        row, column = open_
        raise UnreadableSheet(
            f"Line {row.line}, column {column!r}: nothing in the file tells whether the day or the"
            " month comes first. Say which (day_first), or write days as 2026-03-31.",
            row.line,
            column,
        )

    def _column(self, field: Says) -> str:
        return self._table.columns[self._at[field]]


def _bare(id_: str) -> str:
    """An id without what spreadsheets change: leading zeros and case."""
    return id_.casefold().lstrip("0")


def _natural(name: str | None) -> str | None:
    """`Doe, Jane` as `Jane Doe`."""
    if name is None or name.count(",") != 1:
        return name
    last, first = (part.strip() for part in name.split(","))
    return f"{first} {last}" if first and last else name
