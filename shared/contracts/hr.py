"""What HR systems say about workers: the canonical events on `hr.worker-events.v1`.

A reason for leave or termination is never collected; unknown fields are dropped where events enter.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from shared.contracts.envelope import (
    EARLIEST_YEAR,
    LATEST_YEAR,
    Envelope,
    KafkaRecord,
    check_id,
    fingerprint,
    read_event,
    rfc3339,
)
from shared.errors import Rejected
from shared.values import value_class


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("holds control characters")
    return value


def _plausible(value: date) -> date:
    if not EARLIEST_YEAR <= value.year <= LATEST_YEAR:
        raise ValueError(f"the year must lie between {EARLIEST_YEAR} and {LATEST_YEAR}")
    return value


def _npi(value: str) -> str:
    if not is_npi(value):
        raise ValueError("is not an NPI: ten digits whose last is the Luhn check digit")
    return value


def is_npi(value: str) -> bool:
    """Whether `value` is a National Provider Identifier: Luhn over the prefix 80840 and ten digits.

    Source: CMS, "Requirements for National Provider Identifier (NPI) and NPI Check Digit".
    """
    if len(value) != 10 or not value.isascii() or not value.isdigit():
        return False
    total = 0
    for position, digit in enumerate(reversed("80840" + value)):
        number = int(digit) * (2 if position % 2 else 1)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Day = Annotated[date, AfterValidator(_plausible)]
Instant = Annotated[AwareDatetime, AfterValidator(_plausible)]
Npi = Annotated[str, AfterValidator(_npi)]
WorkerKind = Literal["employee", "clinician", "contractor", "student", "vendor_staff"]


CONSOLE_SOURCE = "/portalkeeper/console"
"""What people enter by hand at the gateway, for their own organization and under their name."""


class HrData(BaseModel):
    """The body of an HR event."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Dated(HrData):
    """A fact with effect from an instant (`effective_at`) or a day in the organization's zone."""

    effective_at: Instant | None = None
    effective_on: Day | None = None

    @model_validator(mode="after")
    def _one_date(self) -> Self:
        if (self.effective_at is None) == (self.effective_on is None):
            raise ValueError("give exactly one of effective_at and effective_on")
        return self

    def takes_effect(self, zone: ZoneInfo) -> datetime:
        """The instant in UTC at which the fact begins to hold; a day begins at 00:00 in `zone`."""
        if self.effective_at is not None:
            return self.effective_at.astimezone(UTC)
        assert self.effective_on is not None
        return start_of_day(self.effective_on, zone)


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """00:00 of `day` in `zone`, in UTC."""
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def end_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The instant in UTC at which `day` is over in `zone`."""
    return start_of_day(day + timedelta(days=1), zone)


class WorkerHired(Dated):
    """An employment begins; the only event that opens one."""

    employment_id: Text
    title: Text
    department: Text | None = None
    sites: tuple[Text, ...] = ()
    supervisor: Text | None = None
    kind: WorkerKind = "employee"
    npi: Npi | None = None
    ends_on: Day | None = None
    name: Text | None = None
    email: Text | None = None


class WorkerChanged(Dated):
    """Attributes of an employment change; never its status."""

    employment_id: Text
    title: Text | None = None
    department: Text | None = None
    sites: tuple[Text, ...] | None = None
    supervisor: Text | None = None
    kind: WorkerKind | None = None
    ends_on: Day | None = None


class WorkerIdentityCorrected(Dated):
    """The person's own particulars were wrong or have changed."""

    name: Text | None = None
    email: Text | None = None
    npi: Npi | None = None


class WorkerMerged(HrData):
    """Two worker ids are one person; `previous_worker_id` is the one no longer used."""

    previous_worker_id: Text


class WorkerLeaveStarted(Dated):
    """A leave begins inside an employment."""

    employment_id: Text


class WorkerLeaveEnded(Dated):
    """The worker is back, from 00:00 of the day given."""

    employment_id: Text


class WorkerTerminated(Dated):
    """An employment ends: at the end of the last day, or at once when `immediate`."""

    employment_id: Text
    voluntary: bool = True
    immediate: bool = False

    def takes_effect(self, zone: ZoneInfo) -> datetime:
        """The instant in UTC from which the employment is over."""
        if self.effective_on is not None and not self.immediate:
            return end_of_day(self.effective_on, zone)
        return super().takes_effect(zone)


