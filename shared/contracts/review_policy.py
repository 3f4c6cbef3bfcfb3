"""How an organization reviews access, a part of its directory: the section `reviews` of the file.

Access is reviewed at least each quarter, and whenever something about a worker changes: 45 CFR
164.308(a)(4)(ii)(C) asks to review access without saying how often. The numbers are this product's
defaults. Dates and business days are the organization's own, in its zone.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from shared.contracts.forms import Tin
from shared.contracts.hr import Text, WorkerKind
from shared.contracts.objects import DirectoryObject, Function, Id

NoAnswer = Literal["remove", "suspend", "escalate"]
"""What becomes of access about which nobody decided in time. `remove`: it is ordered away.
`suspend`: the login is suspended where all it can do there went unanswered, and the rest is ordered
away. `escalate`: it stays, and the next above is asked. What is taken passes the brake."""

Recipient = Literal["reviewer", "above_reviewer", "portal_administrator", "review_admin"]
"""Whom a rung tells: who was asked, the first present above them, who administers the portals in
question, or whoever holds review:admin."""

RUNGS_MAX = 12


class ReviewScope(DirectoryObject):
    """What a campaign asks about: entitlements that fit every list that names any."""

    sites: tuple[Id, ...] = ()
    """Where the holder works."""
    tins: tuple[Tin, ...] = ()
    carriers: tuple[Id, ...] = ()
    """Those that the portal reaches for the function."""
    portals: tuple[Id, ...] = ()
    functions: tuple[Function, ...] = ()
    worker_kinds: tuple[WorkerKind, ...] = ()
    """What HR says somebody is."""


class CampaignCalendar(DirectoryObject):
    """A campaign that comes again by itself.

    Nothing is asked twice at once: what an earlier campaign still asks about is left to it.
    """

    id: Id
    name: Text
    every: Literal["month", "quarter", "year", "recertification"]
    """It begins with each calendar month, quarter or year; with `recertification`, once for each
    portal that has a date by which it wants its users confirmed."""
    scope: ReviewScope = ReviewScope()
    days_to_decide: int = Field(default=14, ge=1, le=90)
    """Two working weeks: a supervisor on a week's holiday still has a week for everybody."""
    spread_days: int = Field(default=1, ge=1, le=31)
    """A share of the workers is asked about on each of so many days, and the days to decide count
    from theirs."""
    ahead_days: int = Field(default=45, ge=1, le=180)
    """So long before a portal's date its recertification begins."""
    no_answer: NoAnswer = "escalate"
    """What becomes of access about which nobody decided in time: ordered away, suspended, or left
    while the next above is asked."""


class Rung(DirectoryObject):
    """A step of the ladder: whom to tell, in the morning of which day.

    A rung is told once, and of several that were missed only the last.
    """

    days: int = Field(ge=-60, le=60)
    """Business days before (below 0) or after the due day; 0: the due instant itself."""
    tell: Recipient


class KeepReasons(DirectoryObject):
    """For what a decision to keep needs a reason."""

    financial: bool = False
    user_administration: bool = False
    dormant: bool = True
    beyond_policy: bool = True


def _in_order(ladder: tuple[Rung, ...]) -> tuple[Rung, ...]:
    days = [rung.days for rung in ladder]
    if days != sorted(set(days)):
        raise ValueError("the rungs of the ladder come in the order of their days, one a day")
    return ladder


class ReviewPolicy(DirectoryObject):
    """What opens reviews, who is told when nobody answers, and what becomes of the access then."""

    calendars: tuple[CampaignCalendar, ...] = (
        CampaignCalendar(
            id="user-administration",
            name="User administration",
            every="month",
            scope=ReviewScope(functions=(Function.USER_ADMINISTRATION,)),
        ),
        CampaignCalendar(
            id="recertification",
            name="Recertification",
            every="recertification",
        ),
        CampaignCalendar(id="quarterly", name="Quarterly review", every="quarter"),
    )
    """Campaigns that come again by themselves; in this order, where several begin at once."""
    micro_days_to_decide: int = Field(default=5, ge=1, le=60)
    """Business days. One working week: a mover holds old and new access until somebody looked."""
    micro_no_answer: NoAnswer = "escalate"
    """As with campaigns, for the review that a change of somebody's work opens."""
    sponsor_left_no_answer: NoAnswer = "suspend"
    """Where whoever answered for a contractor, student or vendor's worker has left: nobody knows
    the work, so what nobody confirms ends, in the way that is quickest to undo."""
    long_leave_days: int = Field(default=30, ge=1, le=730)
    """A leave at least so long opens a review on return."""
    inactive_days: int = Field(default=60, ge=1, le=730)
    """A login idle for so many days opens a review; CMS ARS 5.0 AC-2(3) disables after 60."""
    ladder: Annotated[tuple[Rung, ...], Field(max_length=RUNGS_MAX), AfterValidator(_in_order)] = (
        Rung(days=-5, tell="reviewer"),
        Rung(days=-2, tell="reviewer"),
        Rung(days=-1, tell="above_reviewer"),
        Rung(days=1, tell="review_admin"),
    )
    """Who is reminded, and when."""
    escalated_days: int = Field(default=3, ge=1, le=60)
    """Business days for whoever is asked next, where nobody answered and policy escalates."""
    keep_reasons: KeepReasons = KeepReasons()
    authorizer_may_review: bool = False
    """Whether whoever authorized access, by exception or break-glass, may review it."""

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        ids = [calendar.id for calendar in self.calendars]
        if len(set(ids)) < len(ids):
            raise ValueError("the calendars need ids of their own")
        return self
