"""Everything provisioning answers over HTTP, in one list, for the process and for OpenAPI."""

from typing import Any

import asyncpg
from fastapi import APIRouter

from services.provisioning.api.access import access_router
from services.provisioning.api.brake import brake_router
from services.provisioning.api.chores import chores_router
from services.provisioning.api.directory import directory_router
from services.provisioning.api.enrolment import enrolment_router
from services.provisioning.api.exceptions import exceptions_router
from services.provisioning.api.explain import explain_router
from services.provisioning.api.guide import guide_router
from services.provisioning.api.history import history_router
from services.provisioning.api.imports import imports_router
from services.provisioning.api.leavers import leavers_router
from services.provisioning.api.outages import outages_router
from services.provisioning.api.overview import overview_router
from services.provisioning.api.own import own_router
from services.provisioning.api.replay import replay_router
from services.provisioning.api.simulator import simulator_router
from services.provisioning.api.training import training_router
from services.provisioning.api.work import work_router
from services.provisioning.handlers.adoption.commands import AdoptionCommands
from services.provisioning.handlers.brake import BrakeHandler
from services.provisioning.handlers.chores import ChoreCommands
from services.provisioning.handlers.commands import OperationCommands
from services.provisioning.handlers.directory import DirectoryCommands
from services.provisioning.handlers.enrolment import EnrolmentCommands
from services.provisioning.handlers.exceptions import ExceptionCommands
from services.provisioning.handlers.outages import OutageCommands
from services.provisioning.handlers.plans import PlanCommands
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.handlers.replay import Replay
from services.provisioning.handlers.rosters.commands import RosterCommands
from shared.auth import Authenticator


def routers(
    pool: "asyncpg.Pool[Any]",
    authenticator: Authenticator,
    recompute: Recompute,
    operations: OperationCommands,
    brake: BrakeHandler,
) -> list[APIRouter]:
    """The routes under `/access/v1`."""
    directories = DirectoryCommands(recompute)
    chores = ChoreCommands(recompute)
    plans = PlanCommands(pool, recompute, directories)
    enrolments = EnrolmentCommands(pool, recompute, directories, chores)
    return [
        access_router(pool, authenticator, recompute),
        work_router(pool, authenticator, recompute, operations, chores),
        overview_router(pool, authenticator, recompute),
        chores_router(pool, authenticator, operations, chores),
        brake_router(pool, authenticator, operations, brake),
        directory_router(pool, authenticator, operations, directories, plans),
        training_router(pool, authenticator, recompute),
        leavers_router(pool, authenticator, recompute, operations),
        outages_router(pool, authenticator, recompute, operations, OutageCommands(recompute)),
        own_router(pool, authenticator, recompute, operations, chores),
        exceptions_router(pool, authenticator, operations, ExceptionCommands(recompute)),
        enrolment_router(pool, authenticator, recompute, operations, enrolments),
        guide_router(pool, authenticator, recompute),
        imports_router(
            pool,
            authenticator,
            recompute,
            operations,
            AdoptionCommands(recompute),
            RosterCommands(recompute, operations, chores),
        ),
        simulator_router(pool, authenticator, recompute),
        history_router(pool, authenticator, recompute),
        explain_router(pool, authenticator, recompute),
        replay_router(Replay(pool, recompute), authenticator),
    ]
