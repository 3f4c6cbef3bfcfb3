"""What people enter by hand over HTTP, at once or sealed until it takes effect."""

from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Body, Depends, Header
from pydantic import BaseModel, Field

from services.gateway.handlers.entries import Entries
from services.gateway.handlers.ingress import Unacknowledged, unacknowledged_problem
from services.gateway.rules.embargo import READERS_MAX, Sealed
from shared.auth import Authenticator, Principal
from shared.contracts.envelope import MAX_ID_LENGTH
from shared.errors import Problem

ENTERED_BY = {
    "worker.training_completed": "access:admin",
    "worker.training_expired": "access:admin",
    "worker.erased": "audit:admin",
}
"""Who else than HR enters what: administrators sign training off, privacy officers erase."""

UNDONE_BY_NOTHING = frozenset({"worker.erased"})
"""What asks for a fresh sign-in."""

Reader = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH)]


class Embargo(BaseModel):
    """That an entry stays sealed until it takes effect, and who may see it before.

    `readers` are worker ids, or subjects of sessions; whoever enters it may see it anyway.
    `replaces` is a sealed entry that this one takes the place of.
    """

    readers: tuple[Reader, ...] = Field(default=(), max_length=READERS_MAX)
    replaces: UUID | None = None


class Entry(BaseModel):
    """What a person in HR (or, for training, an administrator) says of somebody else."""

    type: str = Field(pattern=r"^worker\.[a-z_]{1,40}$")
    worker: str = Field(min_length=1, max_length=MAX_ID_LENGTH)
    data: dict[str, Any]
    embargo: Embargo | None = None


def entries_router(entries: Entries, authenticator: Authenticator) -> APIRouter:
    """Where people enter by hand what no HR system sends."""
    router = APIRouter(tags=["hr"])
    enters = authenticator.requires("hr:enter", *ENTERED_BY.values())
    people = authenticator.requires("hr:enter", "directory:read")
    hr = authenticator.requires("hr:enter")

    @router.post("/hr/v1/entries", status_code=202)
    async def enter(
        body: Annotated[Entry, Body()],
        who: Annotated[Principal, Depends(enters)],
        key: Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)] = None,
    ) -> dict[str, Any]:
        """Take one event about a worker, under the name of whoever enters it.

        Answers 202 once Kafka has it, or once it is sealed. Administrators sign off training and
        privacy officers erase, for which they must have signed in just now; all else, and every
        embargo, is HR's.
        """
        scopes = {"hr:enter"}
        if body.embargo is None:
            scopes.add(ENTERED_BY.get(body.type, "hr:enter"))
        if not who.may(*scopes):
            raise Problem(
                403, "scope_missing", f"This needs the scope {' or '.join(sorted(scopes))}."
            )
        if body.type in UNDONE_BY_NOTHING:
            who.check_fresh()
        key = key or str(uuid4())
        if body.embargo is not None:
            sealed = await entries.seal(
                who,
                body.type,
                body.worker,
                body.data,
                key,
                readers=body.embargo.readers,
                replaces=body.embargo.replaces,
            )
            return {"id": sealed.id, "status": "sealed", "opens_at": sealed.opens_at}
        try:
            id_ = await entries.enter(who, body.type, body.worker, body.data, key)
        except Unacknowledged as unknown:
            raise unacknowledged_problem() from unknown
        return {"id": id_, "status": "accepted"}

    @router.get("/hr/v1/sealed")
    async def sealed(who: Annotated[Principal, Depends(people)]) -> dict[str, Any]:
        """The sealed entries that the caller entered or was named as a reader of."""
        return {"sealed": [shown(one) for one in await entries.visible(who)]}

    @router.post("/hr/v1/sealed/{id}/withdraw")
    async def withdraw(id: UUID, who: Annotated[Principal, Depends(hr)]) -> dict[str, str]:
        """Forget a sealed entry before it takes effect."""
        await entries.withdraw(who, id)
        return {"id": str(id), "status": "withdrawn"}

    return router


def shown(sealed: Sealed) -> dict[str, Any]:
    """A sealed entry as its readers see it; the salt stays inside until it takes effect."""
    return {
        "id": sealed.id,
        "type": sealed.document["type"],
        "worker": sealed.document["subject"],
        "data": sealed.document["data"],
        "entered_by": sealed.entered_by,
        "readers": list(sealed.readers),
        "opens_at": sealed.opens_at,
        "commitment": sealed.commitment,
    }
