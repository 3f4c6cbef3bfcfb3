"""A corpus of HR's lists as they come out of systems and spreadsheets: read, or refused by line."""

from datetime import date

import pytest

from services.gateway.presets import presets
from services.gateway.rules.roster_columns import SourceMapping, Standing, likeliest_preset
from services.gateway.rules.roster_reading import Reading, read_lines
from shared.sheets.reading import read_table
from shared.sheets.table import UnreadableSheet

SITES = {"Tacoma": "tacoma", "tacoma": "tacoma", "Olympia": "olympia"}

EXPORTS = {
    "gusto": (
        "Last name,First name,Gusto employee ID,Work email,Job title,Department,Manager,"
        "Work address,Employment status,Start date,Termination date,SSN,Compensation\n"
        'Muñoz,Ada,5G9934,ada@x.test,Biller,Billing,"Lee, Ann",Tacoma,Terminated,'
        "03/02/2020,11/20/2026,078-05-1120,$31.00\n"
    ),
    "bamboohr": (
        "Employee #,First Name,Last Name,Work Email,Job Title,Department,Location,Reporting to,"
        "Status,Employment Status,Hire Date,Termination Date,Pay rate\n"
        "5G9934,Ada,Muñoz,ada@x.test,Biller,Billing,Tacoma,Ann Lee,Inactive,Terminated,"
        "2020-03-02,2026-11-20,31.00\n"
    ),
    "adp": (
        "Associate ID,Legal First Name,Legal Last Name,Work Contact: Work Email,"
        "Job Title Description,Home Department Description,Location Description,Reports To Name,"
        "Position Status,Hire Date,Termination Date,Tax ID (SSN)\n"
        '5G9934,Ada,Muñoz,ada@x.test,Biller,Billing,Tacoma,"Lee, Ann",Terminated,'
        "03/02/2020,11/20/2026,078-05-1120\n"
    ),
    "paychex": (
        "Company ID,Employee ID,Employee Type,First Name,Last Name,SSN,Work Email,Job Title,"
        "Department,Location,Supervisor,Employment Status,Hire Date,Termination Date\n"
        "0012A345,5G9934,EE,Ada,Muñoz,078-05-1120,ada@x.test,Biller,Billing,Tacoma,Ann Lee,"
        "Terminated,03/02/2020,11/20/2026\n"
    ),
}
PLAIN = (
    "worker_id,name,title,site,status,hired_on,terminated_on\n"
    "00042,Zoë Ng,Biller,Tacoma,active,2020-03-02,\n"
)
ENCODED = {
    "UTF-8": PLAIN.encode(),
    "UTF-8 with a mark": PLAIN.encode("utf-8-sig"),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16 without a mark": PLAIN.encode("utf-16-le"),
    "UTF-16 of the other order": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "two marks": b"\xef\xbb\xbf" + PLAIN.encode("utf-8-sig"),
    "UTF-16 with tabs, as Excel's Unicode text": PLAIN.replace(",", "\t").encode("utf-16"),
    "Windows-1252": PLAIN.encode("cp1252"),
    "semicolons": PLAIN.replace(",", ";").encode(),
    "bars and old Mac line ends": PLAIN.replace(",", "|").replace("\n", "\r").encode(),
    "sep= and blank lines": b"sep=,\r\n" + PLAIN.replace("\n", "\r\n\r\n").encode(),
    "a title above": b"Employee roster\n\n" + PLAIN.encode(),
    "an id kept as text": PLAIN.replace("00042", "'00042").encode(),
    "an id kept as text by a formula": PLAIN.replace("00042", '"=""00042"""').encode(),
    "line breaks and no-break spaces in a cell": PLAIN.replace(
        "Zoë Ng", '"Zoë\n\u00a0Ng"'
    ).encode(),
    "empty columns": PLAIN.replace("\n", ",,,\n").encode(),
}


def read(
    content: bytes | str,
    *,
    known: tuple[str, ...] = (),
    preset: str | None = None,
    **mapping: object,
) -> Reading:
    table = read_table("list.csv", content.encode() if isinstance(content, str) else content)
    name = preset or likeliest_preset(table.columns, presets())
    own = SourceMapping.model_validate({"preset": name, **mapping})
    return read_lines(table, presets()[name], own, SITES, known)


def plain(*lines: str, days: str = "hired_on") -> str:
    return f"worker_id,name,title,status,{days}\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize("system", EXPORTS)
