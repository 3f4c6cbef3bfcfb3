"""What an answer to "who had access then?" does not show, named so that a reader need not guess."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from services.provisioning.rules.desired.directory import PortalKnowledge
from services.provisioning.rules.history import Holding
from shared.contracts.state import Grade
from shared.values import value_class

GIVEN_LATER_DAYS = 14
"""So long after an opening was ordered a later confirmation still casts doubt on the moment."""


@value_class(frozen=True, slots=True)
class Gap:
    """Something the answer cannot show: a named rule, and in words what it means here."""

    rule: str
    detail: str


@value_class(frozen=True, slots=True)
class PendingRemoval:
    """A removal that was ordered by then and confirmed, if at all, only later. Instants are UTC."""

    worker: str
    operation_id: str
    ordered_at: datetime
    confirmed_at: datetime | None


def gaps_of_portal(
    *,
    at: datetime,
    recording_began: datetime | None,
    seen_until: datetime | None,
    knowledge: PortalKnowledge | None,
    zone: ZoneInfo,
) -> list[Gap]:
    """What is missing for everybody on this portal.

    Args:
        recording_began: when anything first became known of the portal.
        knowledge: what is known of it where it had users before it was recorded here.
        seen_until: the last instant until `at` at which the portal itself showed anybody.
    """
    gaps = []
    if recording_began is None:
        gaps.append(Gap("nothing_recorded", "Nothing was ever recorded of this portal."))
        return gaps
    if recording_began > at:
        gaps.append(
            Gap(
                "before_the_record",
                f"Recording began on {_day(recording_began, zone)}; what is said of earlier times"
                " was told afterwards.",
            )
        )
    if knowledge is not None:
        reconciled = knowledge.reconciled_as_of
        if reconciled is None or at < reconciled:
            since = "not yet" if reconciled is None else f"as of {_day(reconciled, zone)}"
            gaps.append(
                Gap(
                    "observe_only",
                    "It had users before it was recorded here, and its first roster was reconciled"
                    f" {since}: others may have had access at the time.",
                )
            )
    if seen_until is None:
        gaps.append(
            Gap(
                "no_roster",
                "By then no list of users had been had from the portal: somebody it alone knew of"
                " would be missing here.",
            )
        )
    else:
        gaps.append(
            Gap(
                "roster_age",
                f"The portal itself last showed somebody on {_day(seen_until, zone)}: whom it added"
                " by itself afterwards would be missing here.",
            )
        )
    return gaps


def gaps_of_person(
    holdings: Sequence[Holding],
    removals: Iterable[PendingRemoval],
    *,
    at: datetime,
    first_known: datetime,
    zone: ZoneInfo,
) -> list[Gap]:
    """What is missing about one person, whose holdings at the moment these are.

    Args:
        first_known: when it first became known that they held anything then.
    """
    gaps = []
    grades = {one.entitlement.grade for one in holdings}
    if Grade.ASSUMED in grades:
        gaps.append(
            Gap(
                "unverified",
                "Adopted from an old list; nobody had seen it at the portal by then.",
            )
        )
    if Grade.PERSON in grades:
        gaps.append(
            Gap("word_only", "A person's word; the portal's own list had not shown it by then.")
        )
    if any(one.entitlement.authorized_by is None for one in holdings):
        gaps.append(Gap("nobody_answers", "Nobody is recorded as answering for it."))
    if first_known > at:
        gaps.append(Gap("said_later", f"Became known only on {_day(first_known, zone)}."))
    for removal in removals:
        until = (
            f"confirmed on {_day(removal.confirmed_at, zone)}"
            if removal.confirmed_at
            else "not confirmed yet"
        )
        gaps.append(
            Gap(
                "removal_under_way",
                f"Its removal was ordered on {_day(removal.ordered_at, zone)}, {until}; the portal"
                " may have removed it in between.",
            )
        )
    return gaps


def weakest(holdings: Iterable[Holding]) -> Grade:
    """The weakest grade of evidence among holdings."""
    order = list(Grade)
    return max((one.entitlement.grade or Grade.ASSUMED for one in holdings), key=order.index)


def _day(instant: datetime, zone: ZoneInfo) -> str:
    return instant.astimezone(zone).strftime("%-d %b %Y %H:%M %Z")
