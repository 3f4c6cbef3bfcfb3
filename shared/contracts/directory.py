"""The organization's directory and policy as data: what `portalkeeper directory apply` takes.

Facts about portals carry their source and the day somebody verified them, because portals change
their rules. Dates are calendar days in the organization's zone.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from shared.contracts.consistency import INCONSISTENT, inconsistencies
from shared.contracts.forms import Email, LongText, Npi, Ptan, Tin, Url
from shared.contracts.hr import Day, Text
from shared.contracts.objects import FINANCIAL as FINANCIAL
from shared.contracts.objects import DirectoryObject as DirectoryObject
from shared.contracts.objects import Function as Function
from shared.contracts.objects import Id
from shared.contracts.review_policy import ReviewPolicy


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


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("is not an IANA time zone such as America/Los_Angeles") from error
    return value


ORGANIZATION_PATTERN = r"^[a-z0-9-]{1,63}$"
OrganizationId = Annotated[str, StringConstraints(pattern=ORGANIZATION_PATTERN)]
STATE_PATTERN = r"^[A-Z]{2}$"
State = Annotated[str, StringConstraints(pattern=STATE_PATTERN)]
Zone = Annotated[str, AfterValidator(_zone)]


class Deadlines(DirectoryObject):
    """How many hours work may take before it is overdue.

    One hour for removals follows the proposed 45 CFR 164.308(a)(3)(ii)(C) of 90 FR 898
    (2025-01-06, not final); the others are this product's defaults.
    """

    removal_hours: int = Field(default=1, ge=1, le=24 * 90)
    """Taking access away, from when it is ordered."""
    grant_hours: int = Field(default=72, ge=1, le=24 * 90)
    """Giving access."""
    retry_hours: int = Field(default=24, ge=1, le=24 * 90)
    """When what a portal refused is asked for again."""
    notice_hours: int = Field(default=24, ge=1, le=24 * 90)
    """Telling a portal that somebody has left; 24 hours follow the same rule of 90 FR 898."""


class BrakeLimits(DirectoryObject):
    """How much a change of directory or policy may remove before a person must release it.

    The brake engages when more than `removals` entitlements AND more than `percent` of all that is
    held would go, counting what else went within `window_hours`. This product's defaults.
    """

    removals: int = Field(default=10, ge=0, le=100_000)
    """Entitlements."""
    percent: int = Field(default=5, ge=0, le=100)
    """Of all entitlements that are held."""
    window_hours: int = Field(default=24, ge=1, le=24 * 31)
    """What went within so many hours is counted together."""


class PhaseDays(DirectoryObject):
    """How many days each phase of an enrolment may take before it counts as stalled."""

    registration: int = Field(default=45, ge=1, le=730)
    carrier_mapping: int = Field(default=14, ge=1, le=730)
    user_provisioning: int = Field(default=14, ge=1, le=730)
    training: int = Field(default=30, ge=1, le=730)


class Organization(DirectoryObject):
    """The medical group or billing company."""

    id: OrganizationId
    name: Text
    zone: Zone
    """The IANA time zone in which its days begin, such as America/Los_Angeles."""
    tins: tuple[Tin, ...] = Field(min_length=1)
    """The tax ids under which it bills, like 12-3456789."""
    npis: tuple[Npi, ...] = ()
    """The NPIs of the organization itself; clinicians have their own."""
    leave_suspends: bool = True
    """Whether logins are suspended while their holder is on leave."""
    leave_suspends_after_days: int = Field(default=0, ge=0, le=365)
    """A leave suspends from this day of it on; 0: from its first day."""
    deadlines: Deadlines = Deadlines()
    brake: BrakeLimits = BrakeLimits()
    roster_interval_days: int = Field(default=30, ge=1, le=365)
    """How often each portal's list of users is fetched, unless the portal says otherwise."""
    enrolment_days: PhaseDays = PhaseDays()
    document_warning_days: int = Field(default=60, ge=0, le=730)
    """So many days before a document expires its renewal is asked for."""
    clearinghouse: Text | None = None
    """The clearinghouse in use, by name."""
    on_call: tuple[Text, ...] = ()
    """Worker ids of those who are told of urgent removals and overdue work on any portal."""
    hr: tuple[Text, ...] = ()
    """Worker ids of those in HR who are told of questions, late lists and silent sources."""
    holidays: tuple[Day, ...] = ()
    """Days besides Saturdays and Sundays on which nobody is expected to work."""


class Source(DirectoryObject):
    """A CloudEvents source that may speak for the organization."""

    id: Text
    """What it gives as the `source` of its events."""
    name: Text
    owner: Text | None = None
    """Worker id of who is told, instead of HR, when it is late, silent or asks something."""