def test_an_export_is_recognized_and_says_the_same_whatever_system_wrote_it(system: str) -> None:
    content = EXPORTS[system]
    table = read_table("export.csv", content.encode())
    assert likeliest_preset(table.columns, presets()) == system
    reading = read(content)
    (line,) = reading.lines
    assert (line.worker, line.name, line.title, line.sites) == (
        "5G9934",
        "Ada Muñoz",
        "Biller",
        ("tacoma",),
    )
    assert (line.standing, line.hired_on, line.terminated_on) == (
        Standing.LEFT,
        date(2020, 3, 2),
        date(2026, 11, 20),
    )
    assert line.email == "ada@x.test"
    assert not {"SSN", "Tax ID (SSN)", "Compensation", "Pay rate"} & set(reading.columns)


@pytest.mark.parametrize("content", ENCODED.values(), ids=ENCODED)
def test_every_encoding_and_dialect_says_the_same(content: bytes) -> None:
    (line,) = read(content).lines
    assert (line.worker, line.name, line.sites) == ("00042", "Zoë Ng", ("tacoma",))


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("1E+05", "rounded number"),
        ("4.2E+12", "rounded number"),
        ("1.23e11", "rounded number"),
        ('"1,23E+11"', "rounded number"),
        ("42.0", "wrote as a number"),
        ('"12,345"', "wrote as a number"),
        ("=1+1", "holds a formula"),
        ("@SUM(A1)", "holds a formula"),
        ("#REF!", "holds a formula"),
        ("3-Jan", "turned into a date"),
        ("####", "make the column wider"),
        ("", "the worker's id is missing"),
        ("078-05-1120", "looks like an e-mail address or social security number"),
        ("ada@x.test", "looks like an e-mail address or social security number"),
        ("42", "known as 00042"),
        ("W-7a", "known as w-7A"),
    ],
)
def test_an_id_that_a_spreadsheet_spoiled_names_line_and_column(cell: str, why: str) -> None:
    reading = read(plain(f"{cell},Ada,Biller,active,"), known=("00042", "w-7A"))
    (error,) = reading.errors
    assert (error.line, error.column) == (2, "worker_id")
    assert why in error.detail
    assert "078-05" not in error.detail
    assert reading.unnamed == 1


def test_zeros_that_a_spreadsheet_dropped_are_put_back_where_the_source_says_so() -> None:
    (line,) = read(plain("42,Ada,Biller,active,"), known=("00042",), id_digits=5).lines
    assert line.worker == "00042"


def test_ids_that_differ_in_zeros_or_capitals_only_are_asked_about() -> None:
    reading = read(plain("w1,Ada,Biller,active,", "W1,Bo,Coder,active,", "w2,Cy,Biller,active,"))
    assert [line.worker for line in reading.lines] == ["w2"]
    (error,) = reading.errors
    assert (error.code, error.line, error.column) == ("ids_alike", 3, "worker_id")
    assert set(reading.present) == {"w1", "W1", "w2"}
    known = read(plain("w1,A,Biller,active,", "W1,B,Biller,active,"), known=("w1", "W1"))
    assert len(known.lines) == 2


def test_an_id_on_two_lines_counts_once_or_not_at_all() -> None:
    same = read(plain("w1,Ada,Biller,active,", "w1,Ada,Biller,active,"))
    assert ([line.worker for line in same.lines], same.errors) == (["w1"], ())
    assert "Lines 2 and 3 say the same" in same.notes[-1]
    other = read(plain("w1,Ada,Biller,active,", "w2,Bo,Biller,active,", "w1,Ada,Coder,active,"))
    assert [line.worker for line in other.lines] == ["w2"]
    assert (other.errors[0].code, other.errors[0].line) == ("duplicate_id", 4)
    assert set(other.present) == {"w1", "w2"}


@pytest.mark.parametrize(
    ("days", "first", "expected"),
    [
        (("25/03/2026", "04/03/2026"), None, date(2026, 3, 4)),
        (("03/25/2026", "04/03/2026"), None, date(2026, 4, 3)),
        (("04/03/2026", "04/03/2026"), True, date(2026, 3, 4)),
        (("04/03/2026", "04/03/2026"), False, date(2026, 4, 3)),
        (("2026-03-25", "Mar 4, 2026"), None, date(2026, 3, 4)),
        (("25.03.2026", "4.3.2026"), None, date(2026, 3, 4)),
    ],
)
def test_local_days_are_read_by_the_file_or_by_what_the_source_says(
    days: tuple[str, str], first: bool | None, expected: date
) -> None:
    lines = [f'w{number},Ada,Biller,active,"{day}"' for number, day in enumerate(days)]
    assert read(plain(*lines), day_first=first, preset="plain").lines[1].hired_on == expected


