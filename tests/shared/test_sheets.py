"""A corpus of files as offices really have them: read right, or refused by line and column."""

import csv
import io
from datetime import UTC, date, datetime
from email.message import EmailMessage
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from shared.sheets.cells import (
    FORMULA_STARTS,
    day_in,
    id_in,
    instant_in,
    quoted,
    unquoted,
)
from shared.sheets.reading import read_table
from shared.sheets.table import Row, Table, UnreadableSheet
from shared.sheets.workbook import write_workbook
from shared.sheets.writing import write_csv

ZONE = ZoneInfo("America/Los_Angeles")
EXPECTED = [("jdoe", "José Doe", "active"), ("asmith", "Ann Smith", "inactive")]

CSV = "Login,Name,Status\r\njdoe,José Doe,active\r\nasmith,Ann Smith,inactive\r\n"
GOOD = {
    "plain": CSV.encode(),
    "with a byte order mark": CSV.encode("utf-8-sig"),
    "Windows-1252": CSV.encode("cp1252"),
    "UTF-16 as Excel's Unicode text": CSV.replace(",", "\t").encode("utf-16"),
    "semicolons": CSV.replace(",", ";").encode(),
    "tabs": CSV.replace(",", "\t").encode(),
    "bars": CSV.replace(",", "|").encode(),
    "sep= in the first line": b"sep=;\n" + CSV.replace(",", ";").encode(),
    "old Mac line ends": CSV.replace("\r\n", "\r").encode(),
    "no last line end": CSV.rstrip().encode(),
    "blank lines": CSV.replace("\r\n", "\r\n\r\n").encode(),
    "quotes and blanks": b'"Login", "Name","Status"\n jdoe ,"Jos\xc3\xa9 Doe",active\n'
    b'"asmith", Ann Smith ,inactive\n',
    "a title above": b"User report\n\n" + CSV.encode(),
    "more empty columns": CSV.replace("\r\n", ",,\r\n").encode(),
    "pasted columns": (
        "  Login    Name        Status\n  -----    ----        ------\n"
        "  jdoe     José Doe    active\n  asmith   Ann Smith   inactive\n"
    ).encode(),
    "Markdown": (
        "| Login | Name | Status |\n|---|---|---|\n"
        "| jdoe | José Doe | active |\n| asmith | Ann Smith | inactive |\n"
    ).encode(),
    "HTML": (
        b"<html><table><tr><th>Login<th>Name<th>Status</tr>"
        b"<tr><td>jdoe</td><td>Jos&eacute; <b>Doe</b></td><td>active</td></tr>"
        b"<tr><td>asmith<td>Ann<br>Smith<td>inactive</tr></table></html>"
    ),
}


def cells(table: Table) -> list[tuple[str, ...]]:
    return [row.cells for row in table.rows]


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
def test_every_dialect_gives_the_same_table(content: bytes) -> None:
    table = read_table("list.csv", content)
    assert table.columns == ("Login", "Name", "Status")
    assert cells(table) == EXPECTED


def test_a_guessed_encoding_is_noted() -> None:
    assert "Windows-1252" in read_table("list.csv", CSV.encode("cp1252")).notes[0]


def test_a_line_break_within_a_cell_keeps_the_lines_counted_right() -> None:
    table = read_table("x.csv", b'Login,Note\r\na,"two\r\nlines"\r\nb,one\r\n')
    assert [(row.line, row.cells) for row in table.rows] == [
        (2, ("a", "two\r\nlines")),
        (4, ("b", "one")),
    ]


def mail(**parts: str | bytes) -> bytes:
    message = EmailMessage()
    message["From"], message["Subject"] = "portal@example.org", "Fwd: weekly user list"
    message["Date"] = "Mon, 15 Jun 2026 06:00:00 -0700"
    message.set_content(str(parts.get("text", "See below.")))
    if "html" in parts:
        message.add_alternative(str(parts["html"]), subtype="html")
    for name, content in parts.items():
        if isinstance(content, bytes):
            message.add_attachment(
                content, maintype="application", subtype="octet-stream", filename=f"{name}.csv"
            )
    return message.as_bytes()


def test_a_forwarded_mail_gives_its_attachment() -> None:
    inner = mail(users=CSV.encode("cp1252"))
    outer = EmailMessage()
    outer["From"], outer["Subject"] = "ann@example.org", "Fwd"
    outer.set_content("as promised")
    outer.add_attachment(inner, maintype="message", subtype="rfc822-headers", filename="x.eml")
    assert cells(read_table("mail.eml", mail(users=CSV.encode()))) == EXPECTED
    assert cells(read_table("mail", inner)) == EXPECTED


def test_a_forwarded_mail_gives_the_table_in_its_body() -> None:
    html = GOOD["HTML"].decode()
    assert cells(read_table("mail.eml", mail(html=html))) == EXPECTED
    quoted = "\n".join(f"> {line}" for line in GOOD["pasted columns"].decode().splitlines())
    assert cells(read_table("mail.eml", mail(text=f"Hello,\n\n{quoted}\n\nBye"))) == EXPECTED


def test_a_workbook_gives_its_first_filled_sheet_with_numbers_as_ids() -> None:
    book = Workbook()
    book.create_sheet("Users")
    sheet = book["Users"]
    for row in (["Login", "Since", "On"], [12345, datetime(2025, 3, 1), True], [7.0, None, False]):
        sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    table = read_table("users.xlsx", buffer.getvalue())
    assert cells(table) == [("12345", "2025-03-01", "yes"), ("7", "", "no")]


