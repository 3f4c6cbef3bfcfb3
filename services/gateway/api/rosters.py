"""HR's lists of workers over HTTP: sent, looked at, applied or rejected; and what they ask."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Header, Query, Request
from pydantic import BaseModel, Field

from services.gateway.api.body import read_body
from services.gateway.handlers.clients import Clients
from services.gateway.handlers.questions import Answer, Answered, Questions
from services.gateway.handlers.rosters import Rosters, Upload
from services.gateway.handlers.source_health import SourceHealth
from services.gateway.handlers.source_secrets import SourceSecrets
from services.gateway.rules.roster_changes import Asked
from services.gateway.rules.roster_columns import SourceMapping
from services.gateway.rules.schedule import Expected
from services.gateway.sources import Sources
from shared.auth import Authenticator, Principal
from shared.contracts.hr import Text
from shared.errors import Problem
from shared.sheets.table import MAX_FILE_BYTES

ROSTERS_PAGE_MAX = 200
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
Name = Annotated[Text, Query()]


class Hash(BaseModel):
    """What a plan said when it was looked at."""

    hash: str = Field(pattern=r"^[0-9a-f]{64}$")


class SourceKept(BaseModel):
    """How a source's lists are read, and by when one is expected, if at all."""

    mapping: SourceMapping = SourceMapping()
    expected: Expected | None = None


class AnswerSent(BaseModel):
    """One answer about the people named, or, without `workers`, about all who are asked about.

    `on` is the last day of who has left, or the day of who is back from leave.
    """

    source: Text
    kind: Asked
    answer: Answer
    workers: list[Text] | None = Field(default=None, max_length=50_000)
    on: date | None = None


def rosters_router(
    rosters: Rosters,
    questions: Questions,
    health: SourceHealth,
    sources: Sources,
    secrets: SourceSecrets,
    clients: Clients,
    authenticator: Authenticator,
) -> APIRouter:
    """The routes under `/hr/v1/rosters`, `/hr/v1/questions` and `/hr/v1/sources`."""
    router = APIRouter(prefix="/hr/v1", tags=["hr lists"])
    sends = authenticator.requires("hr:enter", "hr:write")
    sees = authenticator.requires("hr:enter", "access:admin")
    enters = authenticator.requires("hr:enter")

    async def sender(request: Request, body: bytes, source: str | None) -> tuple[Principal, str]:
        """Who sends a list, and whose it is: a person's token, a program's, or a signature."""
        if "webhook-signature" not in request.headers:
            who = await sends(request)
            if who.may("hr:enter"):
                return who, rosters.source_of(who, source)
            return who, one_source(await clients.speaks_for(who), source)[0]
        await secrets.refresh()
        speaks_for = sources.signed_by(body, request.headers)
        if not speaks_for:
            health.note_wrong_signature()
        named, organization = one_source(speaks_for, source)
        return Principal(organization, named, None, frozenset({"hr:write"}), named), named

    @router.post("/rosters", status_code=201)
    async def send(
        request: Request,
        source: Annotated[Text | None, Query()] = None,
        name: Name = "list.csv",
        preset: Annotated[Text | None, Query()] = None,
        day_first: bool | None = None,
        apply: bool = False,
        key: Key = None,
    ) -> dict[str, Any]:
        """Take a full list of workers, CSV or XLSX as the body; answers with what it comes to.

        By token, or signed as Standard Webhooks by its source (text in UTF-8 then). `apply` also
        applies it, unless it lacks so many people that it is held.
        """
        body = await read_body(request, MAX_FILE_BYTES)
        who, of = await sender(request, body, source)
        return await rosters.receive(who, of, Upload(name, body, preset, day_first, apply), key)

    @router.get("/rosters")
    async def listed(
        who: Annotated[Principal, Depends(sees)],
        limit: Annotated[int, Query(ge=1, le=ROSTERS_PAGE_MAX)] = 20,
    ) -> dict[str, Any]:
        """The latest lists, newest first, with what each came to."""
        return {"rosters": await rosters.listed(who, limit)}

    @router.get("/rosters/{plan}")
    async def show(plan: UUID, who: Annotated[Principal, Depends(sees)]) -> dict[str, Any]:
        """A list with what it comes to now, or how far its events are published."""
        return await rosters.show(who, plan)

    @router.post("/rosters/{plan}/apply")
    async def apply_plan(
        plan: UUID,
        body: Annotated[Hash, Body()],
        who: Annotated[Principal, Depends(enters)],
        key: Key = None,
    ) -> dict[str, Any]:
        """Publish exactly what was looked at; 409 if it says something else by now, or is held."""
        return await rosters.apply(who, plan, body.hash, key)

    @router.post("/rosters/{plan}/reject")
    async def reject(
        plan: UUID, who: Annotated[Principal, Depends(enters)], key: Key = None
    ) -> dict[str, Any]:
        """Throw a list away: nothing of it takes effect."""
        return await rosters.reject(who, plan, key)

    @router.get("/questions")
    async def open_questions(who: Annotated[Principal, Depends(sees)]) -> dict[str, Any]:
        """What HR is asked, the oldest first."""
        return {"questions": await questions.listed(who)}

    @router.post("/questions/answers")
    async def answer(
        body: Annotated[AnswerSent, Body()],
        who: Annotated[Principal, Depends(enters)],
        key: Key = None,
    ) -> dict[str, Any]:
        """Answer for a person, several, or everybody whom a list lacks."""
        workers = None if body.workers is None else tuple(body.workers)
        said = Answered(body.source, body.kind, body.answer, workers, body.on)
        return await questions.answer(who, said, key)

    @router.get("/sources")
    async def sources_of(who: Annotated[Principal, Depends(sees)]) -> dict[str, Any]:
        """How each source fares: last heard, last list, silence, what it waits for."""
        return await health.listed(who)

    @router.put("/sources/{source:path}")
    async def keep(
        source: str,
        body: Annotated[SourceKept, Body()],
        who: Annotated[Principal, Depends(sees)],
        key: Key = None,
    ) -> dict[str, Any]:
        """Keep how a source's lists are read and when they are expected."""
        return await health.keep(who, source, body.mapping, body.expected, key)

    return router


def one_source(speaks_for: Mapping[str, frozenset[str]], source: str | None) -> tuple[str, str]:
    """Whose list it is, and its organization, where a signature or a program tells.

    Raises:
        Problem: 401 for a wrong signature or another's source, 422 where it is left open.
    """
    if not speaks_for or (source is not None and source not in speaks_for):
        raise Problem(
            401,
            "signature_invalid",
            "Sign the exact bytes as Standard Webhooks with a secret of the source, in UTF-8, and"
            " send within five minutes of webhook-timestamp; or send a bearer token of a program"
            " that speaks for it.",
        )
    named = source or next(iter(speaks_for))
    if (source is None and len(speaks_for) > 1) or len(speaks_for[named]) > 1:
        raise Problem(
            422,
            "source_missing",
            "This counts for more than one source or organization: name the source, and give each"
            " organization one of its own.",
        )
    (organization,) = speaks_for[named]
    return named, organization