def test_days_that_may_be_meant_either_way_are_asked_about() -> None:
    with pytest.raises(UnreadableSheet, match="Line 2, column 'hired_on': nothing in the file"):
        read(plain("w1,Ada,Biller,active,04/03/2026"), preset="plain")
    with pytest.raises(UnreadableSheet, match="line 3 the month before the day"):
        read(plain("w1,A,B,active,25/03/2026", "w2,A,B,active,03/25/2026"), preset="plain")


@pytest.mark.parametrize(
    ("line", "column", "why"),
    [
        ("w1,Ada,Biller,Furloughed,", "status", "is no status that is known"),
        ("w1,Ada,Biller,active,soon", "hired_on", "is no day"),
        ("w1,Ada,Biller,active,45992", "hired_on", "as Excel counts it"),
        ("w1,Ada,Biller,active,9999-12-31", "hired_on", "the year 9999 is a mistake"),
        ("w1,Ada,Biller,active,31/02/2026", "hired_on", "is no day"),
        (f"w1,{'A' * 300},Biller,active,", "name", "at most 200 characters"),
        ("w1,A\u200bda,Biller,active,", "name", "cannot be seen"),
        ('w1,"=HYPERLINK(""http://x"")",Biller,active,', "name", "holds a formula"),
        ("w1,Ada,#N/A,active,", "title", "holds a formula"),
        ("w1,Ada,Biller,active,#VALUE!", "hired_on", "is no day"),
    ],
)
def test_a_cell_that_cannot_be_meant_names_line_and_column(
    line: str, column: str, why: str
) -> None:
    (error,) = read(plain(line), preset="plain", day_first=True).errors
    assert (error.line, error.column) == (2, column)
    assert why in error.detail


def test_words_that_only_this_organization_uses_are_read_as_its_mapping_says() -> None:
    reading = read(
        "Badge,Who,Job,Where,State\n7,Ada Ng,Biller,Main St,Furloughed\n",
        columns={"Badge": "worker", "Who": "name", "Job": "title", "Where": "site"}
        | {"State": "status"},
        statuses={"Furloughed": "leave"},
        sites={"Main St": ["tacoma", "olympia"]},
        preset="plain",
    )
    (line,) = reading.lines
    assert (line.standing, line.sites) == (Standing.LEAVE, ("tacoma", "olympia"))


def test_several_sites_in_one_cell_are_told_apart_and_an_unknown_one_is_named() -> None:
    rows = "w1,Ada,Biller,active,Tacoma; Olympia\nw2,Bo,Biller,active,Spokane\n"
    reading = read("worker_id,name,title,status,site\n" + rows)
    assert [line.sites for line in reading.lines] == [("tacoma", "olympia"), ()]
    assert reading.places == {"Spokane": 1}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"just some words\n", "No line has two columns"),
        (b"Name,Title\nAda,Biller\n", "No column tells the workers' ids"),
        (b"worker_id,name\nw1,Ada,Biller\n", "Line 2 has 3 cells"),
        (b'worker_id,name\nw1,"Ada\n', "Line 2"),
        (b"worker_id,worker_id\nw1,w1\n", "names two columns"),
        (b"worker_id,name\nw1,A\x00da\n", "NUL character"),
        (b"\xd0\xcf\x11\xe0old", "old Excel format"),
        (b"%PDF-1.7", "This is a PDF"),
        (b'[{"worker_id": "w1"}]', "This is JSON"),
        (b"<?xml version='1.0'?><w/>", "This is XML"),
        (b"worker_id,name\n", "no lines below"),
        (b"w1,Ada\n", "The first line must name the columns"),
        (
            "worker_id,name\nw1,Zo\u00eb\n".encode() + b"w2,Zo\xeb\n",
            "Line 3 is not UTF-8",
        ),
        (b"worker_id,name\nw1,A\x81\n", "Line 2 holds a byte that is neither"),
        (PLAIN.encode("utf-16")[:-1], "says that it is UTF-16 and is not"),
        (PLAIN.encode("utf-32"), "CSV UTF-8"),
        (b"PK\x03\x04 no zip", "no workbook"),
    ],
)
def test_what_is_no_list_is_refused_with_what_to_do(content: bytes, why: str) -> None:
    with pytest.raises(UnreadableSheet, match=why):
        read(content)
