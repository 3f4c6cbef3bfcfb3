"""What the review scheduler says on `review.events.v1`: reviews, decisions and campaigns.

Events about a review have the key organization/worker (the holder of the access), so that one
worker's reviews stay in order; events about a campaign have organization/campaign.
Instants are UTC.
"""

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.contracts.directory import Function
from shared.contracts.review_policy import NoAnswer, Recipient, ReviewScope
from shared.contracts.state import Grade

ReviewKind = Literal["campaign", "micro"]
Decision = Literal["keep", "remove"]
Advice = Literal["keep", "remove", "ask"]
"""What is recommended for a line; `ask`: somebody who knows more should say."""

Risk = Literal["administrator", "financial", "beyond_policy", "dormant", "shared"]
"""Why a line is worth a second look.

`administrator`: it administers other users, or its holder is appointed for the portal. `financial`:
it shows money. `beyond_policy`: neither a duty nor an exception gives it. `dormant`: the login has
not been used for long. `shared`: the login is not one person's.
"""

ReviewerRule = Literal[
    "supervisor",
    "next_above",
    "portal_administrator",
    "organization_administrator",
    "review_admin_queue",
]
"""Why this reviewer was chosen, best first; the last is whoever holds review:admin."""

OpeningRule = Literal[
    "campaign",
    "role_changed",
    "returned_from_leave",
    "inactive",
    "beyond_policy",
    "exception_ended",
    "break_glass_ended",
    "contractor_extended",
    "sponsor_left",
    "shared_login",
    "rehired",
    "decided_anew",
]
"""What opened a review. `decided_anew`: somebody decided otherwise after a review had closed."""

ReassignReason = Literal["reviewer_left", "no_answer", "handed_over", "not_mine"]
"""Why somebody else is asked: who was asked left or is away for long, did not answer in time,
asked somebody else, or said that it is not theirs."""

MootReason = Literal[
    "worker_left",
    "worker_merged",
    "revoked",
    "granted_anew",
    "reviewed_again",
    "overtaken",
    "brake_rejected",
]
"""`overtaken` is provisioning's word: the decision can no longer be carried out. `brake_rejected`:
nobody answered, and somebody decided that the access stays nonetheless."""


