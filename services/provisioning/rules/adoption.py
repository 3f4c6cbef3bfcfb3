"""Reading the sheet an administrator kept before: who has which login where, as somebody wrote it.

Two shapes are read and written: wide, a row per person and a column per portal, and long, a row
per login. A cell of the wide shape says in parts set apart by semicolons what is known: the login
id, `inactive`, `since 2024-01-02`, `until 2025-03-01`, and functions, with their TIN before a colon
where that is known (`12-3456789: eligibility, benefits`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from services.provisioning.rules.columns import (
    Field,
    field_of,
    functions_in,
    is_function_word,
    portal_of,
    status_of,
)
from services.provisioning.rules.matching import Claim, Doubt, several
from shared.contracts.directory import Function, Portal
from shared.contracts.state import AccountStatus
from shared.sheets.cells import day_in, id_in, unquoted
from shared.sheets.table import Row, Table, UnreadableSheet
from shared.values import value_class

_TIN = re.compile(r"(\d{2}-\d{7}):\s*(.+)", re.S)
_DATED = re.compile(r"(since|from|until|to)\s+(.+)", re.I)
_BRACKETED = re.compile(r"(.+?)\s*[(\[]([^)\]]+)[)\]]\s*", re.S)

LONG_COLUMNS = [
    "Worker",
    "Name",
    "E-mail",
    "Portal",
    "Login",
    "Status",
    "TIN",
    "Functions",
    "Since",
    "Until",
    "Last login",
    "Grade",
]

Told = tuple[str | None, Function]
"""A function as a sheet tells it; the TIN is None where it does not say under which."""


@value_class(frozen=True, slots=True)
class SheetLine:
    """One login as the sheet has it. `told` is empty where the sheet names no functions."""

    line: int
    claim: Claim
    portal: str
    status: AccountStatus
    told: tuple[Told, ...] = ()
    since: date | None = None
    until: date | None = None


@value_class(frozen=True, slots=True)
class Sheet:
    """What a sheet says, and what has to be asked before all of it can be taken over."""

    lines: tuple[SheetLine, ...]
    doubts: tuple[Doubt, ...]
    shape: str


def read_sheet(table: Table, portals: Sequence[Portal], answers: Mapping[str, str]) -> Sheet:
    """The logins on a sheet.

    Raises:
        UnreadableSheet: a cell contradicts itself, or nothing says whose the logins are.
    """
    fields = {n: field_of(column) for n, column in enumerate(table.columns)}
    place = {field: n for n, field in reversed(fields.items()) if field is not None}
    if not {Field.WORKER, Field.NAME, Field.FIRST_NAME, Field.LAST_NAME, Field.EMAIL} & set(place):
        raise UnreadableSheet("No column says whose the logins are: name one of them 'Name'.")
    doubts: dict[str, Doubt] = {}
    if Field.PORTAL in place:
        lines = [
            line
            for row in table.rows
            for line in _long(row, table, place, portals, answers, doubts)
        ]
        return Sheet(_together(lines), tuple(doubts.values()), "long")
    wide: dict[int, str] = {}
    for n, column in enumerate(table.columns):
        taken = fields[n] is not None
        key = f"column:{column}"
        if key not in answers and taken:
            continue
        portal = portal_of(column, portals, answers, key=key, line=None, doubts=doubts)
        if portal is not None:
            wide[n] = portal
    lines = [
        line
        for row in table.rows
        for n, portal in wide.items()
        for line in _wide(row, n, table, place, portal, answers, doubts)
    ]
    return Sheet(_together(lines), tuple(doubts.values()), "wide")


def _cell(row: Row, place: Mapping[Field, int], field: Field) -> str:
    return unquoted(row.cells[place[field]]) if field in place else ""


def claims_of(
    row: Row, table: Table, place: Mapping[Field, int], *, login_id: str = ""
) -> list[Claim]:
    """Whom a row names: one person, or each of several who share what it says."""
    worker = ""
    if Field.WORKER in place:
        worker = id_in(row, place[Field.WORKER], table.columns[place[Field.WORKER]])
    name = _cell(row, place, Field.NAME)
    if not name:
        parts = (_cell(row, place, Field.FIRST_NAME), _cell(row, place, Field.LAST_NAME))
        name = " ".join(filter(None, parts))
    email = _cell(row, place, Field.EMAIL)
    return [Claim(worker, each, email, login_id) for each in several(name)]


def _long(
    row: Row,
    table: Table,
    place: Mapping[Field, int],
    portals: Sequence[Portal],
    answers: Mapping[str, str],
    doubts: dict[str, Doubt],
) -> list[SheetLine]:
    said = _cell(row, place, Field.PORTAL)
    if not said:
        raise UnreadableSheet(f"Line {row.line} names no portal.")
    portal = portal_of(said, portals, answers, key=f"portal:{said}", line=row.line, doubts=doubts)
    if portal is None:
        return []
    login_id = ""
    if Field.LOGIN_ID in place:
        login_id = id_in(row, place[Field.LOGIN_ID], table.columns[place[Field.LOGIN_ID]])
    status: AccountStatus | None = AccountStatus.ACTIVE
    if word := _cell(row, place, Field.STATUS):
        status = status_in(word, answers, row.line, doubts)
    if status in (None, AccountStatus.NONE):
        return []
    tin = _cell(row, place, Field.TIN) or None
    functions = functions_in(_cell(row, place, Field.FUNCTIONS), answers, row.line, doubts)
    days = {
        field: day_in(row, place[field], table.columns[place[field]])
        for field in (Field.SINCE, Field.UNTIL)
        if field in place
    }
    return [
        SheetLine(
            row.line,
            claim,
            portal,
            status or AccountStatus.ACTIVE,
            tuple((tin, function) for function in functions),
            days.get(Field.SINCE),
            days.get(Field.UNTIL),
        )
        for claim in claims_of(row, table, place, login_id=login_id)
    ]


def status_in(
    word: str, answers: Mapping[str, str], line: int, doubts: dict[str, Doubt]
) -> AccountStatus | None:
    """What a word says of a login; one that is not known becomes a doubt."""
    key = f"status:{word}"
    status = status_of(word)
    if status is None and key in answers:
        status = AccountStatus(answers[key])
    if status is None:
        doubts.setdefault(
            key,
            Doubt(
                key,
                line,
                f"Does the status {word!r} mean that the login works?",
                (
                    (AccountStatus.ACTIVE, "it works"),
                    (AccountStatus.SUSPENDED, "it does not work"),
                    (AccountStatus.NONE, "there is no login"),
                ),
            ),
        )
    return status


def _wide(
    row: Row,
    index: int,
    table: Table,
    place: Mapping[Field, int],
    portal: str,
    answers: Mapping[str, str],
    doubts: dict[str, Doubt],
) -> list[SheetLine]:
    id_in(row, index, table.columns[index])
    where = f"Line {row.line}, column {table.columns[index]!r}"
    line = SheetLine(row.line, Claim(), portal, AccountStatus.NONE)
    login_id = ""
    for part in filter(None, (p.strip() for p in re.split(r"[;\n]", unquoted(row.cells[index])))):
        if status_of(part) is not None:
            line = replace(line, status=status_of(part) or line.status)
        elif dated := _DATED.fullmatch(part):
            day = day_in(Row(row.line, (dated[2],)), 0, table.columns[index])
            begins = dated[1].casefold() in ("since", "from")
            line = replace(line, since=day) if begins else replace(line, until=day)
        elif told := _functions(part, answers, row.line, doubts):
            line = replace(line, told=(*line.told, *told))
        elif login_id:
            raise UnreadableSheet(
                f"{where}: {login_id!r} and {part!r} cannot both be the login; write one, and the"
                " other into a row of its own."
            )
        else:
            login_id, status = _login(part)
            line = replace(line, status=status or line.status)
    if line.status is AccountStatus.NONE:
        if not (login_id or line.told or line.since):
            return []
        line = replace(line, status=AccountStatus.ACTIVE)
    return [replace(line, claim=claim) for claim in claims_of(row, table, place, login_id=login_id)]


def _login(part: str) -> tuple[str, AccountStatus | None]:
    """A login id, with what is said in brackets behind it."""
    bracketed = _BRACKETED.fullmatch(part)
    if bracketed and (status := status_of(bracketed[2])) is not None:
        return bracketed[1], status
    return part, None


def _functions(
    part: str, answers: Mapping[str, str], line: int, doubts: dict[str, Doubt]
) -> list[Told]:
    if named := _TIN.fullmatch(part):
        return [(named[1], function) for function in functions_in(named[2], answers, line, doubts)]
    words = [word for word in re.split(r"[,/|+]+", part) if word.strip()]
    if words and all(is_function_word(word) for word in words):
        return [(None, function) for function in functions_in(part, answers, line, doubts)]
    return []


def _together(lines: Sequence[SheetLine]) -> tuple[SheetLine, ...]:
    """Lines about one login of one person become one: a long sheet may have a row per function."""
    found: dict[tuple[Claim, str], SheetLine] = {}
    for line in lines:
        key = (line.claim, line.portal)
        known = found.get(key)
        if known is None:
            found[key] = line
            continue
        if known.status is not line.status:
            raise UnreadableSheet(
                f"Lines {known.line} and {line.line} disagree whether {line.claim.label}'s login on"
                f" {line.portal} works."
            )
        found[key] = replace(
            known,
            told=tuple(dict.fromkeys((*known.told, *line.told))),
            since=min(filter(None, (known.since, line.since)), default=None),
            until=max(filter(None, (known.until, line.until)), default=None),
        )
    return tuple(found.values())


def write_cell(
    login_id: str | None,
    status: AccountStatus,
    rights: Sequence[tuple[str, Function]],
    since: date | None,
) -> str:
    """A cell of the wide shape, as `read_sheet` reads it."""
    parts = [login_id or "yes"]
    if status is AccountStatus.SUSPENDED:
        parts.append("inactive")
    by_tin: dict[str, list[str]] = {}
    for tin, function in sorted(rights):
        by_tin.setdefault(tin, []).append(function.value.replace("_", " "))
    parts += [f"{tin}: {', '.join(functions)}" for tin, functions in by_tin.items()]
    if since is not None:
        parts.append(f"since {since.isoformat()}")
    return "; ".join(parts)
