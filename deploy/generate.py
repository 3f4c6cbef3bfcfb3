"""Writes everything that is generated, or says what differs: `python -m deploy.generate [--check]`.

The contracts' schemas and AsyncAPI (`shared.contracts.generate`), the OpenAPI of each service, and
the diagrams of the state machines in ARCHITECTURE.md. It needs no server.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from joserfc.jwk import OKPKey
from starlette.routing import BaseRoute

from services.audit_log.api import Reading
from services.audit_log.api import routers as audit_routers
from services.gateway.api import (
    ingress_router,
    rejected_router,
    session_router,
)
from services.gateway.api.adapters import adapters_router
from services.gateway.api.clients import clients_router, token_router
from services.gateway.api.entries import entries_router
from services.gateway.api.maintenance import maintenance_router
from services.gateway.api.rosters import rosters_router
from services.gateway.api.secrets import secrets_router
from services.provisioning.api.routers import routers
from services.provisioning.handlers.brake import BrakeHandler
from services.provisioning.handlers.commands import OperationCommands
from services.provisioning.handlers.recompute import Recompute
from services.provisioning.rules.brake import CAUSE_LIFE, CauseStatus
from services.provisioning.rules.chores import CHORE_LIFE
from services.provisioning.rules.enrolment import PHASE_LIFE, PhaseStatus
from services.provisioning.rules.exceptions import EXCEPTION_LIFE
from services.provisioning.rules.operations import (
    ACCOUNT_LIFE,
    ENTITLEMENT_LIFE,
    OPERATION_LIFE,
)
from services.review_scheduler.api.routers import routers as review_routers
from services.review_scheduler.rules.lines import LINE_MOVES, LineStatus
from shared.auth import Authenticator, Requirement
from shared.clock import DatabaseClock
from shared.contracts import generate as contracts
from shared.contracts.state import AccountStatus, ChoreStatus, ExceptionStatus, OperationStatus
from shared.ops import ops_router
from shared.problems import PROBLEM_JSON

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
OPENAPI = contracts.HERE / "openapi"

NOTHING: Any = None
"""In the place of what the routes use only when they are asked."""

PROBLEM: contracts.Json = {
    "title": "Problem",
    "description": "An RFC 9457 problem document. `detail` says what to do next.",
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "A stable name that programs may rely on."},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {"type": "object"},
            "description": "Everything that was found, where that is more than `detail` says.",
        },
    },
    "required": ["type", "title", "status", "code", "detail"],
}


# -- OpenAPI


def openapi() -> dict[str, contracts.Json]:
    """The OpenAPI 3.1 document of each service, by its name."""
    with TemporaryDirectory() as folder:
        keys = Path(folder) / "jwks.json"
        public = OKPKey.generate_key("Ed25519", {"kid": "none"}).as_dict(private=False)
        keys.write_text(json.dumps({"keys": [public]}))
        authenticator = Authenticator(keys)
    made = {}
    for service, members in service_routers(authenticator).items():
        app = FastAPI(
            title=f"Portalkeeper {service.replace('_', ' ')}", version=contracts.CONTRACT_VERSION
        )
        for router in members:
            app.include_router(router)
        document = _with_problems(app.openapi())
        _add_security(document, [route for router in members for route in router.routes])
        made[service] = document
    return made


def service_routers(authenticator: Authenticator) -> dict[str, list[APIRouter]]:
    """Each service's routes, by its name, with nothing behind them."""
    recompute = Recompute(DatabaseClock())
    reading = Reading(NOTHING, NOTHING, DatabaseClock(), "log", NOTHING)
    own: dict[str, list[APIRouter]] = {
        "gateway": [
            ingress_router(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, authenticator),
            token_router(NOTHING, NOTHING),
            clients_router(NOTHING, authenticator),
            secrets_router(NOTHING, authenticator),
            maintenance_router(NOTHING, DatabaseClock(), authenticator),
            adapters_router(NOTHING, NOTHING, NOTHING, authenticator),
            entries_router(NOTHING, authenticator),
            rejected_router(NOTHING, authenticator),
            rosters_router(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, authenticator),
            session_router(NOTHING, NOTHING, NOTHING),
        ],
        "provisioning": routers(
            NOTHING,
            authenticator,
            recompute,
            OperationCommands(NOTHING, recompute),
            BrakeHandler(NOTHING, recompute, NOTHING),
        ),
        "audit_log": audit_routers(reading, NOTHING, NOTHING, authenticator),
        "review_scheduler": review_routers(NOTHING, DatabaseClock(), authenticator),
    }
    for service, members in own.items():
        members.append(
            ops_router(service=service, pool=NOTHING, authenticator=authenticator, consumers={})
        )
    return own