class ReviewData(BaseModel):
    """The body of a review event."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class LineOpened(ReviewData):
    """One effective entitlement that a reviewer must decide on.

    `operation_id` names the operation that granted it, and is absent for adopted access.
    `duties` are the holder's job duties that call for the function, if any do. `grade`, `since` and
    `authorized_by` (kind, reference, by) say how it is known, since when, and who answers for it.
    """

    line_id: str
    portal: str
    tin: str | None
    function: Function | None
    operation_id: str | None
    duties: tuple[str, ...] = ()
    grade: Grade | None = None
    since: AwareDatetime | None = None
    authorized_by: dict[str, str] | None = None


class ReviewOpened(ReviewData):
    """A reviewer is asked to confirm or remove what a worker can do.

    `reviewer` is a worker id, or absent when only holders of review:admin are left to ask.
    """

    review_id: str
    campaign_id: str | None
    kind: ReviewKind
    worker: str
    reviewer: str | None
    reviewer_rule: ReviewerRule
    reason: str
    opened_at: AwareDatetime
    due_at: AwareDatetime
    lines: tuple[LineOpened, ...] = Field(min_length=1)
    rule: OpeningRule | None = None
    no_answer: NoAnswer = "escalate"


class ReviewToTell(ReviewData):
    """Who is to be told of a review that waits for an answer.

    `recipients` are worker ids; nobody named means whoever holds review:admin. `days` is the rung
    of the ladder: business days before (below 0) or after the due day.
    """

    review_id: str
    campaign_id: str | None
    worker: str
    reviewer: str | None
    tell: Recipient
    recipients: tuple[str, ...]
    days: int
    undecided: int
    due_at: AwareDatetime


class ReviewReminded(ReviewToTell):
    """A reviewer (and whoever covers for them) is to be told that their answer is wanted."""

    reminded_at: AwareDatetime


class ReviewEscalated(ReviewToTell):
    """Others are to be told that a reviewer has not answered."""

    escalated_at: AwareDatetime


class ReviewDelegated(ReviewData):
    """Somebody may decide in a reviewer's place on these days, the first to the last.

    `ended_at` is given once it was ended early. The key is organization/reviewer.
    """

    delegation_id: str
    reviewer: str
    delegate: str
    since: date
    until: date
    delegated_by: str
    delegated_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    ended_by: str | None = None


class ReviewReassigned(ReviewData):
    """Somebody else is asked from now on. `reassigned_by` is a worker id, or absent for a rule.

    `words` are theirs.
    """

    review_id: str
    campaign_id: str | None
    worker: str
    previous_reviewer: str | None
    reviewer: str | None
    reviewer_rule: ReviewerRule
    reason: ReassignReason
    reassigned_by: str | None
    reassigned_at: AwareDatetime
    due_at: AwareDatetime
    undecided: int
    words: str | None = None


class LineExpired(ReviewData):
    """A line about which nobody decided in time."""

    line_id: str
    portal: str
    tin: str | None
    function: Function | None
    operation_id: str | None


class ReviewExpired(ReviewData):
    """Nobody decided on these lines in time, and what policy says for that follows.

    What is removed or suspended is inferred: it waits under the brake for its cause to be judged.
    The cause of a campaign is whole with `campaign.expired`; another one is whole with
    `cause_lines` lines.
    """

    review_id: str
    campaign_id: str | None
    worker: str
    reviewer: str | None
    consequence: NoAnswer
    due_at: AwareDatetime
    expired_at: AwareDatetime
    cause_id: str
    cause_lines: int | None
    lines: tuple[LineExpired, ...] = Field(min_length=1)


class CampaignExpired(ReviewData):
    """All that expired of a campaign at `due_at` has been said: so many lines under one cause."""

    campaign_id: str
    cause_id: str
    due_at: AwareDatetime
    expired_at: AwareDatetime
    lines: int


class ReviewDecided(ReviewData):
    """A person decided on one line. A removal always has a reason.

    `operation_id` names the operation that granted what was reviewed: the decision is moot once
    that entitlement was revoked or granted anew. `decided_by` is a worker id. `risks` and `advice`
    are what the person was shown.
    """

    review_id: str
    line_id: str
    campaign_id: str | None
    worker: str
    portal: str
    tin: str | None
    function: Function | None
    decision: Decision
    operation_id: str | None
    decided_by: str
    decided_at: AwareDatetime
    reason: str | None
    risks: tuple[Risk, ...] = ()
    advice: Advice | None = None


class ReviewCorrected(ReviewDecided):
    """A person decided again on a line of a review that had not closed; this decision counts."""

    previous_decision: Decision


class ReviewMoot(ReviewData):
    """A line needs no decision any more, or its decision can have no effect.

    `detail` says why in words.
    """

    review_id: str
    line_id: str
    campaign_id: str | None
    worker: str
    portal: str
    tin: str | None
    function: Function | None
    operation_id: str | None
    moot_at: AwareDatetime
    reason: MootReason
    detail: str | None


class ReviewAsked(ReviewData):
    """The reviewer asks a worker about a line, and decides once they have answered."""

    question_id: str
    review_id: str
    line_id: str
    campaign_id: str | None
    worker: str
    portal: str
    tin: str | None
    function: Function | None
    asked: str
    asked_by: str
    asked_at: AwareDatetime
    question: str


class ReviewAnswered(ReviewData):
    """Whoever was asked says what they would do; `ask`: they do not know either."""

    question_id: str
    review_id: str
    line_id: str
    campaign_id: str | None
    worker: str
    portal: str
    tin: str | None
    function: Function | None
    asked_by: str
    answered_by: str
    answered_at: AwareDatetime
    advice: Advice
    answer: str


class ReviewRead(ReviewData):
    """The reviewer looked at the lines for the first time."""

    review_id: str
    campaign_id: str | None
    worker: str
    read_by: str
    read_at: AwareDatetime


class ReviewRemoved(ReviewData):
    """What a line said to remove is gone from the portal; `grade` says how that is known.

    Nobody decided it (`decided_at`) where it followed from no answer.
    """

    review_id: str
    line_id: str
    campaign_id: str | None
    worker: str
    portal: str
    tin: str | None
    function: Function | None
    operation_id: str | None
    decided_at: AwareDatetime | None
    ordered_at: AwareDatetime | None
    removed_at: AwareDatetime
    grade: Grade | None
    detail: str | None


class ReviewRemovalOverdue(ReviewData):
    """A removal should be gone from the portal by `due_at` and is not.

    Said once per removal, to be escalated: `reviewer` and `decided_by` are worker ids.
    """

    review_id: str
    line_id: str
    campaign_id: str | None
    worker: str
    portal: str
    tin: str | None
    function: Function | None
    reviewer: str | None
    decided_by: str | None
    decided_at: AwareDatetime | None
    due_at: AwareDatetime
    overdue_at: AwareDatetime


class ReviewClosed(ReviewData):
    """Every line is kept, moot or confirmed removed; the numbers count lines."""

    review_id: str
    campaign_id: str | None
    worker: str
    closed_at: AwareDatetime
    kept: int
    removed: int
    moot: int


class CampaignOpened(ReviewData):
    """A campaign begins; its reviews are opened one after another from now on.

    `opened_by` is `calendar` or the worker id or subject of whoever gave the command.
    `policy_version` is the policy in force, absent while none is known; `calendar` the id of the
    calendar that asked for it.
    """

    campaign_id: str
    title: str
    opened_by: str
    opened_at: AwareDatetime
    due_at: AwareDatetime
    policy_version: str | None
    calendar: str | None = None
    scope: ReviewScope = ReviewScope()
    no_answer: NoAnswer = "escalate"


class CampaignClosed(ReviewData):
    """All reviews of the campaign are closed; kept, removed, moot and elsewhere count lines.

    `population` is how many workers held anything when it began, `seen` how many had their turn;
    `elsewhere` are lines that were left out because another campaign was asking about them.
    """

    campaign_id: str
    closed_at: AwareDatetime
    reviews: int
    kept: int
    removed: int
    moot: int
    population: int | None = None
    seen: int | None = None
    elsewhere: int = 0


REVIEW_EVENT_MODELS: Mapping[str, type[ReviewData]] = MappingProxyType(
    {
        "review.opened": ReviewOpened,
        "review.reminded": ReviewReminded,
        "review.escalated": ReviewEscalated,
        "review.delegated": ReviewDelegated,
        "review.reassigned": ReviewReassigned,
        "review.expired": ReviewExpired,
        "review.decided": ReviewDecided,
        "review.corrected": ReviewCorrected,
        "review.moot": ReviewMoot,
        "review.asked": ReviewAsked,
        "review.answered": ReviewAnswered,
        "review.read": ReviewRead,
        "review.removal_overdue": ReviewRemovalOverdue,
        "review.removed": ReviewRemoved,
        "review.closed": ReviewClosed,
        "campaign.opened": CampaignOpened,
        "campaign.expired": CampaignExpired,
        "campaign.closed": CampaignClosed,
    }
)
"""The model of each event's data on `review.events.v1`."""
