"""The audit log over HTTP: search, proofs and the live tail for auditors, tiles for everybody.

Under `/log` is what anybody may have to check the log (C2SP tlog-tiles); it shows no payloads.
Under `/audit/v1` a token with `audit:read` is needed, and each query and each stream opened is
itself an `audit.read` event, written before anything is shown. That makes one more entry, but no
endless loop: what the live tail delivers is not a query, so showing the entry of a read records
nothing more.
"""

from fastapi import APIRouter

from services.audit_log.api.entries import entries_router
from services.audit_log.api.exports import exports_router
from services.audit_log.api.keeping import keeping_router
from services.audit_log.api.lookup import lookup_router
from services.audit_log.api.proofs import proofs_router
from services.audit_log.api.stream import stream_router
from services.audit_log.api.tiles import tile_router
from services.audit_log.context import Reading
from services.audit_log.handlers.erasing import Eraser
from services.audit_log.handlers.exporting import Exporter
from shared.auth import Authenticator

__all__ = ["Reading", "routers"]


def routers(
    reading: Reading, exporter: Exporter, eraser: Eraser, authenticator: Authenticator
) -> list[APIRouter]:
    """All routes."""
    return [
        entries_router(reading, authenticator),
        lookup_router(reading, authenticator),
        proofs_router(reading, authenticator),
        stream_router(reading, authenticator),
        exports_router(reading, exporter, authenticator),
        keeping_router(reading, eraser, authenticator),
        tile_router(reading),
    ]
