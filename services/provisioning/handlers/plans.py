"""Plans of a directory: looking at what it would change, and carrying it out.

A plan is simulated over every worker in chunks, by whoever asks for as long as they wait and by the
process's own loop for the rest. What touches the policy takes two persons.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import orjson

from services.provisioning.handlers.directory import DirectoryCommands, in_force
from services.provisioning.handlers.recompute import SOURCE, Recompute, portal_knowledge
from services.provisioning.rules.desired.directory import CompiledDirectory, PortalKnowledge
from services.provisioning.rules.planning import (
    Change,
    changes_between,
    compare,
    plan_digest,
    same_policy_version,
    touches_policy,
)
from services.provisioning.store import directories as directories_store
from services.provisioning.store import plans as plans_store
from shared.auth import Principal
from shared.contracts import catalogue
from shared.contracts.consistency import LISTS
from shared.contracts.directory import Directory
from shared.contracts.directory_file import own_ids
from shared.contracts.envelope import event_key
from shared.contracts.facts import fact
from shared.contracts.policy import ObjectChange, PolicyApproved, PolicyProposed, PolicyRejected
from shared.contracts.topics import DIRECTORY_EVENTS
from shared.errors import Problem
from shared.outbox import OutboxMessage, enqueue
from shared.postgres import Connection, in_transaction

SIMULATED_AT_A_TIME = 200
"""Workers looked at in one transaction; it holds no lock that anything else waits for."""

WAIT_SECONDS = 2.0
"""How long whoever asks for a plan waits for its simulation; a few thousand workers are through."""

SINGLE = {"organization": "organization", "policy": "policy", "review_policy": "reviews"}
"""The kinds that a directory has one of, and what a file calls it."""

PLANS_KEPT_DAYS = 30


class PlanCommands:
    """Making plans, simulating them, and carrying them out."""

    def __init__(
        self, pool: asyncpg.Pool[Any], recompute: Recompute, directories: DirectoryCommands
    ) -> None:
        self._pool = pool
        self._recompute = recompute
        self._directories = directories
        self._compiled: dict[tuple[str, str], CompiledDirectory] = {}

    # -- making

    async def make(
        self, conn: Connection, directory: Directory, who: Principal, *, applicable: bool
    ) -> str:
        """Store a plan for putting `directory` in force; its name. The simulation comes after.

        Raises:
            Problem: 403 for another organization's directory, 409 when a portal in use would
                disappear, 422 when the policy changes but not its version.
        """
        organization = directory.organization.id
        if organization != who.organization:
            raise Problem(
                403, "other_organization", f"You are signed in for {who.organization} only."
            )
        versions = await directories_store.directory_versions(conn, {organization})
        base = versions.get(organization, 0)
        before = await in_force(conn, organization, base)
        await self._directories.refuse_orphans(conn, before, directory)
        changes = changes_between(before, directory)
        needs_approval = before is not None and touches_policy(changes)
        if needs_approval and same_policy_version(before, directory):
            raise Problem(
                422,
                "policy_version_unchanged",
                f"The policy changes ({_some(changes)}), but policy.version is still"
                f" {directory.policy.version}: give it a new one, so that what each version"
                " authorized can be told apart.",
            )
        document = directory.model_dump(mode="json", exclude_none=True)
        plan = plan_digest(organization, base, document)
        await plans_store.save_plan(
            conn,
            organization,
            plan,
            base_version=base,
            document=document,
            changes=[asdict(change) for change in changes],
            needs_approval=needs_approval,
            applicable=applicable,
            by=who.subject,
            at=await self._recompute.clock.now(conn),
        )
        return plan

    async def refuse_alone(self, conn: Connection, directory: Directory, who: Principal) -> None:
        """Refuse what one person may not do alone: change a policy that is in force.

        Raises:
            Problem: 409, naming what needs a second person.
        """
        versions = await directories_store.directory_versions(conn, {who.organization})
        before = await in_force(conn, who.organization, versions.get(who.organization, 0))
        changes = changes_between(before, directory)
        if before is not None and touches_policy(changes):
            raise Problem(
                409,
                "second_person_needed",
                f"This changes the policy ({_some(changes)}): plan it, propose it, and let"
                " somebody else approve it. portalkeeper directory plan FILE",
            )

    # -- simulating

    async def simulate(self, organization: str, plan: str, seconds: float = WAIT_SECONDS) -> None:
        """Simulate for a while; what is left then, the process's own loop does."""
        until = time.monotonic() + seconds
        while await self._simulate_some(organization, plan) and time.monotonic() < until:
            pass

    async def simulate_next(self) -> int:
        """A chunk of the oldest simulation that is not through; how many workers it had."""

        async def work(conn: Connection) -> tuple[str, str] | None:
            return await plans_store.next_simulating(conn)

        found = await in_transaction(self._pool, work)
        return await self._simulate_some(*found) if found is not None else 0

    async def _simulate_some(self, organization: str, plan: str) -> int:
        async def work(conn: Connection) -> int:
            row = await plans_store.plan_row(conn, organization, plan, lock=True)
            if row is None or row["status"] != "simulating":
                return 0
            workers = await plans_store.read_workers(
                conn, organization, row["simulated_to"], SIMULATED_AT_A_TIME
            )
            before = await self._base(conn, organization, row["base_version"])
            after = self._compile(organization, plan, row, before)
            looked = await self._recompute.look(conn, workers, after)
            effects = [compare(facts, before, after, as_of) for facts, as_of in looked]
            over = len({worker.cluster for worker in workers}) < SIMULATED_AT_A_TIME
            if over:
                self._compiled.pop((organization, plan), None)
            await plans_store.note_simulated(
                conn,
                organization,
                plan,
                [effect for effect in effects if effect is not None],
                to=workers[-1].cluster if workers else row["simulated_to"],
                workers=len(workers),
                over=over,
            )
            return 0 if over else len(workers)

        return await in_transaction(self._pool, work)

    def _compile(
        self, organization: str, plan: str, row: Any, before: CompiledDirectory | None
    ) -> CompiledDirectory:
        """The planned directory, with what is known of portals as applying it would leave it."""
        compiled = self._compiled.get((organization, plan))
        if compiled is None:
            directory = Directory.model_validate(row["document"])
            known = before.knowledge if before is not None else {}
            knowledge = {
                portal.id: known.get(portal.id, PortalKnowledge(row["made_at"]))
                for portal in directory.portals
            }
            compiled = CompiledDirectory(directory, row["base_version"], knowledge)
            self._compiled[organization, plan] = compiled
        return compiled

    async def _base(
        self, conn: Connection, organization: str, version: int
    ) -> CompiledDirectory | None:
        if not version:
            return None
        key = (organization, str(version))
        known = self._compiled.get(key)
        if known is None:
            row = await directories_store.directory_document(conn, organization, version)
            known = CompiledDirectory(
                Directory.model_validate(row["document"]),
                version,
                portal_knowledge(row["observed"]),
            )
            self._compiled = {k: v for k, v in self._compiled.items() if k[0] != organization}
            self._compiled[key] = known
        return known

    # -- carrying out

    async def apply(self, conn: Connection, plan: str, who: Principal) -> dict[str, Any]:
        """Put a plan in force, or propose it where it changes the policy.

        Raises:
            Problem: 404 for an unknown plan, 409 for one that is stale, not simulated yet, over,
                or a mere simulation.
        """
        row, directory = await self._ready(conn, plan, who, {"ready"})
        now = await self._recompute.clock.now(conn)
        if row["needs_approval"]:
            await plans_store.propose(conn, who.organization, plan, who.subject, now)
            await enqueue(conn, [await self._proposed(conn, row, directory, who, now)])
            return {"status": "proposed", "plan": plan}
        applied = await self._directories.apply(conn, directory, who, plan=plan)
        await self._decide(conn, plan, "applied", who, now, version=applied["version"])
        return {"status": "applied", "plan": plan, **applied}

    async def approve(self, conn: Connection, plan: str, who: Principal) -> dict[str, Any]:
        """Put a proposed plan in force.

        Raises:
            Problem: 403 for whoever proposed it, 404 and 409 as `apply`.
        """
        row, directory = await self._ready(conn, plan, who, {"proposed"})
        self._second_person(row, who)
        now = await self._recompute.clock.now(conn)
        applied = await self._directories.apply(
            conn, directory, who, plan=plan, proposed_by=row["proposed_by"]
        )
        await self._decide(conn, plan, "applied", who, now, version=applied["version"])
        said = PolicyApproved(
            plan,
            applied["version"],
            directory.policy.version,
            directory.policy.signatory,
            row["proposed_by"],
            who.subject,
            now,
        )
        await enqueue(
            conn,
            [_policy_fact("policy.approved", who, plan, applied["version"], now, said)],
        )
        return {"status": "applied", "plan": plan, **applied}

    async def reject(
        self, conn: Connection, plan: str, who: Principal, reason: str
    ) -> dict[str, Any]:
        """Turn a proposed plan down; whoever proposed it may so withdraw it.

        Raises:
            Problem: 404 for an unknown plan, 409 for one that is not proposed.
        """
        row = await self._row(conn, plan, who, {"proposed"})
        now = await self._recompute.clock.now(conn)
        await self._decide(conn, plan, "rejected", who, now, reason=reason)
        said = PolicyRejected(plan, row["proposed_by"], who.subject, now, reason)
        await enqueue(
            conn, [_policy_fact("policy.rejected", who, plan, row["base_version"], now, said)]
        )
        return {"status": "rejected", "plan": plan}

    async def forget(self) -> int:
        """Drop old plans that nobody took up."""

        async def work(conn: Connection) -> int:
            now = await self._recompute.clock.now(conn)
            return await plans_store.forget_plans(conn, now - timedelta(days=PLANS_KEPT_DAYS))

        return await in_transaction(self._pool, work)

    async def _ready(
        self, conn: Connection, plan: str, who: Principal, statuses: set[str]
    ) -> tuple[Any, Directory]:
        """The plan, locked behind the directory's head, if it may be carried out now."""
        found = await plans_store.plan_row(conn, who.organization, plan)
        if found is None:
            raise _no_such_plan()
        directory = Directory.model_validate(found["document"])
        version, _ = await self._directories.lock(conn, directory, who)
        row = await self._row(conn, plan, who, statuses)
        if version != row["base_version"]:
            raise Problem(
                409,
                "stale_plan",
                f"The plan was made for version {row['base_version']}, and {version} is in force"
                " by now: make the plan again and look at what it changes.",
            )
        return row, directory

    async def _row(self, conn: Connection, plan: str, who: Principal, statuses: set[str]) -> Any:
        row = await plans_store.plan_row(conn, who.organization, plan, lock=True)
        if row is None:
            raise _no_such_plan()
        if not row["applicable"]:
            raise Problem(409, "only_simulated", "This was only simulated; make a plan of it.")
        if row["status"] not in statuses:
            raise Problem(409, "not_possible_now", _WHY_NOT[row["status"]])
        return row

    def _second_person(self, row: Any, who: Principal) -> None:
        if who.subject == row["proposed_by"]:
            raise Problem(
                403,
                "own_proposal",
                "You proposed this. Somebody else with the scope policy:approve approves it.",
            )

    async def _decide(
        self,
        conn: Connection,
        plan: str,
        status: str,
        who: Principal,
        now: datetime,
        *,
        reason: str | None = None,
        version: int | None = None,
    ) -> None:
        await plans_store.decide_plan(
            conn,
            who.organization,
            plan,
            status,
            by=who.subject,
            at=now,
            reason=reason,
            version=version,
        )

    async def _proposed(
        self, conn: Connection, row: Any, directory: Directory, who: Principal, now: datetime
    ) -> OutboxMessage:
        counted = await plans_store.counts(conn, who.organization, row["plan"])
        document = orjson.dumps(row["document"], option=orjson.OPT_SORT_KEYS)
        said = PolicyProposed(
            row["plan"],
            row["base_version"],
            directory.policy.version,
            directory.policy.signatory,
            hashlib.sha256(document).hexdigest(),
            tuple(
                ObjectChange(each["kind"], each["id"], each["change"]) for each in row["changes"]
            ),
            counted["workers"],
            counted["gains"],
            counted["loses"],
            who.subject,
            now,
        )
        return _policy_fact("policy.proposed", who, row["plan"], row["base_version"], now, said)


