"""Everything the review scheduler answers over HTTP, for the process and for OpenAPI."""

from typing import Any

import asyncpg
from fastapi import APIRouter

from services.review_scheduler.api.answering import Commands
from services.review_scheduler.api.campaigns import campaigns_router
from services.review_scheduler.api.compliance import compliance_router
from services.review_scheduler.api.delegations import delegations_router
from services.review_scheduler.api.desk import desk_router
from services.review_scheduler.api.progress import progress_router
from services.review_scheduler.api.reviews import reviews_router
from shared.auth import Authenticator
from shared.clock import Clock


def routers(
    pool: "asyncpg.Pool[Any]", clock: Clock, authenticator: Authenticator
) -> list[APIRouter]:
    """The routes under `/review/v1`."""
    commands = Commands(pool, clock)
    return [
        campaigns_router(commands, authenticator),
        reviews_router(commands, authenticator),
        desk_router(commands, authenticator),
        compliance_router(commands, authenticator),
        delegations_router(commands, authenticator),
        progress_router(commands, authenticator),
    ]
