"""The organization's directory and policy as data: what `portalkeeper directory apply` takes.

Facts about portals carry their source and the day somebody verified them, because portals change
their rules. Dates are calendar days in the organization's zone.
"""

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from shared.contracts.consistency import INCONSISTENT, inconsistencies
from shared.contracts.directory.organization import (
    ORGANIZATION_PATTERN,
    STATE_PATTERN,
    BrakeLimits,
    Carrier,
    Clinician,
    Contract,
    Deadlines,
    Organization,
    PhaseDays,
    Site,
    Source,
    TinPtan,
)
from shared.contracts.directory.policy import (
    JobDuty,
    Policy,
    Separation,
    Side,
    TitleMapping,
    TrainingModule,
)
from shared.contracts.directory.portals import (
    RULE_TYPES,
    Chore,
    Downtime,
    GuideEntry,
    OperationKind,
    Portal,
    PortalClock,
    PortalRule,
    Reach,
    RuleName,
    Step,
)
from shared.contracts.directory.standing import Administrator, Enrolment, EnrolmentDocument
from shared.contracts.objects import FINANCIAL, DirectoryObject, Function
from shared.contracts.review_policy import ReviewPolicy

__all__ = [
    "CLOCK_MODELS",
    "DIRECTORY_MODELS",
    "FINANCIAL",
    "ORGANIZATION_PATTERN",
    "RULE_TYPES",
    "STATE_PATTERN",
    "Administrator",
    "BrakeLimits",
    "Carrier",
    "Chore",
    "Contract",
    "Deadlines",
    "Directory",
    "DirectoryObject",
    "Downtime",
    "Enrolment",
    "EnrolmentDocument",
    "Function",
    "GuideEntry",
    "JobDuty",
    "OperationKind",
    "Organization",
    "PhaseDays",
    "Policy",
    "Portal",
    "PortalClock",
    "PortalRule",
    "Reach",
    "RuleName",
    "Separation",
    "Side",
    "Site",
    "Source",
    "Step",
    "TinPtan",
    "TitleMapping",
    "TrainingModule",
]


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
