"""Confirmed facts about accounts and what they hold, how they became known, and exposure."""

from collections.abc import Mapping
from datetime import datetime

from shared.contracts.access.evidence import Right
from shared.contracts.directory import Function
from shared.contracts.state import AccountKnown, AccountStatus, AuthorizedBy, Grade
from shared.values import value_class


@value_class(frozen=True, slots=True)
class AccountFact:
    """A confirmed fact about an account. `login_id` is absent while nobody has told it."""

    worker: str
    portal: str
    operation_id: str
    grade: Grade
    confirmed_by: str
    confirmed_at: datetime
    login_id: str | None


@value_class(frozen=True, slots=True)
class AccountOpened(AccountFact):
    """The account exists and works."""


@value_class(frozen=True, slots=True)
class AccountSuspended(AccountFact):
    """The account does not work any more, and could be resumed."""


@value_class(frozen=True, slots=True)
class AccountResumed(AccountFact):
    """The account works again."""


@value_class(frozen=True, slots=True)
class AccountClosed(AccountFact):
    """The account was ended for good at the portal: done so, or no list of its has it any more."""


@value_class(frozen=True, slots=True)
class AccountRotated(AccountFact):
    """What a login that several people know is opened with was changed: `worker` lost it."""


@value_class(frozen=True, slots=True)
class AccountLapsed(AccountFact):
    """The portal itself switched it off; `operation_id` is the roster that shows it."""


@value_class(frozen=True, slots=True)
class AccountAdopted:
    """A login that existed before, taken over from a sheet: nobody has verified it.

    `as_of` is when the sheet was right, `valid_from` and `valid_until` what it says of the login's
    own time. `account` is what is known of it now; it is absent where something better was known.
    """

    worker: str
    portal: str
    adoption_id: str
    login_id: str | None
    status: AccountStatus
    rights: tuple[Right, ...]
    authorized_by: AuthorizedBy
    as_of: datetime
    valid_from: datetime | None
    valid_until: datetime | None
    file_sha256: str
    line: int
    matched_by: str
    account: AccountKnown | None


@value_class(frozen=True, slots=True)
class AccountSeen:
    """What a portal's user list shows of a login, where that is news.

    `line` is absent where the list lacks the login.

    `account` is what is known now, by the list and by what was known better.
    """

    worker: str
    portal: str
    roster_id: str
    line: int | None
    as_of: datetime
    imported_by: str
    account: AccountKnown


@value_class(frozen=True, slots=True)
class RosterImported:
    """A portal's user list was compared with what was known; `counts` says what came of it."""

    portal: str
    roster_id: str
    plan: str
    as_of: datetime
    complete: bool
    file_sha256: str
    file_name: str
    imported_by: str
    counts: Mapping[str, int]


@value_class(frozen=True, slots=True)
class PortalReconciled:
    """Its first whole user list was compared: the portal is not observe-only any more."""

    portal: str
    roster_id: str
    as_of: datetime
    reconciled_by: str


@value_class(frozen=True, slots=True)
class EntitlementFact:
    """A confirmed fact about one function on one account, and who answers for having it."""

    worker: str
    portal: str
    operation_id: str
    grade: Grade
    confirmed_by: str
    confirmed_at: datetime
    tin: str
    function: Function
    authorized_by: AuthorizedBy | None


@value_class(frozen=True, slots=True)
class EntitlementGranted(EntitlementFact):
    """The function can be used now."""


@value_class(frozen=True, slots=True)
class EntitlementRevoked(EntitlementFact):
    """The function cannot be used any more, by itself or because the whole account is suspended."""


@value_class(frozen=True, slots=True)
class ExposureStarted:
    """Access that must be gone is still effective. `operation_id` is its removal order."""

    worker: str
    portal: str
    since: datetime
    rights: tuple[Right, ...]
    operation_id: str | None


@value_class(frozen=True, slots=True)
class ExposureEnded:
    """The access is confirmed gone, or may be there again."""

    worker: str
    portal: str
    since: datetime
    until: datetime
