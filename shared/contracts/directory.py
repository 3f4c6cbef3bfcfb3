"""The organization's directory and policy as data: what `portalkeeper directory apply` takes.

Facts about portals carry their source and the day somebody verified them, because portals change
their rules. Dates are calendar days in the organization's zone.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from shared.contracts.hr import Day, Npi, Text


class Function(StrEnum):
    """What a portal lets one do. `sign_on` is the function of a sign-on service itself."""

    ELIGIBILITY = "eligibility"
    BENEFITS = "benefits"
    COORDINATION_OF_BENEFITS = "coordination_of_benefits"
    CLAIM_STATUS = "claim_status"
    PRIOR_AUTHORIZATION = "prior_authorization"
    PRIOR_AUTHORIZATION_UPLOAD = "prior_authorization_upload"
    REMITTANCE = "remittance"
    PAYMENT = "payment"
    FEE_SCHEDULE = "fee_schedule"
    USER_ADMINISTRATION = "user_administration"
    SIGN_ON = "sign_on"


class OperationKind(StrEnum):
    """The changes a portal can undergo that are ordered in this version."""

    OPEN = "open"
    GRANT = "grant"
    REVOKE = "revoke"
    SUSPEND = "suspend"
    RESUME = "resume"
    APPOINT_SUCCESSOR = "appoint_successor"


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("is not an IANA time zone such as America/Los_Angeles") from error
    return value


Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
OrganizationId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}$")]
Tin = Annotated[str, StringConstraints(pattern=r"^\d{2}-\d{7}$")]
State = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Zone = Annotated[str, AfterValidator(_zone)]


class DirectoryObject(BaseModel):
    """One object of the directory; unknown fields are refused, because they are typing errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Deadlines(DirectoryObject):
    """How many hours work may take before it is overdue.

    One hour for removals follows the proposed 45 CFR 164.308(a)(3)(ii)(C) of 90 FR 898
    (2025-01-06, not final); the others are this product's defaults.
    """

    removal_hours: int = Field(default=1, ge=1, le=24 * 90)
    grant_hours: int = Field(default=72, ge=1, le=24 * 90)
    retry_hours: int = Field(default=24, ge=1, le=24 * 90)


class Organization(DirectoryObject):
    """The medical group or billing company."""

    id: OrganizationId
    name: Text
    zone: Zone
    tins: tuple[Tin, ...] = Field(min_length=1)
    npis: tuple[Npi, ...] = ()
    leave_suspends: bool = True
    leave_suspends_after_days: int = Field(default=0, ge=0, le=365)
    deadlines: Deadlines = Deadlines()


class Source(DirectoryObject):
    """A CloudEvents source that may speak for the organization."""

    id: Text
    name: Text


class Site(DirectoryObject):
    """A place where workers work; billed under these TINs."""

    id: Id
    name: Text
    state: State
    tins: tuple[Tin, ...] = Field(min_length=1)


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


class Contract(DirectoryObject):
    """Carrier with organization, for TINs (and sites, if not all); `until` starts the grace."""

    id: Id
    carrier: Id
    tins: tuple[Tin, ...] = Field(min_length=1)
    sites: tuple[Id, ...] = ()
    since: Day
    until: Day | None = None
    grace_days: int = Field(default=0, ge=0, le=730)


class PortalRule(DirectoryObject):
    """A dated, sourced rule of a portal, such as disabling a login after 30 idle days."""

    rule: Id
    value: Text
    effective_from: Day | None = None
    source: Text
    verified_on: Day | None = None
    confirmed: bool = True


class Step(DirectoryObject):
    """One step of an operation and who takes it. `text` tells the actor what to do."""

    actor: Literal["worker", "administrator", "portal"]
    text: Text


class Reach(DirectoryObject):
    """That a portal serves functions for a carrier. Lower `rank` serves better."""

    carrier: Id
    functions: tuple[Function, ...] = Field(min_length=1)
    rank: int = Field(default=50, ge=0, le=100)


class Portal(DirectoryObject):
    """A website that carriers or contractors run.

    `steps` maps an operation to what this portal really offers; `revoke_instead_of_suspend` marks
    portals that have no suspend button. `states` limits a Medicare contractor to its jurisdiction.
    """

    id: Id
    name: Text
    kind: Literal[
        "hub", "standalone", "mac", "state", "workers_comp", "sign_on", "utilization_manager"
    ]
    url: Text
    support: Text | None = None
    connector: Literal["manual", "simulator"] = "manual"
    reaches: tuple[Reach, ...] = ()
    states: tuple[State, ...] = ()
    requires_sign_on: Id | None = None
    revoke_instead_of_suspend: bool = False
    removal_rank: int = Field(default=50, ge=0, le=100)
    steps: dict[OperationKind, tuple[Step, ...]] = {}
    rules: tuple[PortalRule, ...] = ()


