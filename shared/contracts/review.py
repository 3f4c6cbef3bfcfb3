"""What the review scheduler says on `review.events.v1`: reviews, decisions and campaigns.

Events about a review have the key organization/worker (the holder of the access), so that one
worker's reviews stay in order; events about a campaign have organization/campaign.
Instants are UTC.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.contracts.directory import Function

ReviewKind = Literal["campaign", "micro"]
Decision = Literal["keep", "remove"]
ReviewerRule = Literal[
    "supervisor",
    "next_above",
    "portal_administrator",
    "organization_administrator",
    "review_admin_queue",
]
"""Why this reviewer was chosen, best first; the last is whoever holds review:admin."""

MootReason = Literal[
    "worker_left", "worker_merged", "revoked", "granted_anew", "reviewed_again", "overtaken"
]
"""`overtaken` is provisioning's word: the decision can no longer be carried out."""


class ReviewData(BaseModel):
    """The body of a review event."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class LineOpened(ReviewData):
    """One effective entitlement that a reviewer must decide on.

    `operation_id` names the operation that granted it, and is absent for adopted access.
    `duties` are the holder's job duties that call for the function, if any do.
    """

    line_id: str
    portal: str
    tin: str | None
    function: Function | None
    operation_id: str | None
    duties: tuple[str, ...] = ()


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


class ReviewDecided(ReviewData):
    """A person decided on one line. A removal always has a reason.

    `operation_id` names the operation that granted what was reviewed: the decision is moot once
    that entitlement was revoked or granted anew. `decided_by` is a worker id.
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
    `policy_version` is the policy in force, absent while none is known.
    """

    campaign_id: str
    title: str
    opened_by: str
    opened_at: AwareDatetime
    due_at: AwareDatetime
    policy_version: str | None


class CampaignClosed(ReviewData):
    """All reviews of the campaign are closed; all but `reviews` count lines."""

    campaign_id: str
    closed_at: AwareDatetime
    reviews: int
    kept: int
    removed: int
    moot: int


REVIEW_EVENT_MODELS: Mapping[str, type[ReviewData]] = MappingProxyType(
    {
        "review.opened": ReviewOpened,
        "review.decided": ReviewDecided,
        "review.corrected": ReviewCorrected,
        "review.moot": ReviewMoot,
        "review.closed": ReviewClosed,
        "campaign.opened": CampaignOpened,
        "campaign.closed": CampaignClosed,
    }
)
"""The model of each event's data on `review.events.v1`."""