BAD = {
    "nothing": (b"  \n", "empty"),
    "one column": (b"Login\njdoe\n", "this is no table"),
    "a cell too many": (b"Login,Name\na,b\nc,d,e\n", "Line 3 has 3 cells"),
    "a quote never closed": (b'Login,Name\na,"b\nc,d\n', "Line"),
    "two columns of one name": (b"Login,login\na,b\n", "two columns"),
    "no text": (b"Login,Name\n\x00\x01,b\n", "Line 2 holds a NUL"),
    "old Excel": (b"\xd0\xcf\x11\xe0" + b"x" * 50, "old Excel format"),
    "a broken workbook": (b"PK\x03\x04" + b"x" * 50, "no workbook"),
    "bytes that nothing explains": (b"Login,Name\na,\x81\x8d\n", "Line 2 holds a byte"),
    "a mail without a table": (mail(), "no attachment"),
    "a mail with two": (mail(one=b"a,b\n1,2\n", two=b"a,b\n1,2\n"), "several tables"),
}


@pytest.mark.parametrize(("content", "why"), BAD.values(), ids=BAD)
def test_what_cannot_be_read_is_refused_with_a_reason(content: bytes, why: str) -> None:
    with pytest.raises(UnreadableSheet, match=why):
        read_table("list.csv", content)


@pytest.mark.parametrize("mangled", ["1.23457E+15", "1-Mar", "MAR-01", "####"])
def test_an_id_that_excel_mangled_is_refused_by_line_and_column(mangled: str) -> None:
    with pytest.raises(UnreadableSheet, match=r"Line 7, column 'User ID'"):
        id_in(Row(7, ("x", mangled)), 1, "User ID")


def test_an_id_that_a_workbook_holds_as_a_date_is_refused() -> None:
    with pytest.raises(UnreadableSheet, match="turned into a date"):
        id_in(Row(7, ("2026-03-01",), frozenset({0})), 0, "User ID")


def test_a_number_longer_than_excel_keeps_is_refused() -> None:
    book = Workbook()
    assert book.active is not None
    book.active.append(["Login", "Name"])
    book.active.append([1234567890123456, "x"])
    buffer = io.BytesIO()
    book.save(buffer)
    with pytest.raises(UnreadableSheet, match="Line 2, column 1"):
        read_table("x.xlsx", buffer.getvalue())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-31", date(2026, 3, 31)),
        ("3/31/2026", date(2026, 3, 31)),
        ("03/31/26", date(2026, 3, 31)),
        ("31-Mar-2026", date(2026, 3, 31)),
        ("Mar 31, 2026", date(2026, 3, 31)),
        ("3/31/2026 2:05 PM", date(2026, 3, 31)),
        ("never", None),
        ("", None),
    ],
)
def test_days_are_read_as_offices_write_them(text: str, expected: date | None) -> None:
    assert day_in(Row(1, (text,)), 0, "Since") == expected


@pytest.mark.parametrize("text", ["31/03/2026", "soon", "2026-02-30", "3/31/2026 quarter past"])
def test_what_is_no_day_is_refused_by_line_and_column(text: str) -> None:
    with pytest.raises(UnreadableSheet, match=r"Line 4, column 'Since'"):
        day_in(Row(4, (text,)), 0, "Since")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-31T14:05:00Z", datetime(2026, 3, 31, 14, 5, tzinfo=UTC)),
        ("2026-03-31 14:05:00+02:00", datetime(2026, 3, 31, 12, 5, tzinfo=UTC)),
        ("3/31/2026 2:05 PM", datetime(2026, 3, 31, 21, 5, tzinfo=UTC)),
        ("3/31/2026 12:00 AM", datetime(2026, 3, 31, 7, 0, tzinfo=UTC)),
        ("2026-03-31", datetime(2026, 3, 31, 7, 0, tzinfo=UTC)),
    ],
)
def test_a_last_login_without_a_zone_is_on_the_organizations_wall_clock(
    text: str, expected: datetime
) -> None:
    assert instant_in(Row(1, (text,)), 0, "Last login", ZONE) == expected


text_cells = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufeff"), max_size=20
).map(str.strip)


@given(st.lists(st.tuples(text_cells, text_cells, text_cells), min_size=1, max_size=8))
def test_what_is_written_reads_back_and_no_cell_is_a_formula(rows: list[tuple[str, ...]]) -> None:
    lines = [["x", *row] for row in rows]
    columns = ["Key", "One", "Two", "Three"]
    for content in (write_csv(columns, lines), write_workbook(columns, lines)):
        read = [row.cells for row in read_table("f", content).rows]
        written = quoted if content[:2] != b"PK" else str
        assert read == [tuple(written(cell) for cell in line) for line in lines]


awkward_cells = st.text(st.sampled_from("'=+-@|% \t\r\na1"), max_size=6) | st.text(max_size=20)


@given(awkward_cells)
def test_a_quoted_cell_is_no_formula_and_unquoting_gives_back_what_it_was(cell: str) -> None:
    assert unquoted(quoted(cell)) == cell
    assert quoted(cell) in (cell, f"'{cell}")
    assert quoted(cell).lstrip()[:1] not in set(FORMULA_STARTS)
    assert quoted(cell)[:1] not in ("\t", "\r", "\n")


def test_formulas_are_defused_on_export() -> None:
    written = write_csv(["Name"], [[f"{start}cmd|' /C calc'!A0"] for start in FORMULA_STARTS])
    lines = list(csv.reader(io.StringIO(written.decode("utf-8-sig"), newline="")))
    assert len(lines) == len(FORMULA_STARTS) + 1
    assert all(cell.startswith("'") for (cell,) in lines[1:])
