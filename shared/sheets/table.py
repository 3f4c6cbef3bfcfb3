"""A table that was read: its columns, its rows with the lines they stand on, and what was noted."""

from shared.values import value_class

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_ROWS = 100_000
MAX_COLUMNS = 200
MAX_CELL_CHARACTERS = 2_000


class UnreadableSheet(Exception):
    """What cannot be read, told with its line and column for the person who has the file.

    `line` and `column` are set where a single cell is to blame.
    """

    def __init__(self, detail: str, line: int | None = None, column: str | None = None) -> None:
        super().__init__(detail)
        self.line = line
        self.column = column


@value_class(frozen=True, slots=True)
class Row:
    """One row. `line` is where it begins in the file, counted from 1; `dates` are cells that a
    workbook holds as dates, whatever they may have been when somebody typed them.
    """

    line: int
    cells: tuple[str, ...]
    dates: frozenset[int] = frozenset()


@value_class(frozen=True, slots=True)
class Table:
    """Every row has as many cells as there are columns; cells are without blanks around them."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def arrange(found: list[Row], notes: list[str]) -> Table:
    """A table of rows of whatever length, the first of which with two cells names the columns.

    Raises:
        UnreadableSheet: there is no such row, a row is longer than the header, or a limit is
            exceeded.
    """
    start = next((n for n, row in enumerate(found) if sum(map(bool, row.cells)) >= 2), None)
    if start is None:
        raise UnreadableSheet(
            "No line has two columns, so this is no table. Export it as CSV or XLSX, with the names"
            " of the columns in the first line."
        )
    header = found[start]
    width = max(n for n, cell in enumerate(header.cells) if cell) + 1
    if width > MAX_COLUMNS:
        raise UnreadableSheet(f"Line {header.line} has {width} columns; {MAX_COLUMNS} are allowed.")
    columns = tuple(cell or f"column {n + 1}" for n, cell in enumerate(header.cells[:width]))
    _refuse_twins(columns, header.line)
    if start:
        notes = [*notes, f"The columns are named in line {header.line}."]
    rows = [_fit(row, columns) for row in found[start + 1 :] if any(row.cells)]
    if len(rows) > MAX_ROWS:
        raise UnreadableSheet(f"{len(rows)} rows; at most {MAX_ROWS} can be read at a time.")
    return Table(columns, tuple(rows), tuple(notes))


def _refuse_twins(columns: tuple[str, ...], line: int) -> None:
    seen: dict[str, str] = {}
    for column in columns:
        if column.casefold() in seen:
            raise UnreadableSheet(f"Line {line} names two columns {column!r}; rename one of them.")
        seen[column.casefold()] = column


def _fit(row: Row, columns: tuple[str, ...]) -> Row:
    if any(row.cells[len(columns) :]):
        filled = max(n for n, cell in enumerate(row.cells) if cell) + 1
        raise UnreadableSheet(
            f"Line {row.line} has {filled} cells, but there are {len(columns)} columns. Is a"
            " delimiter or a line break in a cell that is not quoted?"
        )
    for column, cell in zip(columns, row.cells, strict=False):
        if len(cell) > MAX_CELL_CHARACTERS:
            raise UnreadableSheet(
                f"Line {row.line}, column {column!r}: {len(cell)} characters;"
                f" at most {MAX_CELL_CHARACTERS} are allowed. Is a quote missing?"
            )
    padding = ("",) * (len(columns) - len(row.cells))
    return Row(row.line, (*row.cells[: len(columns)], *padding), row.dates)
