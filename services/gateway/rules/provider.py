"""What a person's claims at the identity provider make of them here, and where they go then."""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256

from services.gateway.rules.roles import WORKER_ROLES

_PLAIN_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_PATH = re.compile(r"/(?![/\\])[\x21-\x7e]*")

SIGN_IN_REFUSALS: Mapping[str, str] = {
    "sign_in_unknown": "This sign-in was not begun in this browser, or too long ago. Begin again.",
    "provider_refused": "The identity provider refused. Begin again, or ask whoever runs it.",
    "token_invalid": "What the identity provider said cannot be trusted: an operator finds why in "
    "the gateway's log.",
    "no_role": "You have no role in Portalkeeper. Ask whoever runs your identity provider to put "
    "you into one of the groups that have one.",
    "not_fresh": "The identity provider did not ask you again who you are. Begin again.",
}
"""What a person is told for each rule that refuses a sign-in through the provider."""


def groups_in(claim: object) -> list[str]:
    """The values of a claim that holds one text, several apart by blanks, or a list."""
    if isinstance(claim, str):
        return claim.split()
    return [each for each in claim if isinstance(each, str)] if isinstance(claim, list) else []


def roles_of(
    groups: Iterable[str], mapping: Mapping[str, Iterable[str]], worker: str | None
) -> tuple[str, ...]:
    """The roles of somebody in these groups; whoever is a worker has that role as well.

    Roles that mean nothing without a worker id are left out where there is none.
    """
    given = {role for group in groups for role in mapping.get(group, ())}
    if worker is None:
        given -= WORKER_ROLES
    else:
        given.add("worker")
    return tuple(sorted(given))


def subject_of(issuer: str, sub: str, worker: str | None) -> str:
    """The actor's id in events: the worker id, or the provider's where it reads like an id.

    A provider's id that may be an e-mail address is told by its digest.
    """
    if worker is not None:
        return worker
    if _PLAIN_ID.fullmatch(sub):
        return sub
    return f"oidc-{sha256(f'{issuer} {sub}'.encode()).hexdigest()[:16]}"


def return_path(asked: str) -> str:
    """A page of ours to go to after signing in; "/" for whatever may lead elsewhere."""
    if _PATH.fullmatch(asked) and not asked.startswith(("/sign-in", "/sign-out", "/in/")):
        return asked
    return "/"
