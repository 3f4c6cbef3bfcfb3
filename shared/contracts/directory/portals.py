"""Portals: what they can undergo, their dated and sourced rules, and where work is done there."""

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from shared.contracts.directory.organization import State
from shared.contracts.forms import Email, LongText, Url
from shared.contracts.hr import Day, Text
from shared.contracts.objects import DirectoryObject, Function, Id


class OperationKind(StrEnum):
    """The changes a portal can undergo that are ordered in this version.

    `rotate`: change what a login that several people know is opened with. `close`: end a login for
    good. `keep_alive`: the holder signs in before the portal disables an idle login.
    """

    OPEN = "open"
    GRANT = "grant"
    REVOKE = "revoke"
    SUSPEND = "suspend"
    RESUME = "resume"
    ROTATE = "rotate"
    CLOSE = "close"
    KEEP_ALIVE = "keep_alive"
    APPOINT_SUCCESSOR = "appoint_successor"


class Chore(StrEnum):
    """Recurring or rare work on a portal that is about no single login."""

    FETCH_ROSTER = "fetch_roster"
    RECERTIFY = "recertify"
    PROFILE_CHECK = "profile_check"
    REQUEST_LOG = "request_log"


class RuleName(StrEnum):
    """Rules of portals that programs read. Days count from the last login unless said otherwise."""

    INACTIVITY_DAYS = "inactivity_days"
    """After so many idle days the login is disabled."""
    INACTIVITY_WARNING_DAYS = "inactivity_warning_days"
    DELETES_AFTER_DAYS = "deletes_after_days"
    """After so many idle days the login is deleted, or ended for good."""
    RECERTIFICATION_DAYS = "recertification_days"
    """Users must be confirmed within so many days of the last time."""
    RECERTIFICATION_WINDOW_DAYS = "recertification_window_days"
    PASSWORD_DAYS = "password_days"
    PASSWORD_IDLE_DAYS = "password_idle_days"
    """After so many idle days the password expires."""
    PROFILE_CHECK_DAYS = "profile_check_days"
    ID_REUSE_DAYS = "id_reuse_days"
    """For so many days a login id is not given to another person."""
    MAX_ADMINISTRATORS = "max_administrators"
    """Per tax id."""
    EXPECTED_ADMINISTRATORS = "expected_administrators"
    MAX_TINS_PER_ADMINISTRATOR = "max_tins_per_administrator"
    ONE_ROLE_PER_PERSON = "one_role_per_person"
    ONE_LOGIN = "one_login"
    """The organization gets one login, which several people know."""
    IDENTITY_SURVIVES = "identity_survives"
    """The login belongs to the person and outlives the employer: the affiliation is what ends."""
    TERMINATING_ADMIN_ENDS_ASSIGNED = "terminating_admin_ends_assigned"
    """Terminating an administrator ends every login they assigned."""
    LAST_ADMINISTRATOR_KEPT = "last_administrator_kept"
    """The portal does not let the only administrator be deactivated."""
    ADMINISTRATOR_MUST_BE_STAFF = "administrator_must_be_staff"
    OWN_EMAIL = "own_email"
    """Each person needs an e-mail address that nobody else uses there."""
    US_ONLY = "us_only"
    MFA = "mfa"
    ENDED_CAN_BE_REOPENED = "ended_can_be_reopened"


_FLAGS = frozenset(
    {
        RuleName.ONE_ROLE_PER_PERSON,
        RuleName.ONE_LOGIN,
        RuleName.IDENTITY_SURVIVES,
        RuleName.TERMINATING_ADMIN_ENDS_ASSIGNED,
        RuleName.LAST_ADMINISTRATOR_KEPT,
        RuleName.ADMINISTRATOR_MUST_BE_STAFF,
        RuleName.OWN_EMAIL,
        RuleName.US_ONLY,
        RuleName.MFA,
        RuleName.ENDED_CAN_BE_REOPENED,
    }
)


RULE_TYPES: Mapping[str, type[bool] | type[int]] = MappingProxyType(
    {name.value: bool if name in _FLAGS else int for name in RuleName}
)
"""What the value of each rule that programs read must be; any other rule is told in words."""


class PortalRule(DirectoryObject):
    """A dated, sourced rule of a portal, such as disabling a login after 30 idle days.

    Without a `value` it is not known; what nobody has confirmed says `confirmed: false`. Several
    rows of one rule hold one after the other, each from its `effective_from` on.
    """

    rule: Id
    value: StrictBool | StrictInt | LongText | None = None
    effective_from: Day | None = None
    source: Text
    verified_on: Day | None = None
    confirmed: bool = True
    note: LongText | None = None

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if self.value is None:
            if self.confirmed:
                raise ValueError("without a value it must say confirmed: false")
            return self
        wanted = RULE_TYPES.get(self.rule)
        if wanted is bool and not isinstance(self.value, bool):
            raise ValueError(f"{self.rule} is true or false")
        if wanted is int and (isinstance(self.value, bool) or not isinstance(self.value, int)):
            raise ValueError(f"{self.rule} is a whole number")
        if wanted is int and not 0 < int(self.value) <= 36_500:
            raise ValueError(f"{self.rule} must lie between 1 and 36500")
        return self


