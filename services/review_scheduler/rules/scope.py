"""Which entitlements a campaign asks about."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from services.review_scheduler.rules.roles import Holding
from shared.contracts.directory import Function
from shared.contracts.review_policy import ReviewScope


@dataclass(frozen=True, slots=True)
class Reached:
    """A portal's name, and the carriers it reaches for each function."""

    name: str
    carriers: Mapping[Function, frozenset[str]] = field(default_factory=dict)


def in_scope(
    scope: ReviewScope,
    holding: Holding,
    sites: Collection[str],
    kinds: Collection[str],
    portals: Mapping[str, Reached],
) -> bool:
    """Whether a campaign asks about an entitlement.

    Args:
        sites: where its holder works, as last known.
        kinds: what HR calls its holder.
        portals: the directory's.
    """
    own = holding.entitlement
    if scope.portals and holding.portal not in scope.portals:
        return False
    if scope.tins and own.tin not in scope.tins:
        return False
    if scope.functions and own.function not in scope.functions:
        return False
    if scope.sites and not set(scope.sites) & set(sites):
        return False
    if scope.worker_kinds and not set(scope.worker_kinds) & set(kinds):
        return False
    if scope.carriers:
        reached = portals.get(holding.portal)
        carriers = reached.carriers.get(own.function, frozenset()) if reached else frozenset()
        return bool(set(scope.carriers) & carriers)
    return True


def narrows(scope: ReviewScope) -> bool:
    """Whether a scope leaves anything out."""
    return scope != ReviewScope()