_WHY_NOT: Mapping[str, str] = {
    "simulating": "The simulation is not through yet: look at what the plan changes first.",
    "ready": "Nobody has proposed this plan yet.",
    "proposed": "It is proposed already and waits for somebody else's approval.",
    "applied": "It has been applied.",
    "rejected": "It was rejected; make a new plan.",
}


def edited(
    directory: Directory, put: Mapping[tuple[str, str], Any], gone: set[tuple[str, str]]
) -> dict[str, Any]:
    """The document of a directory with some objects set and others taken out.

    A new portal is filled in from the catalogue; what is in force stays as it was filled in then.

    Raises:
        Problem: 404 when an object that is to go is not there, 422 for a kind that is not one.
    """
    document: dict[str, Any] = directory.model_dump(mode="json", exclude_none=True)
    for (kind, id_), value in put.items():
        if kind in SINGLE:
            document[SINGLE[kind]] = {**document.get(SINGLE[kind], {}), **value}
            continue
        members = document.setdefault(_list_of(kind), [])
        rest = [member for member in members if member["id"] != id_]
        at = next((n for n, member in enumerate(members) if member["id"] == id_), len(rest))
        new = {**value, "id": id_}
        if kind == "portal" and len(rest) == len(members):
            new = _filled_in(new, members)
        rest.insert(at, new)
        document[_list_of(kind)] = rest
    for kind, id_ in gone:
        members = document.get(_list_of(kind), [])
        rest = [member for member in members if member["id"] != id_]
        if len(rest) == len(members):
            raise Problem(404, "no_such_object", f"The directory has no {kind} {id_}.")
        document[_list_of(kind)] = rest
    return document


