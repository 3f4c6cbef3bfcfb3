"""What each role may do, and when an attempt to sign in is refused."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

ROLE_SCOPES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "administrator": frozenset({"access:admin", "access:read", "work:do", "directory:read"}),
        "delegate": frozenset({"work:do", "access:read", "directory:read"}),
        "hr": frozenset({"hr:enter", "access:read", "directory:read"}),
        "reviewer": frozenset({"review:decide", "directory:read"}),
        "review_manager": frozenset({"review:admin", "access:read", "directory:read"}),
        "compliance": frozenset({"audit:read", "access:read", "directory:read", "policy:approve"}),
        "privacy": frozenset({"audit:read", "audit:admin", "access:read", "directory:read"}),
        "signatory": frozenset({"policy:approve", "access:read", "directory:read"}),
        "worker": frozenset({"directory:read"}),
        "operator": frozenset({"ops:admin", "access:read", "directory:read"}),
    }
)
"""An administrator reads no audit data by that role: whoever is watched does not hold the lens."""

CLIENT_SCOPES = frozenset({"hr:write", "access:read", "audit:read", "directory:read"})
"""What programs get. What decides, approves or does work asks for a person."""

WORKER_ROLES = frozenset({"reviewer", "worker"})
"""Roles that mean nothing without the worker id of the person."""

ATTEMPT_WINDOW_SECONDS = 300
ATTEMPTS_MAX = 10
"""Refused attempts from one address within the window before it must wait."""


def scopes_of(roles: Iterable[str]) -> frozenset[str]:
    """All scopes that the roles give together."""
    return frozenset().union(*(ROLE_SCOPES[role] for role in roles))


def roles_with(scopes: Iterable[str]) -> list[str]:
    """The roles that give any of the scopes."""
    return [role for role, own in ROLE_SCOPES.items() if not own.isdisjoint(scopes)]


def refuse_link(used_at: datetime | None, expires_at: datetime | None, now: datetime) -> str | None:
    """The rule that refuses a one-time link, or None; `expires_at` is None for an unknown one."""
    if expires_at is None:
        return "link_unknown"
    if used_at is not None:
        return "link_used"
    if expires_at <= now:
        return "link_expired"
    return None


HAS_LEFT = "has_left"
"""The rule that refuses a sign-in in the name of somebody who works here no longer."""

LINK_REFUSALS: Mapping[str, str] = MappingProxyType(
    {
        "link_unknown": "This link is not one of ours. Copy it again, whole, or ask for a new one.",
        "link_used": "This link has been used; each works once. Ask for a new one.",
        "link_expired": "This link has expired. Ask for a new one.",
        "links_off": "People sign in through the identity provider here. Begin at /sign-in.",
        HAS_LEFT: "By what HR says you no longer work here, so nobody is let in under your name. "
        "If that is wrong, ask HR to correct it.",
        "too_many_attempts": "Too many wrong sign-ins came from this address. Wait five minutes.",
    }
)
"""What a person is told for each rule."""