class TinPtan(DirectoryObject):
    """A Medicare number that a contractor gave a site or a clinician, for billing under a TIN."""

    ptan: Ptan
    tin: Tin
    carrier: Id
    since: Day | None = None
    until: Day | None = None
    """The last day."""


class Site(DirectoryObject):
    """A place where workers work; billed under these TINs."""

    id: Id
    name: Text
    state: State
    """Two capitals, such as WA: a Medicare contractor serves certain states only."""
    tins: tuple[Tin, ...] = Field(min_length=1)
    ptans: tuple[TinPtan, ...] = ()


class CarrierEffective(DirectoryObject):
    """That a carrier recognizes a clinician under a TIN from a day on; `until` is the last day."""

    carrier: Id
    tin: Tin
    effective_on: Day
    until: Day | None = None
    """The last day."""


class Clinician(DirectoryObject):
    """Somebody who bills in their own name."""

    id: Id
    name: Text
    npi: Npi
    worker: Text | None = None
    """The id under which HR knows them."""
    sites: tuple[Id, ...] = ()
    ptans: tuple[TinPtan, ...] = ()
    carriers: tuple[CarrierEffective, ...] = ()
    """Who recognizes them, under which tax id, from when."""


class Carrier(DirectoryObject):
    """An insurance company or government program that pays."""

    id: Id
    name: Text
    kind: Literal[
        "commercial",
        "medicare",
        "medicare_advantage",
        "medicaid",
        "managed_medicaid",
        "workers_comp",
    ]
    aliases: tuple[Text, ...] = ()
    """What people call it, for searching."""
    phone: Text | None = None
    clearinghouse_id: Text | None = None
    """The payer id at the clearinghouse."""


class Contract(DirectoryObject):
    """Carrier with organization. Without one nobody gets access for the carrier."""

    id: Id
    carrier: Id
    tins: tuple[Tin, ...] = Field(min_length=1)
    sites: tuple[Id, ...] = ()
    """Where it holds; everywhere, if none is named."""
    since: Day
    until: Day | None = None
    """Its last day, which starts the grace."""
    grace_days: int = Field(default=0, ge=0, le=730)
    """So long after its end access stays that only this contract justifies."""


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
    """Per TIN."""
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


class Enrolment(DirectoryObject):
    """The organization's standing on a portal under a TIN; needed before anything is requested."""

    id: Id
    portal: Id
    tin: Tin
    registered_on: Day | None = None
    """The day on which the portal confirmed the registration."""
    owner: Text | None = None
    """The worker who sees the enrolment through."""
    documents: tuple[Id, ...] = ()
    """What its registration asks for."""


class EnrolmentDocument(DirectoryObject):
    """A document that registrations ask for. It is not stored here, only where it is kept."""

    id: Id
    kind: Literal["w9", "business_licence", "signatory", "npi_letter", "insurance", "other"]
    name: Text
    tins: tuple[Tin, ...] = Field(min_length=1)
    held_at: Text
    """Where the document itself is, for whoever fills in a registration."""
    signatory: Text | None = None
    """Who may sign for the organization, if that is what it shows."""
    expires_on: Day | None = None
    """Its last day."""


class Cover(DirectoryObject):
    """Days, first to last, on which an administrator's deputy stands in."""

    since: Day
    until: Day

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.until < self.since:
            raise ValueError("until lies before since")
        return self


class Administrator(DirectoryObject):
    """A worker appointed to administer a portal."""

    id: Id
    portal: Id
    worker: Text
    tins: tuple[Tin, ...] = ()
    """For which tax ids; for all that are registered there, if none is named."""
    since: Day
    until: Day | None = None
    """The last day."""
    deputy: Text | None = None
    """The worker who stands in on the days below."""
    signed_by: Text | None = None
    covers: tuple[Cover, ...] = ()


class TrainingModule(DirectoryObject):
    """A module that gates functions: nobody gets them before it is signed off."""

    id: Id
    name: Text
    owner: Text
    """The worker who keeps it up to date."""
    version: Text = "1"
    link: Url | None = None
    """Where the procedure is."""
    portals: tuple[Id, ...] = ()
    """On which portals; on all, if none is named."""
    functions: tuple[Function, ...] = Field(min_length=1)
    valid_days: int | None = Field(default=None, ge=1)
    """How long a sign-off counts; for good, if nothing is said."""
    grandfathers_hired_before: Day | None = None
    """Who was hired before this day counts as trained without a sign-off, for a while."""
    grandfathered_until: Day | None = None
    """The last day on which they do."""

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.grandfathers_hired_before is None) != (self.grandfathered_until is None):
            raise ValueError("grandfathering needs both its dates")
        return self