class Step(DirectoryObject):
    """One step of an operation and who takes it. `text` tells the actor what to do.

    `link` is where it is done, `hours` how long it usually takes (a portal's working days as 24).
    """

    actor: Literal["worker", "administrator", "portal"]
    text: LongText
    link: Url | None = None
    hours: int | None = Field(default=None, ge=1, le=24 * 365)


class Screen(DirectoryObject):
    """Where on a portal a function is found."""

    name: Text
    link: Url | None = None


class Downtime(DirectoryObject):
    """What to do while a portal does not work: an owned, versioned procedure."""

    owner: Text
    version: Text
    text: LongText
    link: Url | None = None


class Reach(DirectoryObject):
    """That a portal serves functions for a carrier. Lower `rank` serves better."""

    carrier: Id
    functions: tuple[Function, ...] = Field(min_length=1)
    rank: int = Field(default=50, ge=0, le=100)


class Portal(DirectoryObject):
    """A website that carriers or contractors run.

    Everybody who uses any portal needs a seat of the `vault` and a `work_account` (e-mail with its
    second factor), where the directory has one; both are removed first, by their `removal_rank`.
    """

    id: Id
    name: Text
    kind: Literal[
        "hub",
        "standalone",
        "mac",
        "state",
        "workers_comp",
        "sign_on",
        "utilization_manager",
        "vault",
        "work_account",
    ]
    url: Url
    catalogue: Id | None = None
    """The entry of the shipped catalogue that fills in what is not given here."""
    support: Text | None = None
    """Where its support is reached."""
    notices_to: Email | None = None
    """Who at the portal is told that somebody left."""
    identity: Text | None = None
    """What people call the login where it is their own, as One Healthcare ID."""
    vault_item: Text | None = None
    """A reference to the vault, never a password."""
    connector: Id = "manual"
    """Who carries operations out; what no connector has the name of waits for a person."""
    starts: Literal["existing", "new"] = "existing"
    """One that is existing may have users nobody has told of: it is only observed until its first
    user list is reconciled."""
    reaches: tuple[Reach, ...] = ()
    """Whom it reaches, and with which functions."""
    states: tuple[State, ...] = ()
    """The jurisdiction of a Medicare contractor; empty: everywhere."""
    requires_sign_on: Id | None = None
    """The sign-on service through which its users come."""
    revoke_instead_of_suspend: bool = False
    """It has no suspend button: every function is taken instead."""
    closes_only: bool = False
    """Nothing but ending a login for good takes it from somebody: there that is the removal."""
    removal_rank: int = Field(default=50, ge=0, le=100)
    """When somebody leaves, lower goes first."""
    steps: dict[OperationKind, tuple[Step, ...]] = Field(default={})
    """What this portal really offers for an operation."""
    chores: dict[Chore, tuple[Step, ...]] = Field(default={})
    """How work that changes nobody's access is done here."""
    screens: dict[Function, Screen] = Field(default={})
    """Where each function is found."""
    rules: tuple[PortalRule, ...] = ()
    """Its own rules, dated and with their source."""
    roster_interval_days: int | None = Field(default=None, ge=1, le=365)
    """How often its user list is fetched, where that is not as for the others."""
    downtime: Downtime | None = None

    def rule_in_force(self, name: str, day: date) -> PortalRule | None:
        """The row of a rule that holds on `day`, confirmed or not; None where there is none."""
        begun = [
            row
            for row in self.rules
            if row.rule == name and (row.effective_from is None or row.effective_from <= day)
        ]
        return max(begun, key=lambda row: row.effective_from or date.min, default=None)

    def number(self, name: RuleName, day: date) -> int | None:
        """The value of a numeric rule on `day`; None where it is not known."""
        row = self.rule_in_force(name, day)
        return row.value if row is not None and type(row.value) is int else None

    def holds(self, name: RuleName, day: date) -> bool:
        """Whether a yes-or-no rule holds on `day`; what is not known does not."""
        row = self.rule_in_force(name, day)
        return row is not None and row.value is True


class GuideEntry(DirectoryObject):
    """Where some work is done: what a clearinghouse answers, and what the portal shows."""

    id: Id
    work: Text
    """The work, in a few words."""
    words: tuple[Text, ...] = ()
    """What people search with."""
    functions: tuple[Function, ...] = Field(min_length=1)
    carriers: tuple[Id, ...] = ()
    """For which carriers; for all, if none is named."""
    portal: Id | None = None
    """Without one, the portal that serves the carrier and function best."""
    screen: Text | None = None
    link: Url | None = None
    clearinghouse: LongText | None = None
    """What the clearinghouse answers."""
    portal_shows: LongText | None = None
    """What the portal shows."""
    phone: Text | None = None


class PortalClock(DirectoryObject):
    """By when a portal wants its users confirmed next, as far as is known."""

    portal: Id
    recertify_by: Day
