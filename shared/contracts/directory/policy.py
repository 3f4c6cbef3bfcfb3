"""Which title does what, what each duty needs, what gates it, and what must stay apart."""

from typing import Self

from pydantic import Field, model_validator

from shared.contracts.forms import Url
from shared.contracts.hr import Day, Text
from shared.contracts.objects import DirectoryObject, Function, Id


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
