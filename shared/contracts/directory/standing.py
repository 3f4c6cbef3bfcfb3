"""The organization's own standing on portals, and who administers them for it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from shared.contracts.forms import Tin
from shared.contracts.hr import Day, Text
from shared.contracts.objects import DirectoryObject, Id


class Enrolment(DirectoryObject):
    """The organization's standing on a portal for a tax id; needed before anything is asked for."""

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
