"""What may be sealed until it takes effect, who may see it before, and what is said of it then."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from shared.auth import Principal
from shared.contracts.hr import Dated, HrEvent
from shared.errors import Problem

SALT_BYTES = 32
READERS_MAX = 20
COMMITMENT_LABEL = b"portalkeeper embargo v1\n"


@dataclass(frozen=True, slots=True)
class Sealed:
    """An embargoed entry as only its readers see it.

    `document` is the CloudEvent that will be sent, `opens_at` (UTC) is when. `concerned` are all
    worker ids of the person whom it is about; `entered_by` and `readers` are subjects or worker
    ids. `salt` is in hexadecimal.
    """

    id: str
    document: Mapping[str, Any]
    concerned: tuple[str, ...]
    entered_by: str
    readers: tuple[str, ...]
    opens_at: datetime
    salt: str
    commitment: str

    def may_be_seen_by(self, who: Principal) -> bool:
        """Whether they entered it or were named as a reader; the person concerned never is."""
        own = ids_of(who)
        return own.isdisjoint(self.concerned) and not own.isdisjoint(
            {self.entered_by, *self.readers}
        )


def ids_of(who: Principal) -> set[str]:
    """What a person can be meant by."""
    return {who.subject, *({who.worker} if who.worker else ())}


def check_sealing(
    event: HrEvent,
    who: Principal,
    concerned: Iterable[str],
    readers: Iterable[str],
    zone: ZoneInfo,
    now: datetime,
) -> datetime:
    """When the sealed event takes effect (UTC).

    Args:
        concerned: every id of the person whom it is about.

    Raises:
        Problem: the rule by which it cannot be sealed.
    """
    if not isinstance(event.data, Dated):
        raise Problem(
            422,
            "not_dated",
            f"{event.type} takes effect on no date, so there is nothing to wait for.",
        )
    if not set(concerned).isdisjoint(ids_of(who)):
        raise Problem(403, "self_entry", "Nobody enters anything about themselves; ask HR.")
    if not set(concerned).isdisjoint(readers):
        raise Problem(
            422,
            "reader_is_concerned",
            "The person whom it is about cannot be named as a reader. Name somebody else.",
        )
    opens_at = event.data.takes_effect(zone)
    if opens_at <= now:
        raise Problem(
            422,
            "in_effect_already",
            "It takes effect now or in the past, when there is nothing left to seal. Enter it "
            "unsealed, or give a later date.",
        )
    return opens_at


def commit(event: HrEvent, salt: bytes) -> str:
    """What is published of a sealed event until it takes effect, in hexadecimal.

    SHA-256 over a label, the salt, and what identifies the event: organization, source, id and
    fingerprint. With the salt, published afterwards, anybody can hold the event against it.
    """
    identity = "\x1f".join((event.organization, event.source, event.id)).encode()
    return hashlib.sha256(COMMITMENT_LABEL + salt + identity + event.fingerprint).hexdigest()