def required(route: APIRoute) -> Requirement | None:
    """What a route asks of its caller; None where it lets everybody in or looks for itself."""
    for dependency in route.dependant.dependencies:
        if isinstance(dependency.call, Requirement):
            return dependency.call
    return None


def _add_security(document: contracts.Json, routes: Sequence[BaseRoute]) -> None:
    """Say of each operation which scopes let one in, any of them."""
    for route in routes:
        if isinstance(route, APIRoute) and (requirement := required(route)) is not None:
            for method in route.methods or ():
                operation = document["paths"][route.path_format][method.lower()]
                operation["security"] = [{"token": [scope]} for scope in requirement.scopes]
    document["components"]["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token of the gateway, for a session or for a client's credentials.",
        }
    }


def _with_problems(document: contracts.Json) -> contracts.Json:
    """Every error is answered as a problem document, wrong arguments too."""
    answer = {
        "description": "A named refusal or fault.",
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = answer
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM
    return document


# -- diagrams


def operation_life() -> str:
    """The life of an operation, as Mermaid."""
    return _diagram(
        OperationStatus.REQUESTED,
        ((before, move, after) for (before, move), after in OPERATION_LIFE.items()),
    )


def account_life() -> str:
    """The life of an account, as Mermaid: evidence counts whatever was known before."""
    moves = (("whatever_it_was", kind, after) for kind, after in ACCOUNT_LIFE.items())
    return _diagram(AccountStatus.NONE, moves)


def entitlement_life() -> str:
    """The life of an entitlement, as Mermaid."""
    moves: list[tuple[str, str, str]] = []
    for (kind, named), held in ENTITLEMENT_LIFE.items():
        if named:
            moves.append(("not_held", kind, "held") if held else ("held", kind, "not_held"))
        elif ENTITLEMENT_LIFE[kind, True] is not held:
            moves.append(("held", f"{kind} without it", "not_held"))
    return _diagram("not_held", moves)


def exception_life() -> str:
    """The life of an exception, as Mermaid."""
    return _diagram(
        ExceptionStatus.REQUESTED,
        ((before, move, after) for (before, move), after in EXCEPTION_LIFE.items()),
    )


def chore_life() -> str:
    """The life of a chore, as Mermaid."""
    return _diagram(
        ChoreStatus.REQUESTED,
        ((before, move, after) for (before, move), after in CHORE_LIFE.items()),
    )


def enrolment_phase_life() -> str:
    """The life of a phase of an enrolment, as Mermaid."""
    return _diagram(
        PhaseStatus.WAITING,
        ((before, move, after) for (before, move), after in PHASE_LIFE.items()),
    )


def brake_cause_life() -> str:
    """The life of a cause of removals under the brake, as Mermaid."""
    return _diagram(
        CauseStatus.GATHERING,
        ((before, move, after) for (before, move), after in CAUSE_LIFE.items()),
    )


def review_line_life() -> str:
    """The life of a line of a review, as Mermaid."""
    return _diagram(
        LineStatus.UNDECIDED,
        (
            (before, move, after)
            for before, moves in LINE_MOVES.items()
            for move, after in moves.items()
        ),
    )


def _diagram(first: str, moves: Iterable[tuple[str, str, str]]) -> str:
    labels: dict[tuple[str, str], list[str]] = {}
    for before, move, after in moves:
        labels.setdefault((before, after), []).append(move)
    lines = [f"    [*] --> {first}"]
    lines += [
        f"    {before} --> {after}: {', '.join(own)}" for (before, after), own in labels.items()
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def architecture() -> str:
    """ARCHITECTURE.md with its diagrams as the tables have them.

    Raises:
        ValueError: a pair of markers is missing.
    """
    text = ARCHITECTURE.read_text(encoding="utf-8")
    for name, diagram in (
        ("operation life", operation_life()),
        ("account life", account_life()),
        ("entitlement life", entitlement_life()),
        ("exception life", exception_life()),
        ("chore life", chore_life()),
        ("enrolment phase life", enrolment_phase_life()),
        ("brake cause life", brake_cause_life()),
        ("review line life", review_line_life()),
    ):
        begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{ARCHITECTURE.name} lacks the markers {begin} and {end}")
        text = f"{before}{begin}\n{diagram}\n{end}{after}"
    return text


def files() -> dict[Path, str]:
    """Every generated file with its text."""
    documents = {
        OPENAPI / f"{service}.json": contracts.to_text(document)
        for service, document in openapi().items()
    }
    return {**contracts.files(), **documents, ARCHITECTURE: architecture()}


def main(check: bool) -> int:
    """Write, or only check; the exit status is 1 when something differs."""
    return contracts.settle(files(), (contracts.SCHEMAS, OPENAPI), check=check)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
