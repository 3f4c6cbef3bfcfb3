"""Tables for spreadsheets, which must not compute what a cell says."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

FORMULAS = ("=", "+", "-", "@", "|", "%")
"""What some spreadsheet takes for the beginning of a formula or a command."""

UTF8_MARK = b"\xef\xbb\xbf"
"""Where a file begins with it, Excel reads names with accents right."""


def csv_rows(rows: Iterable[Sequence[Any]], *, mark: bool = False) -> bytes:
    """Rows of CSV (RFC 4180) in UTF-8, none of whose cells is a formula.

    Args:
        mark: whether these are the first of a file.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows([[harmless(cell) for cell in row] for row in rows])
    return (UTF8_MARK if mark else b"") + text.getvalue().encode(errors="replace")


def harmless(cell: Any) -> str:
    """A cell that a spreadsheet shows as text: an apostrophe goes before what begins a formula."""
    text = "" if cell is None else str(cell)
    begins = text.lstrip()[:1] in FORMULAS or text[:1] in ("\t", "\r", "\n")
    return f"'{text}" if begins else text
