"""What people ask the log for, the same for a search, an export and a hold."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.audit_log.rules.terms import FACETS, Query
from shared.contracts.envelope import EARLIEST_YEAR, LATEST_YEAR


def _plain(text: str | None) -> str | None:
    """`text` without spaces around; empty stands for not asked."""
    if text is not None and "\x00" in text:
        raise ValueError("a search cannot hold NUL characters")
    return (text or "").strip() or None


def _instant(instant: datetime | None) -> datetime | None:
    """An instant in UTC; one without an offset is meant in UTC."""
    if instant is None:
        return None
    if not EARLIEST_YEAR <= instant.year <= LATEST_YEAR:
        raise ValueError(f"give instants between the years {EARLIEST_YEAR} and {LATEST_YEAR}")
    return instant.replace(tzinfo=instant.tzinfo or UTC).astimezone(UTC)


Value = Annotated[str | None, Field(max_length=200), AfterValidator(_plain)]
Text = Annotated[
    str | None,
    Field(max_length=500, description="Words that must all occur."),
    AfterValidator(_plain),
]
Since = Annotated[
    datetime | None, Field(description="Recorded then or later."), AfterValidator(_instant)
]
Until = Annotated[datetime | None, Field(description="Recorded before."), AfterValidator(_instant)]


class Asked(BaseModel):
    """Which entries: those that match everything that is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    worker: Value = None
    actor: Value = None
    portal: Value = None
    carrier: Value = None
    type: Value = None
    topic: Value = None
    rule: Value = None
    outcome: Value = None
    review: Value = None
    text: Text = None
    since: Since = None
    until: Until = None

    def query(self, organization: str) -> Query:
        """The terms of an organization's entries; the period is not among them."""
        named = ((kind, getattr(self, kind)) for kind in FACETS)
        facets = tuple((kind, value) for kind, value in named if value)
        return Query(organization, facets, self.text or "")

    def filters(self) -> dict[str, Any]:
        """What was asked for, as it is recorded and shown."""
        return self.model_dump(mode="json", include=set(Asked.model_fields), exclude_none=True)
