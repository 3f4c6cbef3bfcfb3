"""What people in HR are told of their sources: each matter once, and until it is so no longer."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from urllib.parse import quote

from services.gateway.rules.notices import Kind, Matter

WRONG_SIGNATURES_A_DAY = 10
"""A clock that is wrong or a secret that was replaced shows at once; one stray request is none."""

SOURCE_KINDS = (
    Kind.HR_LATE,
    Kind.HR_HELD,
    Kind.HR_SILENT,
    Kind.HR_DELIVERIES,
    Kind.HR_SIGNATURES,
    Kind.HR_QUESTIONS,
    Kind.SEALED,
)
"""What these matters are; one that is not so any more is told nobody."""


@dataclass(frozen=True, slots=True)
class Faring:
    """How a source fares. Days are UTC's.

    `owner` is the worker who answers for it; `asked_on` when HR was last asked something that still
    waits, `late_since` (UTC) when its list should have come, `held` the list that waits for a
    person, `silent_since` when it was last heard, if that is longer ago than its habit, and
    `failing_since` when a vendor's delivery was last given up.
    """

    source: str
    owner: str | None = None
    asked_on: date | None = None
    late_since: datetime | None = None
    held: str | None = None
    silent_since: date | None = None
    failing_since: date | None = None


def source_matters(faring: Faring) -> Iterator[Matter]:
    """What there is to tell of a source, to its owner or, without one, to HR."""
    name = quote(faring.source, safe="")
    page = f"/hr/source?name={name}"
    told = (
        (Kind.HR_QUESTIONS, faring.asked_on, f"/hr/questions?source={name}"),
        (Kind.HR_LATE, faring.late_since, page),
        (Kind.HR_HELD, faring.held, f"/hr/lists/{faring.held}"),
        (Kind.HR_SILENT, faring.silent_since, page),
        (Kind.HR_DELIVERIES, faring.failing_since, page),
    )
    owners = (faring.owner,) if faring.owner else ()
    for kind, since, path in told:
        if since is not None:
            key = f"{kind.value}:{name}/{since}"
            yield Matter(key, kind, path, None, workers=owners, to_hr=not owners)


def signature_matters(count: int, day: date) -> Iterator[Matter]:
    """That too many requests of a day were signed with no secret of ours."""
    if count >= WRONG_SIGNATURES_A_DAY:
        key = f"{Kind.HR_SIGNATURES.value}/{day}"
        yield Matter(key, Kind.HR_SIGNATURES, "/hr", None, to_hr=True)


def stuck_matter(entry: str) -> Matter:
    """That a sealed entry could not be opened when its time had come. It names nobody."""
    return Matter(f"{Kind.SEALED.value}:{entry}", Kind.SEALED, "/hr", None, to_on_call=True)