class TitleMapping(DirectoryObject):
    """What a job title does; an empty list says: needs no portal."""

    id: Text
    duties: tuple[Id, ...]


class JobDuty(DirectoryObject):
    """What a worker does that needs portals, and the functions it needs there."""

    id: Id
    name: Text
    functions: tuple[Function, ...] = Field(min_length=1)
    front_office: bool = False
    """Whether it is front office, which never holds remittance, payment or fee schedules."""


class Side(DirectoryObject):
    """One side of a separation of duties: any of these duties or functions."""

    duties: tuple[Id, ...] = ()
    functions: tuple[Function, ...] = ()

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.duties and not self.functions:
            raise ValueError("name duties or functions")
        return self


class Separation(DirectoryObject):
    """Who holds any of `holders` must not hold any of `never`; that is what is withheld.

    A rule that is not `enforced` withholds nothing: it records, with its reason, that the
    organization has decided to live with the combination.
    """

    id: Id
    holders: Side
    never: Side
    reason: Text
    enforced: bool = True
    """Otherwise it only records that the organization has decided to live with it."""


class Policy(DirectoryObject):
    """Who answers for the rules that give access, and since when."""

    version: Text
    """Counted up by itself where it is left as it was."""
    signatory: Text
    signed_on: Day
    mover_grace_days: int = Field(default=0, ge=0, le=90)
    """So long somebody who moves keeps the old access, never across a separation."""
    separation: tuple[Separation, ...] = ()
    """What must stay apart."""


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


class Directory(DirectoryObject):
    """One organization's whole directory: a file, an apply, a version."""

    organization: Organization
    policy: Policy
    sources: tuple[Source, ...] = Field(min_length=1)
    sites: tuple[Site, ...]
    clinicians: tuple[Clinician, ...] = ()
    carriers: tuple[Carrier, ...]
    contracts: tuple[Contract, ...]
    portals: tuple[Portal, ...]
    enrolments: tuple[Enrolment, ...]
    documents: tuple[EnrolmentDocument, ...] = ()
    administrators: tuple[Administrator, ...] = ()
    training_modules: tuple[TrainingModule, ...] = ()
    titles: tuple[TitleMapping, ...]
    job_duties: tuple[JobDuty, ...]
    guide: tuple[GuideEntry, ...] = ()
    reviews: ReviewPolicy | None = None
    """Without it the defaults of `ReviewPolicy` are in force."""

    def objects(self) -> Iterator[tuple[str, str, DirectoryObject]]:
        """Every object with its kind and id, as they travel on `portal.directory-events.v1`."""
        yield "organization", self.organization.id, self.organization
        yield "policy", "policy", self.policy
        if self.reviews is not None:
            yield "review_policy", "review_policy", self.reviews
        for kind, members in (
            ("source", self.sources),
            ("site", self.sites),
            ("clinician", self.clinicians),
            ("carrier", self.carriers),
            ("contract", self.contracts),
            ("portal", self.portals),
            ("enrolment", self.enrolments),
            ("enrolment_document", self.documents),
            ("administrator", self.administrators),
            ("training_module", self.training_modules),
            ("title", self.titles),
            ("job_duty", self.job_duties),
            ("guide", self.guide),
        ):
            for member in members:
                yield kind, member.id, member

    @model_validator(mode="after")
    def _hang_together(self) -> Self:
        problems = list(inconsistencies(self, FINANCIAL))
        if problems:
            raise PydanticCustomError(
                INCONSISTENT,
                "{first}",
                {"first": problems[0].message, "problems": problems},
            )
        return self


class PortalClock(DirectoryObject):
    """By when a portal wants its users confirmed next, as far as is known."""

    portal: Id
    recertify_by: Day


DIRECTORY_MODELS: dict[str, type[DirectoryObject]] = {
    "organization": Organization,
    "policy": Policy,
    "review_policy": ReviewPolicy,
    "source": Source,
    "site": Site,
    "clinician": Clinician,
    "carrier": Carrier,
    "contract": Contract,
    "portal": Portal,
    "enrolment": Enrolment,
    "enrolment_document": EnrolmentDocument,
    "administrator": Administrator,
    "training_module": TrainingModule,
    "title": TitleMapping,
    "job_duty": JobDuty,
    "guide": GuideEntry,
}
"""The model of each kind's state on `portal.directory-events.v1`, as `<kind>.set` carries it."""

CLOCK_MODELS: dict[str, type[DirectoryObject]] = {"portal_clock": PortalClock}
"""Published beside the objects of a directory: what follows from what was done, not from a file."""