class WorkerTrainingCompleted(HrData):
    """The worker passed a module on a day, with the module's version."""

    module: Text
    version: Text = "1"
    completed_on: Day
    expires_on: Day | None = None


class WorkerTrainingExpired(HrData):
    """A module's sign-off no longer counts from a day on."""

    module: Text
    expired_on: Day


class WorkerRescinded(HrData):
    """An earlier event, named by its id, is withdrawn."""

    rescinds: Text


class WorkerErased(HrData):
    """The person's data must go: desired access is empty and the state becomes a tombstone."""


HR_EVENT_MODELS: Mapping[str, type[HrData]] = MappingProxyType(
    {
        "worker.hired": WorkerHired,
        "worker.changed": WorkerChanged,
        "worker.identity_corrected": WorkerIdentityCorrected,
        "worker.merged": WorkerMerged,
        "worker.leave_started": WorkerLeaveStarted,
        "worker.leave_ended": WorkerLeaveEnded,
        "worker.terminated": WorkerTerminated,
        "worker.training_completed": WorkerTrainingCompleted,
        "worker.training_expired": WorkerTrainingExpired,
        "worker.rescinded": WorkerRescinded,
        "worker.erased": WorkerErased,
    }
)


@value_class(frozen=True, slots=True)
class HrEvent:
    """One validated HR event. Identity is (organization, source, id, fingerprint).

    `canonical` is the JSON of `data`, as it is stored and as the fingerprint covers it.
    `entered_by` names the person who entered it by hand, if one did.
    """

    organization: str
    worker: str
    source: str
    id: str
    fingerprint: bytes
    type: str
    time: datetime
    data: HrData
    canonical: bytes
    entered_by: str | None

    @property
    def order(self) -> tuple[datetime, str, str, bytes]:
        """The total order of a worker's events; "latest recorded" means greatest by this."""
        return (self.time, self.source, self.id, self.fingerprint)


def validate(envelope: Envelope) -> HrEvent:
    """The HR event in an envelope, reduced to the canonical fields.

    Raises:
        Rejected: the type is unknown or a field is missing or malformed; the detail names the
            field and never repeats its value.
    """
    model = HR_EVENT_MODELS.get(envelope.type)
    if model is None:
        raise Rejected("unknown_type", f"no HR event is called {envelope.type!r:.80}")
    try:
        data = model.model_validate_json(envelope.data)
    except ValidationError as error:
        raise Rejected("invalid_data", describe(error)) from error
    if isinstance(data, WorkerMerged):
        check_id(data.previous_worker_id, "previous_worker_id")
        if data.previous_worker_id == envelope.subject:
            raise Rejected("invalid_data", "previous_worker_id must differ from the subject")
    canonical = data.model_dump_json(exclude_none=True).encode()
    return HrEvent(
        envelope.organization,
        envelope.subject,
        envelope.source,
        envelope.id,
        fingerprint(
            envelope.type.encode(),
            envelope.subject.encode(),
            rfc3339(envelope.time).encode(),
            canonical,
        ),
        envelope.type,
        envelope.time,
        data,
        canonical,
        envelope.extensions.get("enteredby"),
    )


def read_hr_event(record: KafkaRecord) -> HrEvent:
    """The HR event in a Kafka record.

    Raises:
        Rejected: as `validate`, and when the record's key is not organization/subject.
    """
    envelope = read_event(record)
    event = validate(envelope)
    if record.key != envelope.key.encode():
        raise Rejected("key_mismatch", "the record's key is not organization/subject")
    return event


def describe(error: ValidationError) -> str:
    """What pydantic found wrong first, without the offending value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "event"
    more = error.error_count() - 1
    # A rule of ours is a sentence of its own.
    said = first["msg"].removeprefix("Value error, ")
    return f"{where}: {said}" + (f" (and {more} more)" if more else "")


def dropped_fields(event_type: str, data: Mapping[str, Any]) -> list[str]:
    """Names of the fields that are not part of the canonical event and do not travel on."""
    model = HR_EVENT_MODELS.get(event_type)
    return sorted(set(data) - set(model.model_fields)) if model else []
