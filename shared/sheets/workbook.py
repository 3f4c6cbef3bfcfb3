"""Tables in workbooks (XLSX).

openpyxl is loaded where a workbook is read or written: every command and two services would take a
tenth of a second longer to start for files that few of them see.
"""

import io
import zipfile
from datetime import date, datetime
from typing import Any

from shared.sheets.table import (
    MAX_COLUMNS,
    MAX_ROWS,
    Row,
    Table,
    UnreadableSheet,
    arrange,
)

MAX_UNPACKED_BYTES = 100 * 1024 * 1024
EXCEL_DIGITS = 15
"""Of longer numbers, Excel keeps only so many digits."""


def read_workbook(content: bytes, notes: list[str]) -> Table:
    """The table on the first sheet that has one.

    Raises:
        UnreadableSheet: it is no workbook, is too large, or has no table.
    """
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES:
            raise UnreadableSheet("The workbook unpacks to more than 100 MB.")
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        sheets = [(sheet.title, _rows(sheet)) for sheet in book.worksheets]
    except UnreadableSheet:
        raise
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise UnreadableSheet(
            "This is no workbook that can be read (.xlsx). Save it as CSV UTF-8 and try again."
        ) from error
    filled = [(title, rows) for title, rows in sheets if any(any(row.cells) for row in rows)]
    if not filled:
        raise UnreadableSheet("Every sheet of the workbook is empty.")
    title, rows = filled[0]
    if len(filled) > 1:
        others = ", ".join(repr(name) for name, _ in filled[1:])
        notes = [*notes, f"Sheet {title!r} was read, and not {others}."]
    return arrange(rows, notes)


def _rows(sheet: Any) -> list[Row]:
    rows = []
    for line, values in enumerate(
        sheet.iter_rows(values_only=True, max_col=MAX_COLUMNS + 1, max_row=MAX_ROWS + 100), start=1
    ):
        dates = frozenset(n for n, value in enumerate(values) if isinstance(value, date))
        cells = tuple(_text(value, line, column) for column, value in enumerate(values, start=1))
        rows.append(Row(line, cells, dates))
    return rows


def _text(value: Any, line: int, column: int) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        at_midnight = value.hour == value.minute == value.second == 0
        return value.date().isoformat() if at_midnight else value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int | float):
        whole = int(value)
        if abs(whole) >= 10**EXCEL_DIGITS:
            raise UnreadableSheet(
                f"Line {line}, column {column}: {value} is a number of more than {EXCEL_DIGITS}"
                " digits, of which Excel has lost the last. Enter it as text."
            )
        return str(whole) if value == whole else repr(value)
    return str(value).strip()


def write_workbook(columns: list[str], rows: list[list[str]]) -> bytes:
    """A workbook with one sheet, every cell of which is text: nothing is computed or mangled."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    sheet = book.create_sheet("Access")
    for values in (columns, *rows):
        line = []
        for value in values:
            cell = WriteOnlyCell(sheet, value=value)
            cell.data_type = "s"
            cell.number_format = "@"
            line.append(cell)
        sheet.append(line)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()
