"""Why somebody can, or cannot, use a portal, over HTTP."""

from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter, Depends

from services.provisioning.api.access import with_rescinds
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.handlers.refusals import no_such_portal
from services.provisioning.rules.explain import Known, explain
from services.provisioning.store import history as history_store
from services.provisioning.store import views
from shared.auth import Authenticator, Principal
from shared.errors import Problem
from shared.postgres import Connection


async def _in_use(conn: Connection, organization: str, worker: str) -> tuple[str, dict[str, Any]]:
    """The id in use for a worker id, with its published state.

    Raises:
        Problem: 404 for somebody of whom HR has sent nothing.
    """
    state: dict[str, Any] | None = await views.worker_state(conn, organization, worker)
    if state is None:
        raise Problem(404, "no_such_worker", f"HR has sent nothing about {worker}.")
    if state["merged_into"] is not None:
        return await _in_use(conn, organization, state["merged_into"])
    return worker, state


def explain_router(
    pool: "asyncpg.Pool[Any]", authenticator: Authenticator, recompute: Recompute
) -> APIRouter:
    """The route that explains."""
    router = APIRouter(prefix="/access/v1", tags=["history"])
    reads = authenticator.requires("access:read", "access:admin", "audit:read")

    @router.get("/explain")
    async def explained(
        worker: str, portal: str, who: Annotated[Principal, Depends(reads)]
    ) -> dict[str, Any]:
        """The chain from HR event to evidence behind each function, and behind each refusal."""
        async with pool.acquire() as conn:
            compiled = await recompute.directories.of(conn, who.organization)
            worker, state = await _in_use(conn, who.organization, worker)
            if compiled is None or (
                portal not in compiled.portals
                and all(access["portal"] != portal for access in state["portals"])
            ):
                raise no_such_portal(compiled, portal)
            ids = [worker, *state["aliases"]]
            events = with_rescinds(await views.worker_events(conn, who.organization, ids))
            operations = await views.worker_operations(conn, who.organization, ids)
            holdings = await history_store.holdings_of(conn, who.organization, ids, portal)
            now = await recompute.clock.now(conn)
        lines = explain(
            Known(
                who.organization,
                portal,
                state,
                events,
                [row for row in operations if row["portal"] == portal],
                holdings,
                compiled,
                now,
            )
        )
        known = compiled.portals.get(portal)
        return {
            "worker": worker,
            "name": state["name"],
            "status": state["status"],
            "portal": portal,
            "portal_name": known.name if known else portal,
            "as_of": now,
            "lines": lines,
        }

    return router
