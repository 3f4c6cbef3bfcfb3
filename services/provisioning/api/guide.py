"""Where work is done, for every worker."""

from dataclasses import asdict
from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter, Depends, Query

from services.provisioning.api.paging import MAX_PAGE
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.rules.guide import Answer, Guide, Place
from services.provisioning.store import outages as outages_store
from services.provisioning.store import views
from shared.auth import Authenticator, Principal
from shared.errors import Problem

MAX_ANSWERS = 100


def guide_router(
    pool: "asyncpg.Pool[Any]", authenticator: Authenticator, recompute: Recompute
) -> APIRouter:
    """The route `/access/v1/guide`."""
    router = APIRouter(prefix="/access/v1", tags=["guide"])
    looks_up = authenticator.requires("directory:read", "access:read", "access:admin")

    @router.get("/guide")
    async def guide(
        who: Annotated[Principal, Depends(looks_up)],
        q: Annotated[str, Query(max_length=200)] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_ANSWERS)] = 10,
    ) -> dict[str, Any]:
        async with pool.acquire() as conn:
            now = await recompute.clock.now(conn)
            compiled = await recompute.directories.of(conn, who.organization)
            outages = {
                row["portal"]: {key: row[key] for key in ("kind", "note", "started_at")}
                for row in await outages_store.outages(
                    conn, who.organization, open_only=True, limit=MAX_PAGE
                )
            }
            state = None
            if who.worker is not None:
                state = await views.worker_state(conn, who.organization, who.worker)
        if compiled is None:
            raise Problem(404, "no_directory", "Apply one: portalkeeper directory apply FILE.")
        sites = _sites(state)
        day = now.astimezone(compiled.zone).date()
        answers = Guide(compiled.directory, day, sites).ask(q, limit)
        mine = _functions_held(state) if state is not None else None
        return {"question": q, "answers": [_shown(answer, mine, outages) for answer in answers]}

    return router


def _sites(state: Any | None) -> list[str]:
    if state is None:
        return []
    return [site for each in state["employments"] if each["open"] for site in each["sites"]]


def _functions_held(state: Any) -> dict[str, set[str]]:
    return {
        access["portal"]: {own["function"] for own in access["effective"]}
        for access in state["portals"]
    }


def _shown(
    answer: Answer, mine: dict[str, set[str]] | None, outages: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """An answer, with what whoever asks may do at each portal (None where that is not known), and
    what is wrong with it now.
    """
    shown = asdict(answer)
    for place, told in [
        (answer.place, shown["place"]),
        *(
            (rung.place, rung_told["place"])
            for rung, rung_told in zip(answer.ladder, shown["ladder"], strict=True)
        ),
    ]:
        if place is not None:
            told["mine"] = _mine(place, mine)
            told["outage"] = outages.get(place.portal)
            told["downtime"] = (
                place.downtime.model_dump(mode="json") if place.downtime is not None else None
            )
    return shown


def _mine(place: Place, mine: dict[str, set[str]] | None) -> list[str] | None:
    if mine is None:
        return None
    return sorted(mine.get(place.portal, set()) & {function.value for function in place.functions})
