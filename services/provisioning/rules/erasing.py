"""What stays of somebody who was erased: nothing that names them.

Their worker id stays, since it is the key of what portals held and of every record in the log, and
HR alone can tell whose it was.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace

from shared.contracts.state import PortalAccess, WorkerStatus


def may_forget(status: WorkerStatus, portals: Sequence[PortalAccess]) -> bool:
    """Whether somebody was erased and nothing of theirs has to be found and removed any more."""
    return status is WorkerStatus.ERASED and not any(
        access.effective or access.operations for access in portals
    )


def without_names(access: PortalAccess) -> PortalAccess:
    """What is said of a login whose holder is forgotten."""
    return replace(access, login_id=None, findings=())


def login_digest(key: bytes, portal: str, login_id: str) -> bytes:
    """What a forgotten login id is recognized by; portals do not tell capital letters apart."""
    return hmac.digest(key, f"{portal}/{login_id.lower()}".encode(), hashlib.sha256)
