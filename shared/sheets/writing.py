"""Tables as CSV for spreadsheets, which must not compute what a cell says."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from shared.sheets.cells import quoted

UTF8_MARK = b"\xef\xbb\xbf"
"""Where a file begins with it, Excel reads names with accents right."""


def csv_rows(rows: Iterable[Sequence[Any]], *, mark: bool = False) -> bytes:
    """Rows of CSV (RFC 4180) in UTF-8, none of whose cells is a formula; None is an empty cell.

    Args:
        mark: whether these are the first of a file.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows(
        [quoted("" if cell is None else str(cell)) for cell in row] for row in rows
    )
    return (UTF8_MARK if mark else b"") + text.getvalue().encode(errors="replace")


def write_csv(columns: Sequence[Any], rows: Iterable[Sequence[Any]]) -> bytes:
    """A whole file that Excel opens with accents right."""
    return csv_rows([columns, *rows], mark=True)
