"""What is said on `portal.directory-events.v1` of changes to the policy, which take two persons.

The key is organization/policy_change/plan, so that the last word about each change is kept. The
objects that a change sets and removes follow as events of their own. Instants are UTC.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from shared.values import value_class


@value_class(frozen=True, slots=True)
class ObjectChange:
    """One object of the directory that a plan creates, changes or removes."""

    kind: str
    id: str
    change: Literal["created", "changed", "removed"]


@value_class(frozen=True, slots=True)
class PolicyProposed:
    """Somebody proposes a directory whose policy differs from the one in force.

    `plan` is the digest of what was proposed on top of `base_version`; `document_sha256` that of
    the document alone. `gains` and `loses` count entitlements over `workers`, as simulated.
    """

    plan: str
    base_version: int
    policy_version: str
    signatory: str
    document_sha256: str
    changes: tuple[ObjectChange, ...]
    workers: int
    gains: int
    loses: int
    proposed_by: str
    proposed_at: datetime


@value_class(frozen=True, slots=True)
class PolicyApproved:
    """A second person approved it, and it is in force as `version`."""

    plan: str
    version: int
    policy_version: str
    signatory: str
    proposed_by: str
    approved_by: str
    approved_at: datetime


@value_class(frozen=True, slots=True)
class PolicyRejected:
    """A second person did not approve it; `reason` is in their words."""

    plan: str
    proposed_by: str
    rejected_by: str
    rejected_at: datetime
    reason: str


POLICY_EVENT_MODELS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "policy.proposed": PolicyProposed,
        "policy.approved": PolicyApproved,
        "policy.rejected": PolicyRejected,
    }
)