class Enrolment(DirectoryObject):
    """The organization's standing on a portal under a TIN; needed before anything is requested."""

    id: Id
    portal: Id
    tin: Tin
    registered_on: Day | None = None


class Administrator(DirectoryObject):
    """A worker appointed to administer a portal, from a day on; `until` is the last day."""

    id: Id
    portal: Id
    worker: Text
    since: Day
    until: Day | None = None
    deputy: Text | None = None


class TrainingModule(DirectoryObject):
    """A module that gates functions of a portal (of all portals, if none is named).

    Staff hired before `grandfathers_hired_before` count as trained until `grandfathered_until`.
    """

    id: Id
    name: Text
    owner: Text
    version: Text = "1"
    portals: tuple[Id, ...] = ()
    functions: tuple[Function, ...] = Field(min_length=1)
    valid_days: int | None = Field(default=None, ge=1)
    grandfathers_hired_before: Day | None = None
    grandfathered_until: Day | None = None

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


class Policy(DirectoryObject):
    """Who answers for the rules that give access, and since when."""

    version: Text
    signatory: Text
    signed_on: Day


class Directory(DirectoryObject):
    """One organization's whole directory: a file, an apply, a version."""

    organization: Organization
    policy: Policy
    sources: tuple[Source, ...] = Field(min_length=1)
    sites: tuple[Site, ...]
    carriers: tuple[Carrier, ...]
    contracts: tuple[Contract, ...]
    portals: tuple[Portal, ...]
    enrolments: tuple[Enrolment, ...]
    administrators: tuple[Administrator, ...] = ()
    training_modules: tuple[TrainingModule, ...] = ()
    titles: tuple[TitleMapping, ...]
    job_duties: tuple[JobDuty, ...]

    def objects(self) -> Iterator[tuple[str, str, DirectoryObject]]:
        """Every object with its kind and id, as they travel on `portal.directory-events.v1`."""
        yield "organization", self.organization.id, self.organization
        yield "policy", "policy", self.policy
        for kind, members in (
            ("source", self.sources),
            ("site", self.sites),
            ("carrier", self.carriers),
            ("contract", self.contracts),
            ("portal", self.portals),
            ("enrolment", self.enrolments),
            ("administrator", self.administrators),
            ("training_module", self.training_modules),
            ("title", self.titles),
            ("job_duty", self.job_duties),
        ):
            for member in members:
                yield kind, member.id, member

    @model_validator(mode="after")
    def _refer_to_what_exists(self) -> Self:
        known: dict[str, set[str]] = {}
        for kind, id_, _ in self.objects():
            if id_ in known.setdefault(kind, set()):
                raise ValueError(f"{kind} {id_!r} is given twice")
            known[kind].add(id_)

        def need(kind: str, id_: str | None, where: str) -> None:
            if id_ is not None and id_ not in known.get(kind, set()):
                raise ValueError(f"{where} names {kind} {id_!r}, which is not in the directory")

        def need_tins(tins: tuple[str, ...], where: str) -> None:
            for tin in tins:
                if tin not in self.organization.tins:
                    raise ValueError(f"{where} names TIN {tin}, which the organization lacks")

        for site in self.sites:
            need_tins(site.tins, f"site {site.id}")
        for contract in self.contracts:
            need("carrier", contract.carrier, f"contract {contract.id}")
            need_tins(contract.tins, f"contract {contract.id}")
            for site_id in contract.sites:
                need("site", site_id, f"contract {contract.id}")
        for portal in self.portals:
            need("portal", portal.requires_sign_on, f"portal {portal.id}")
            for reach in portal.reaches:
                need("carrier", reach.carrier, f"portal {portal.id}")
        for enrolment in self.enrolments:
            need("portal", enrolment.portal, f"enrolment {enrolment.id}")
            need_tins((enrolment.tin,), f"enrolment {enrolment.id}")
        for administrator in self.administrators:
            need("portal", administrator.portal, f"administrator {administrator.id}")
        for module in self.training_modules:
            for portal_id in module.portals:
                need("portal", portal_id, f"training module {module.id}")
        for title in self.titles:
            for duty in title.duties:
                need("job_duty", duty, f"title {title.id!r}")
        return self


DIRECTORY_MODELS: dict[str, type[DirectoryObject]] = {
    "organization": Organization,
    "policy": Policy,
    "source": Source,
    "site": Site,
    "carrier": Carrier,
    "contract": Contract,
    "portal": Portal,
    "enrolment": Enrolment,
    "administrator": Administrator,
    "training_module": TrainingModule,
    "title": TitleMapping,
    "job_duty": JobDuty,
}
"""The model of each kind's state on `portal.directory-events.v1`, as `<kind>.set` carries it."""
