"""A portal's own list of users: what it says, and what that confirms and contradicts.

A list is right as of an instant. It confirms what was ordered before and contradicts only what was
known from before; of a login on which a later list has spoken, it says nothing more. A whole list
also speaks of logins that it lacks; a part of one does not.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from services.provisioning.rules.adoption import Told, claims_of, status_in
from services.provisioning.rules.columns import Field, field_of, functions_in, is_function_word
from services.provisioning.rules.columns import status_of as status_of_word
from services.provisioning.rules.matching import Claim, Doubt
from services.provisioning.rules.operations import GIVES, Account, Held, Operation, confirm
from shared.contracts.directory import Function, OperationKind
from shared.contracts.state import AccountStatus, AuthorizedBy, Entitlement, Grade
from shared.sheets.cells import id_in, instant_in, unquoted
from shared.sheets.table import Row, Table, UnreadableSheet
from shared.values import value_class

FUNCTION_COLUMN = "function:"
"""A column may say yes or no for one function: `function:eligibility`."""


@value_class(frozen=True, slots=True)
class RosterLine:
    """One login as the list has it. `told` is None where the list has no functions."""

    line: int
    login_id: str
    claims: tuple[Claim, ...]
    status: AccountStatus
    told: tuple[Told, ...] | None
    last_login_at: datetime | None
    last_login_told: bool

    @property
    def key(self) -> str:
        """What the login is known by from one list to the next."""
        return self.login_id.casefold()


@value_class(frozen=True, slots=True)
class Roster:
    """What a list says. `columns` is how each of its columns was understood."""

    lines: tuple[RosterLine, ...]
    doubts: tuple[Doubt, ...]
    columns: Mapping[str, str]


def read_roster(
    table: Table, columns: Mapping[str, str], answers: Mapping[str, str], zone: ZoneInfo
) -> Roster:
    """The logins on a list.

    Args:
        columns: what columns are, by name, where that does not follow from the name: a `Field`,
            or `function:` with a function.

    Raises:
        UnreadableSheet: a cell cannot be read, or nothing identifies the logins.
    """
    meant = {column: _meaning(column, columns) for column in table.columns}
    place = {
        Field(meant[column]): n
        for n, column in reversed(list(enumerate(table.columns)))
        if meant[column] in set(Field)
    }
    if not {Field.LOGIN_ID, Field.EMAIL, Field.NAME, Field.LAST_NAME} & set(place):
        raise UnreadableSheet(
            "No column identifies the logins. Say which one does, such as"
            f" {table.columns[0]!r} = login_id. The columns are: {', '.join(table.columns)}."
        )
    by_function = {
        n: Function(meant[column].removeprefix(FUNCTION_COLUMN))
        for n, column in enumerate(table.columns)
        if meant[column].startswith(FUNCTION_COLUMN)
    }
    doubts: dict[str, Doubt] = {}
    found: dict[str, RosterLine] = {}
    for row in table.rows:
        line = _line(row, table, place, by_function, answers, zone, doubts)
        if line is not None:
            known = found.get(line.key)
            found[line.key] = line if known is None else _together(known, line)
    return Roster(tuple(found.values()), tuple(doubts.values()), meant)


def _meaning(column: str, columns: Mapping[str, str]) -> str:
    given = columns.get(column)
    if given is not None:
        if given not in set(Field) and not (
            given.startswith(FUNCTION_COLUMN)
            and given.removeprefix(FUNCTION_COLUMN) in set(Function)
        ):
            raise UnreadableSheet(
                f"{given!r} is nothing that column {column!r} can be. It can be one of"
                f" {', '.join(Field)}, or {FUNCTION_COLUMN} with a function."
            )
        return given
    field = field_of(column)
    if field is not None:
        return field
    if is_function_word(column):
        functions = functions_in(column, {}, None, {})
        return f"{FUNCTION_COLUMN}{functions[0]}" if len(functions) == 1 else Field.IGNORED
    return Field.IGNORED


def _line(
    row: Row,
    table: Table,
    place: Mapping[Field, int],
    by_function: Mapping[int, Function],
    answers: Mapping[str, str],
    zone: ZoneInfo,
    doubts: dict[str, Doubt],
) -> RosterLine | None:
    def cell(field: Field) -> str:
        return unquoted(row.cells[place[field]]) if field in place else ""

    login_id = ""
    if Field.LOGIN_ID in place:
        login_id = id_in(row, place[Field.LOGIN_ID], table.columns[place[Field.LOGIN_ID]])
    claims = claims_of(row, table, place, login_id=login_id)
    login_id = login_id or cell(Field.EMAIL) or claims[0].name
    if not login_id:
        return None
    status: AccountStatus | None = AccountStatus.ACTIVE
    if word := cell(Field.STATUS):
        status = status_in(word, answers, row.line, doubts)
    tin = cell(Field.TIN) or None
    told: dict[Told, None] | None = None
    if Field.FUNCTIONS in place or by_function:
        words = functions_in(cell(Field.FUNCTIONS), answers, row.line, doubts)
        ticked = [
            function
            for n, function in by_function.items()
            if status_of_word(row.cells[n]) is AccountStatus.ACTIVE
        ]
        told = dict.fromkeys((tin, function) for function in (*words, *ticked))
    last_login_at = None
    if Field.LAST_LOGIN in place:
        index = place[Field.LAST_LOGIN]
        last_login_at = instant_in(row, index, table.columns[index], zone)
    return RosterLine(
        row.line,
        login_id,
        tuple(replace(claim, login_id=login_id) for claim in claims),
        status or AccountStatus.ACTIVE,
        None if told is None else tuple(told),
        last_login_at,
        Field.LAST_LOGIN in place,
    )


def _together(one: RosterLine, other: RosterLine) -> RosterLine:
    """Two rows about one login, such as one per function."""
    if one.status is not other.status:
        raise UnreadableSheet(
            f"Lines {one.line} and {other.line} disagree whether login {one.login_id!r} works."
        )
    told = None
    if one.told is not None and other.told is not None:
        told = tuple(dict.fromkeys((*one.told, *other.told)))
    logins = [at for at in (one.last_login_at, other.last_login_at) if at is not None]
    return replace(
        one,
        claims=tuple(dict.fromkeys((*one.claims, *other.claims))),
        told=told,
        last_login_at=max(logins, default=None),
    )


@value_class(frozen=True, slots=True)
class Shown:
    """What a list shows of one account: its line, or that a whole list lacks it (`line` None).

    `rights` is None where the list has no functions.
    """

    line: int | None
    login_id: str | None
    status: AccountStatus
    rights: frozenset[Held] | None
    last_login_at: datetime | None = None


@value_class(frozen=True, slots=True)
class Source:
    """The list: its id, the instant it is right for, and who imported it."""

    roster_id: str
    as_of: datetime
    by: str


def held_by_list(
    told: Sequence[Told], account: Account, desired: Collection[Held], enrolled: Sequence[str]
) -> frozenset[Held]:
    """Functions as entitlements: where the list names no TIN, those it is known or meant under."""
    found: set[Held] = set()
    for tin, function in told:
        if tin is not None:
            found.add((tin, function))
            continue
        tins = {each for each, own in (*account.rights, *desired) if own is function}
        tins = tins or {each for each, _ in (*account.rights, *desired)}
        found |= {(each, function) for each in tins or enrolled}
    return frozenset(found)


def confirmed_by(operations: Sequence[Operation], shown: Shown, as_of: datetime) -> list[Operation]:
    """The open operations that were requested before and that the list shows done."""
    return [
        operation
        for operation in operations
        if operation.open and operation.requested_at <= as_of and _shows_done(operation, shown)
    ]


def _shows_done(operation: Operation, shown: Shown) -> bool:
    active = shown.status is AccountStatus.ACTIVE
    single = None
    if operation.tin is not None and operation.function is not None:
        single = (operation.tin, operation.function)
    match operation.kind:
        case OperationKind.OPEN | OperationKind.RESUME:
            return active and (shown.rights is None or set(operation.rights) <= shown.rights)
        case OperationKind.GRANT:
            return active and shown.rights is not None and single in shown.rights
        case OperationKind.SUSPEND:
            return not active
        case OperationKind.CLOSE:
            return shown.status is AccountStatus.NONE
        case OperationKind.REVOKE if single is None:
            return not active or (shown.rights is not None and not shown.rights)
        case OperationKind.REVOKE:
            gone = shown.status is AccountStatus.NONE
            return gone or (shown.rights is not None and single not in shown.rights)
        case _:
            return False


def account_shown(
    account: Account,
    shown: Shown,
    source: Source,
    *,
    assumed: Collection[Held],
    confirmed: Collection[str] = (),
) -> Account:
    """The account as it is by the list, where nothing later is known; its last login in any case.

    Args:
        assumed: what it can do as far as anybody knows, where neither list nor record says.
        confirmed: operations that the list confirmed; if it has no functions, what they gave is
            still assumed, for the list shows only the login.
    """
    account = _last_login(account, shown, source)
    if account.known_as_of is not None and account.known_as_of > source.as_of:
        return account
    status = shown.status
    if shown.line is None:
        # Many portals leave logins that were switched off out of their lists.
        status = AccountStatus.CLOSED if account.status is AccountStatus.ACTIVE else account.status
    known = replace(
        account,
        status=status,
        grade=Grade.ROSTER,
        login_id=shown.login_id or account.login_id,
        known_as_of=source.as_of,
    )
    if status in (AccountStatus.NONE, AccountStatus.CLOSED):
        return replace(known, rights={})
    if shown.rights is not None:
        return replace(known, rights=_rights(account, shown.rights, Grade.ROSTER, source))
    if not account.rights:
        return replace(known, rights=_rights(account, assumed, Grade.ASSUMED, source))
    return replace(
        known,
        rights={
            right: replace(own, grade=Grade.ASSUMED) if own.operation_id in confirmed else own
            for right, own in account.rights.items()
        },
    )


def _last_login(account: Account, shown: Shown, source: Source) -> Account:
    if shown.last_login_at is None or (
        account.last_login_at is not None and account.last_login_at >= shown.last_login_at
    ):
        return account
    return replace(account, last_login_at=shown.last_login_at, last_login_source=source.roster_id)


def _rights(
    account: Account, held: Collection[Held], grade: Grade, source: Source
) -> dict[Held, Entitlement]:
    """Entitlements as the list has them: known ones better known, others on its authority."""
    authorized = AuthorizedBy("roster", source.roster_id, source.by)
    return {
        right: replace(account.rights[right], grade=grade)
        if right in account.rights
        else Entitlement(*right, authorized, grade, source.as_of, source.roster_id)
        for right in sorted(held)
    }


def after_confirming(
    account: Account, operations: Sequence[Operation], shown: Shown, as_of: datetime
) -> Account:
    """The account once the list has confirmed operations, removals first."""
    for operation in sorted(operations, key=lambda one: one.kind in GIVES):
        account = confirm(account, operation, grade=Grade.ROSTER, at=as_of, login_id=shown.login_id)
    return account
