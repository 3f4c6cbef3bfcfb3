"""What the columns of HR's lists mean: by an HR system's preset, or the source's own mapping."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.hr import Text, WorkerKind


class Says(StrEnum):
    """What a column of HR's list says of a worker."""

    WORKER = "worker"
    NAME = "name"
    FIRST_NAME = "first_name"
    LAST_NAME = "last_name"
    EMAIL = "email"
    TITLE = "title"
    DEPARTMENT = "department"
    SITE = "site"
    SUPERVISOR = "supervisor"
    KIND = "kind"
    NPI = "npi"
    STATUS = "status"
    EMPLOYMENT_STATUS = "employment_status"
    HIRED_ON = "hired_on"
    REHIRED_ON = "rehired_on"
    TERMINATED_ON = "terminated_on"
    LEAVE_FROM = "leave_from"
    LEAVE_UNTIL = "leave_until"
    ENDS_ON = "ends_on"
    IGNORE = "ignore"


DAYS = (
    Says.HIRED_ON,
    Says.REHIRED_ON,
    Says.TERMINATED_ON,
    Says.LEAVE_FROM,
    Says.LEAVE_UNTIL,
    Says.ENDS_ON,
)


class Standing(StrEnum):
    """Where a list says that a worker stands. `pending`: hired, but not yet begun."""

    ACTIVE = "active"
    PENDING = "pending"
    LEAVE = "leave"
    LEFT = "left"


class Preset(BaseModel):
    """How one HR system's export is read; each field with its headings, the likeliest first.

    `day_first` is None where the order of day and month must show in the file itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    report: str
    sources: tuple[str, ...]
    columns: Mapping[Says, tuple[str, ...]]
    statuses: Mapping[Standing, tuple[str, ...]]
    kinds: Mapping[WorkerKind, tuple[str, ...]]
    day_first: bool | None = None


class SourceMapping(BaseModel):
    """What a source's own lists mean, beyond or against its preset; kept for its next list.

    Without a `preset` the headings tell. `columns` name what a heading says, `sites` what a place
    is called in the directory, and `id_digits` how many digits an id has, so that zeros that Excel
    dropped are put back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Text | None = None
    columns: Mapping[Text, Says] = Field(default={}, max_length=200)
    statuses: Mapping[Text, Standing] = Field(default={}, max_length=200)
    kinds: Mapping[Text, WorkerKind] = Field(default={}, max_length=200)
    sites: Mapping[Text, tuple[Text, ...]] = Field(default={}, max_length=500)
    day_first: bool | None = None
    id_digits: int | None = Field(default=None, ge=2, le=20)


def plain(text: str) -> str:
    """Letters and digits only, without accents and case: how headings and words are compared."""
    bare = unicodedata.normalize("NFKD", text.casefold().replace("#", "number"))
    return "".join(c for c in bare if c.isalnum())


def likeliest_preset(columns: Iterable[str], presets: Mapping[str, Preset]) -> str:
    """The preset that knows most of the headings; `plain` where no other knows more."""
    found = {plain(column) for column in columns}

    def known(name: str) -> int:
        return sum(
            any(plain(heading) in found for heading in headings)
            for headings in presets[name].columns.values()
        )

    return max(sorted(presets), key=lambda name: (known(name), name == "plain"))


def columns_of(columns: Sequence[str], preset: Preset, mapping: SourceMapping) -> dict[Says, int]:
    """Which column says what: the source's own mapping first, then the preset's likeliest."""
    at: dict[Says, int] = {}
    own = {plain(heading): field for heading, field in mapping.columns.items()}
    for number, column in enumerate(columns):
        field = own.get(plain(column))
        if field is not None and field is not Says.IGNORE:
            at.setdefault(field, number)
    free = {
        plain(column): number
        for number, column in reversed(list(enumerate(columns)))
        if plain(column) not in own
    }
    for field, headings in preset.columns.items():
        if field not in at:
            found = next((free[plain(each)] for each in headings if plain(each) in free), None)
            if found is not None and found not in at.values():
                at[field] = found
    return at