def _filled_in(portal: dict[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    try:
        return catalogue.fill_in(portal, own_ids(others))
    except catalogue.UnknownEntry as error:
        raise Problem(422, "directory_invalid", f"portal {portal['id']} {error}") from error


def with_new_policy_version(before: Directory, after: Directory) -> Directory:
    """`after`, its policy's version counted up where the policy differs under the same version."""
    if not touches_policy(changes_between(before, after)) or not same_policy_version(before, after):
        return after
    version = before.policy.version
    head = version.rstrip("0123456789")
    counted = f"{head}{int(version[len(head) :] or 1) + 1}" if head != version else f"{version}.2"
    policy = after.policy.model_copy(update={"version": counted})
    return after.model_copy(update={"policy": policy})


def _list_of(kind: str) -> str:
    name = LISTS.get(kind)
    if name is None:
        raise Problem(422, "no_such_kind", f"A directory has no objects called {kind}.")
    return name


def _some(changes: tuple[Change, ...]) -> str:
    named = [f"{each.kind} {each.id}" for each in changes if touches_policy([each])]
    return ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")


def _no_such_plan() -> Problem:
    return Problem(404, "no_such_plan", "There is no such plan: portalkeeper directory plans")


def _policy_fact(
    type_: str, who: Principal, plan: str, version: int, now: datetime, data: object
) -> OutboxMessage:
    return fact(
        DIRECTORY_EVENTS,
        type_,
        source=SOURCE,
        organization=who.organization,
        key=event_key(who.organization, "policy_change", plan),
        subject=f"policy_change/{plan}",
        cause=(plan, str(now)),
        time=now,
        data=data,
        extensions={"version": str(version), "epoch": "1"},
    )
