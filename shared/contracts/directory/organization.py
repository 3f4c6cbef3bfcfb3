"""Who the organization is, where it works, who bills there, and whom it has contracts with."""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, StringConstraints

from shared.contracts.forms import Npi, Ptan, Tin
from shared.contracts.hr import Day, Text
from shared.contracts.objects import DirectoryObject, Id


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
    """A Medicare number that a contractor gave a site or clinician, for billing under a tax id."""

    ptan: Ptan
    tin: Tin
    carrier: Id
    since: Day | None = None
    until: Day | None = None
    """The last day."""


class Site(DirectoryObject):
    """A place where workers work; billed under these tax ids."""

    id: Id
    name: Text
    state: State
    """Two capitals, such as WA: a Medicare contractor serves certain states only."""
    tins: tuple[Tin, ...] = Field(min_length=1)
    ptans: tuple[TinPtan, ...] = ()


class CarrierEffective(DirectoryObject):
    """That a carrier recognizes a clinician under a tax id from a day on, until its last day."""

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
