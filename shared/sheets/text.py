"""Tables in text: delimited files of every dialect, and what was copied from a screen."""

import codecs
import csv
import io
import re

from shared.sheets.table import Row, Table, UnreadableSheet, arrange

DELIMITERS = (",", ";", "\t", "|")
SNIFFED_LINES = 50
SNIFFED_BYTES = 1_000
AS_UTF8 = "Save the file as CSV UTF-8 and try again."
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}")
"""A letter in UTF-8, which hardly any text in Windows-1252 looks like."""
_GAP = re.compile(r"\s{2,}")
_RULE = re.compile(r"[\s|+:=-]+")


def decode(content: bytes, notes: list[str]) -> str:
    """Text in UTF-8, in UTF-16, or else in Windows-1252, which is noted.

    Raises:
        UnreadableSheet: it is none of these.
    """
    try:
        text = content.decode(_encoding(content))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        if error.encoding.startswith("utf-16"):
            raise UnreadableSheet(
                f"Line {line}: the file says that it is UTF-16 and is not. {AS_UTF8}"
            ) from error
        if _MULTIBYTE.search(content):
            raise UnreadableSheet(
                f"Line {line} is not UTF-8, although others are: were two files put together?"
                f" {AS_UTF8}"
            ) from error
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise UnreadableSheet(
                f"Line {line} holds a byte that is neither UTF-8 nor Windows-1252. {AS_UTF8}"
            ) from error
        notes.append("It is not UTF-8, so it was read as Windows-1252: look at accented names.")
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        raise UnreadableSheet(f"Line {line} holds a NUL character; this is no text file. {AS_UTF8}")
    return text


def _encoding(content: bytes) -> str:
    """By its mark or, in UTF-16 without one, by the zeros beside ASCII."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = content[:SNIFFED_BYTES]
    zeros = [start[odd::2].count(0) * 4 > len(start) for odd in (False, True)]
    return {(False, True): "utf-16-le", (True, False): "utf-16-be"}.get(
        (zeros[0], zeros[1]), "utf-8-sig"
    )


def read_text(text: str, notes: list[str]) -> Table:
    """The table in a text, delimited or laid out in columns.

    Raises:
        UnreadableSheet: there is none, or a line cannot be read.
    """
    said = re.match(r"sep=(.)\r?\n", text)
    if said:
        rows = _delimited(text[said.end() :], said[1], first_line=2)
        return arrange(rows, notes)
    delimiter = _delimiter(text)
    if delimiter is not None and not _is_laid_out_around(text, delimiter):
        return arrange(_without_rules(_delimited(text, delimiter, first_line=1)), notes)
    return arrange(_laid_out(text), [*notes, "It was read as columns of text."])


def _delimiter(text: str) -> str | None:
    """The delimiter by which most lines have equally many cells, two or more."""
    best: tuple[int, int, str] | None = None
    sample = "".join(text.splitlines(keepends=True)[:SNIFFED_LINES])
    for delimiter in DELIMITERS:
        widths: dict[int, int] = {}
        for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
            if len(row) > 1:
                widths[len(row)] = widths.get(len(row), 0) + 1
        if widths:
            width, lines = max(widths.items(), key=lambda found: (found[1], found[0]))
            if best is None or (lines, width) > best[:2]:
                best = (lines, width, delimiter)
    return best[2] if best else None


def _is_laid_out_around(text: str, delimiter: str) -> bool:
    """Whether columns of text begin before the first line with the delimiter, and go on.

    What looks like a delimiter is within a cell then, as in "eligibility; benefits".
    """
    lines = [line.strip() for line in text.splitlines()[:SNIFFED_LINES] if line.strip()]
    before = next((at for at, line in enumerate(lines) if delimiter in line), len(lines))
    widths = [len(_GAP.split(line)) for line in lines]
    head = next((width for width in widths[:before] if width > 1), 0)
    return widths.count(head) > 1


def _delimited(text: str, delimiter: str, *, first_line: int) -> list[Row]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    rows: list[Row] = []
    line = first_line
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return rows
        except csv.Error as error:
            at = reader.line_num + first_line - 1
            raise UnreadableSheet(
                f"Line {at}: {error}. A cell that begins with a quote must end with one, and quotes"
                " within it are doubled."
            ) from error
        rows.append(Row(line, tuple(cell.strip() for cell in cells)))
        line = reader.line_num + first_line


def _without_rules(rows: list[Row]) -> list[Row]:
    """Rows as Markdown and terminals draw them, without ruled lines and outer bars."""
    kept = [row for row in rows if not _RULE.fullmatch("".join(row.cells) or " ")]
    inner = [row for row in kept if len(row.cells) > 2]
    if inner and all(not row.cells[0] and not row.cells[-1] for row in inner):
        return [Row(row.line, row.cells[1:-1]) for row in kept]
    return kept


def _laid_out(text: str) -> list[Row]:
    """Columns set apart by two or more blanks, as they are copied from a screen."""
    rows: list[Row] = []
    starts: list[int] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or _RULE.fullmatch(line):
            continue
        cells = _GAP.split(line.strip())
        if not starts and len(cells) > 1:
            starts = _starts(line)
        elif starts and len(cells) != len(starts):
            # A cell is empty, or so long that it meets the next: go by where columns begin.
            ends = [*starts[1:], max(len(line), starts[-1])]
            cells = [line[a:b].strip() for a, b in zip([0, *starts[1:]], ends, strict=True)]
        rows.append(Row(number, tuple(cells)))
    return rows


def _starts(line: str) -> list[int]:
    first = len(line) - len(line.lstrip())
    return [first, *(gap.end() for gap in _GAP.finditer(line.rstrip(), first + 1))]
