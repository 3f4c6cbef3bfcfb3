"""A plan says what applying it does, no more and no less, and takes two persons for policy."""

import random
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from services.provisioning.handlers import plans as plans_handler
from services.provisioning.handlers.directory import DirectoryCommands, in_force
from services.provisioning.handlers.plans import PlanCommands, edited, with_new_policy_version
from services.provisioning.rules.planning import changes_between, plan_digest, touches_policy
from services.provisioning.store import directories as directories_store
from services.provisioning.store import plans as plans_store
from shared.auth import Principal
from shared.contracts.directory import Directory
from shared.contracts.directory_file import (
    read_directory_document,
    read_directory_file,
    write_directory_file,
)
from shared.errors import Problem
from shared.postgres import in_transaction
from tests.provisioning.desk import ADMINISTRATOR, Desk, hire
from tests.provisioning.worlds import ORGANIZATION, OTHER_TIN, TIN, day, directory

SIGNATORY = Principal(
    ORGANIZATION, "signatory-1", None, frozenset({"policy:approve", "access:read"}), "Signatory"
)


@dataclass
class Planner:
    """Plans on a desk, made and carried out as over HTTP."""

    desk: Desk

    def __post_init__(self) -> None:
        self.commands = PlanCommands(
            self.desk.pool, self.desk.recompute, DirectoryCommands(self.desk.recompute)
        )

    async def make(self, after: Directory, *, applicable: bool = True) -> Any:
        plan = await in_transaction(
            self.desk.pool,
            lambda conn: self.commands.make(conn, after, ADMINISTRATOR, applicable=applicable),
        )
        await self.commands.simulate(ORGANIZATION, plan, seconds=60)
        return await self.row(plan)

    async def row(self, plan: str) -> Any:
        async with self.desk.pool.acquire() as conn:
            return await plans_store.plan_row(conn, ORGANIZATION, plan)

    async def effects(self, plan: str) -> dict[str, Any]:
        async with self.desk.pool.acquire() as conn:
            rows = await plans_store.effects(conn, ORGANIZATION, plan, after="", limit=1000)
        return {row["worker"]: row for row in rows}

    async def apply(self, plan: str, who: Principal = ADMINISTRATOR) -> dict[str, Any]:
        return await in_transaction(
            self.desk.pool, lambda conn: self.commands.apply(conn, plan, who)
        )

    async def approve(self, plan: str, who: Principal = SIGNATORY) -> dict[str, Any]:
        return await in_transaction(
            self.desk.pool, lambda conn: self.commands.approve(conn, plan, who)
        )

    async def reject(self, plan: str, who: Principal = SIGNATORY) -> dict[str, Any]:
        return await in_transaction(
            self.desk.pool, lambda conn: self.commands.reject(conn, plan, who, "not yet")
        )

    async def carry_out(self, plan: str) -> dict[str, Any]:
        done = await self.apply(plan)
        return await self.approve(plan) if done["status"] == "proposed" else done

    async def current(self) -> Directory:
        async with self.desk.pool.acquire() as conn:
            found = await directories_store.directory_versions(conn, [ORGANIZATION])
            directory = await in_force(conn, ORGANIZATION, found[ORGANIZATION])
        assert directory is not None
        return directory

    async def desired(self, *workers: str) -> dict[str, set[tuple[str, str, str]]]:
        return {
            worker: {
                (access["portal"], own["tin"], own["function"])
                for access in (await self.desk.state(worker))["portals"]
                for own in access["desired"]
            }
            for worker in workers
        }


@pytest.fixture
def planner(desk: Desk) -> Planner:
    return Planner(desk)


def policy(version: str, **more: Any) -> dict[str, Any]:
    return {"version": version, "signatory": "Dr. Ada Fox", "signed_on": "2026-01-02", **more}


BILLERS_TOO = [
    {"id": "Front Desk", "duties": ["front-desk", "billing"]},
    {"id": "Biller", "duties": ["billing"]},
    {"id": "Nurse", "duties": []},
]


POSTING = {"id": "posting", "name": "Posting", "functions": ["payment"]}


# -- what changes


@pytest.mark.parametrize(
    ("changes", "expected", "is_policy"),
    [
        ({}, [], False),
        (
            {"organization": {**directory().organization.model_dump(), "name": "Maple"}},
            [("organization", ORGANIZATION, "changed", ["name"])],
            False,
        ),
        (
            {"titles": []},
            [("title", name, "removed", []) for name in ("Front Desk", "Biller", "Nurse")],
            True,
        ),
        (
            {"job_duties": [*directory().model_dump()["job_duties"], POSTING]},
            [("job_duty", "posting", "created", [])],
            True,
        ),
        ({"policy": policy("v2")}, [("policy", "policy", "changed", ["version"])], True),
        ({"training_modules": []}, [("training_module", "remittance-basics", "removed", [])], True),
        (
            {"contracts": directory().model_dump()["contracts"][1:]},
            [("contract", "acme-1", "removed", [])],
            False,
        ),
    ],
)
def test_a_plan_lists_what_is_created_changed_and_removed(
    changes: dict[str, Any], expected: list[Any], is_policy: bool
) -> None:
    found = changes_between(directory(), directory(**changes))
    assert [(c.kind, c.id, c.change, [f.field for f in c.fields]) for c in found] == expected
    assert touches_policy(found) is is_policy


def test_what_a_plan_changes_is_named_as_people_do() -> None:
    found = changes_between(None, directory())
    named = {(each.kind, each.named, each.administrator) for each in found}
    assert {
        ("carrier", "Acme Health", None),
        ("contract", "Acme Health, 12-3456789", None),
    } <= named
    assert all(each.named for each in found if each.kind != "review_policy"), found


def test_of_a_changed_object_only_the_members_that_differ_are_shown() -> None:
    def with_rules(**values: Any) -> Directory:
        document = directory().model_dump(mode="json", exclude_none=True)
        document["portals"][0]["rules"] = [
            {"rule": name, "value": value, "source": "help"} for name, value in values.items()
        ]
        return Directory.model_validate(document)

    before = with_rules(inactivity_days=30, password_days=90)
    after = with_rules(inactivity_days=45, password_days=90, mfa=True)
    (change,) = changes_between(before, after)
    assert [(f.field, f.before is None) for f in change.fields] == [
        ("rules inactivity_days", False),
        ("rules mfa", True),
    ]


def test_everything_is_new_in_a_first_directory() -> None:
    found = changes_between(None, directory())
    assert {change.change for change in found} == {"created"}
    assert len(found) == len(list(directory().objects()))


def test_a_plan_is_named_by_what_it_says_and_what_it_changes() -> None:
    document = directory().model_dump(mode="json")
    names = {
        plan_digest("a", 1, document),
        plan_digest("a", 2, document),
        plan_digest("b", 1, document),
        plan_digest("a", 1, directory(titles=[]).model_dump(mode="json")),
    }
    assert len(names) == 4
    assert plan_digest("a", 1, dict(reversed(document.items()))) == plan_digest("a", 1, document)


def test_a_policy_version_is_counted_up_where_an_edit_changes_the_policy() -> None:
    before = directory()
    assert with_new_policy_version(before, directory(titles=[])).policy.version == "v2"
    assert with_new_policy_version(before, directory(contracts=[])).policy.version == "v1"
    named = directory(policy=policy("2027"), titles=[])
    assert with_new_policy_version(before, named).policy.version == "2027"
    worded = directory(policy=policy("first"))
    after = directory(policy=policy("first"), titles=[])
    assert with_new_policy_version(worded, after).policy.version == "first.2"


def test_an_edit_sets_and_takes_out_objects_where_they_stand() -> None:
    document = edited(
        directory(),
        {("title", "Biller"): {"duties": []}, ("title", "Poster"): {"duties": ["billing"]}},
        {("contract", "lapsed-1")},
    )
    assert [each["id"] for each in document["titles"]] == [
        "Front Desk",
        "Biller",
        "Nurse",
        "Poster",
    ]
    assert document["titles"][1] == {"id": "Biller", "duties": []}
    assert "lapsed-1" not in [each["id"] for each in document["contracts"]]
    with pytest.raises(Problem, match="has no contract nowhere"):
        edited(directory(), {}, {("contract", "nowhere")})
    with pytest.raises(Problem, match="no objects called planet"):
        edited(directory(), {}, {("planet", "mars")})


def test_an_edit_fills_in_a_new_portal_and_leaves_the_others_as_they_are() -> None:
    document = yaml.safe_load(write_directory_file(directory()))
    own: dict[str, Any] = {"id": "uhc", "catalogue": "unitedhealthcare", "support": None}
    before = read_directory_document({**document, "portals": [*document["portals"], own]})
    new = {"catalogue": "noridian-nmp", "reaches": [{"carrier": "medicare"}]}
    changed = edited(before, {("portal", "noridian"): new}, set())
    after = read_directory_document(changed, whole=True)
    assert [(c.kind, c.id, c.change) for c in changes_between(before, after)] == [
        ("portal", "noridian", "created")
    ]
    assert after.portals[-1].name == "Noridian Medicare Portal"
    with pytest.raises(Problem, match="'noridiam', which there is not"):
        edited(before, {("portal", "x"): {"catalogue": "noridiam"}}, set())


# -- whose access


async def test_a_plan_shows_whose_access_would_change_and_changes_nothing(
    planner: Planner,
) -> None:
    await planner.desk.hear(hire("w1"), hire("w2", title="Biller"), hire("w3", title="Nurse"))
    before = await planner.desired("w1", "w2", "w3")
    said = len(await planner.desk.published())
    row = await planner.make(directory(policy=policy("v2"), titles=BILLERS_TOO))
    effects = await planner.effects(row["plan"])
    assert row["status"] == "ready"
    assert (row["simulated"], row["total"]) == (3, 3)
    assert set(effects) == {"w1"}
    assert {function for _, _, function in effects["w1"]["gains"]} >= {"claim_status"}
    assert effects["w1"]["loses"] == []
    assert effects["w1"]["more"]["duties"] == [["front-desk"], ["front-desk", "billing"]]
    assert [held[2] for held in effects["w1"]["more"]["held"]] == ["remittance"]
    assert await planner.desired("w1", "w2", "w3") == before
    assert len(await planner.desk.published()) == said


async def test_a_question_that_a_plan_answers_or_raises_is_shown(planner: Planner) -> None:
    await planner.desk.hear(hire("w1"), hire("w2", title="Rev Cycle Spec II"))
    titles = [{"id": "Rev Cycle Spec II", "duties": ["billing"]}]
    row = await planner.make(directory(policy=policy("v2"), titles=titles))
    effects = await planner.effects(row["plan"])
    assert effects["w2"]["more"]["resolved"][0][0] == "unmapped_title"
    assert effects["w1"]["more"]["raised"][0][0] == "unmapped_title"
    assert len(effects["w1"]["loses"]) == 4


async def test_a_long_simulation_goes_on_in_chunks_with_its_progress_shown(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    await planner.desk.hear(*(hire(f"w{number}") for number in range(25)))
    monkeypatch.setattr(plans_handler, "SIMULATED_AT_A_TIME", 10)
    plan = await in_transaction(
        planner.desk.pool,
        lambda conn: planner.commands.make(
            conn, directory(contracts=[]), ADMINISTRATOR, applicable=True
        ),
    )
    progress = []
    while await planner.commands.simulate_next():
        progress.append((await planner.row(plan))["simulated"])
    row = await planner.row(plan)
    assert progress == [10, 20]
    assert (row["status"], row["simulated"], row["total"]) == ("ready", 25, 25)
    assert len(await planner.effects(plan)) == 25


async def test_applying_does_exactly_what_the_plan_said_and_an_export_plans_nothing(
    planner: Planner,
) -> None:
    """Random edits one after another, each planned, carried out and compared."""
    dice = random.Random(20261125)
    workers = [f"w{number}" for number in range(9)]
    titles = ["Front Desk", "Biller", "Nurse"]
    await planner.desk.hear(
        *(
            hire(worker, title=titles[number % 3], sites=[dice.choice(["north", "south"])])
            for number, worker in enumerate(workers)
        )
    )
    moved = 0
    for round_ in range(24):
        before = await planner.desired(*workers)
        now = await planner.current()
        after = with_new_policy_version(now, Directory.model_validate(_shaken(now, dice)))
        row = await planner.make(after)
        effects = await planner.effects(row["plan"])
        await planner.carry_out(row["plan"])
        await planner.desk.pass_time()
        found = await planner.desired(*workers)
        for worker in workers:
            said = effects.get(worker, {"gains": [], "loses": []})
            assert {tuple(right) for right in said["gains"]} == found[worker] - before[worker], (
                round_,
                worker,
            )
            assert {tuple(right) for right in said["loses"]} == before[worker] - found[worker]
            moved += len(said["gains"]) + len(said["loses"])
        exported = read_directory_file(write_directory_file(await planner.current()))
        again = await planner.make(exported)
        assert again["changes"] == []
        assert await planner.effects(again["plan"]) == {}
    assert moved > 50, "the edits have to matter"


def _shaken(now: Directory, dice: random.Random) -> dict[str, Any]:
    """The directory with one or two of its parts changed at random."""
    document = now.model_dump(mode="json", exclude_none=True)
    for _ in range(dice.randint(1, 2)):
        match dice.randrange(7):
            case 0:
                title = dice.choice(document["titles"])
                duties = [duty["id"] for duty in document["job_duties"]]
                title["duties"] = dice.sample(duties, dice.randint(0, len(duties)))
            case 1:
                contract = dice.choice(document["contracts"])
                contract["until"] = day(dice.choice([-40, -1, 30]))
                contract["grace_days"] = dice.choice([0, 60])
                contract["since"] = "2020-01-01"
            case 2:
                for contract in document["contracts"]:
                    contract.pop("until", None)
            case 3:
                enrolment = dice.choice(document["enrolments"])
                if enrolment.pop("registered_on", None) is None:
                    enrolment["registered_on"] = day(-dice.randint(1, 300))
            case 4:
                duty = dice.choice(document["job_duties"])
                duty["functions"] = dice.sample(
                    ["eligibility", "benefits", "claim_status", "fee_schedule"], dice.randint(1, 4)
                )
            case 5:
                rule = {
                    "id": "apart",
                    "holders": {"duties": ["front-desk"]},
                    "never": {"functions": [dice.choice(["claim_status", "fee_schedule"])]},
                    "reason": "tried",
                }
                document["policy"]["separation"] = dice.choice([[], [rule]])
            case 6:
                site = dice.choice(document["sites"])
                site["tins"] = dice.choice([[TIN], [TIN, OTHER_TIN]])
    return document


# -- carrying out


async def test_a_plan_that_leaves_the_policy_alone_is_applied_by_one_person(
    planner: Planner,
) -> None:
    row = await planner.make(directory(contracts=[]))
    done = await planner.apply(row["plan"])
    assert (done["status"], done["version"]) == ("applied", 2)
    async with planner.desk.pool.acquire() as conn:
        versions = await plans_store.versions(conn, ORGANIZATION, 10)
    assert (versions[0]["applied_by"], versions[0]["approved_by"]) == ("admin-1", None)
    assert versions[0]["plan"] == row["plan"]
    with pytest.raises(Problem, match="It has been applied"):
        await planner.apply(row["plan"])


async def test_a_changed_policy_waits_for_a_second_person(planner: Planner) -> None:
    await planner.desk.hear(hire("w1"))
    before = await planner.desired("w1")
    row = await planner.make(directory(policy=policy("v2"), titles=BILLERS_TOO))
    assert (await planner.apply(row["plan"]))["status"] == "proposed"
    await planner.desk.pass_time()
    assert await planner.desired("w1") == before
    with pytest.raises(Problem, match="You proposed this"):
        await planner.approve(row["plan"], ADMINISTRATOR)
    done = await planner.approve(row["plan"])
    await planner.desk.pass_time()
    assert done["version"] == 2
    assert len((await planner.desired("w1"))["w1"]) > len(before["w1"])
    async with planner.desk.pool.acquire() as conn:
        (newest, *_) = await plans_store.versions(conn, ORGANIZATION, 10)
    assert (newest["applied_by"], newest["approved_by"]) == ("admin-1", "signatory-1")
    assert newest["signatory"] == "Dr. Ada Fox"
    (proposed,) = await planner.desk.published("policy.proposed")
    (approved,) = await planner.desk.published("policy.approved")
    assert proposed["data"]["proposed_by"] == "admin-1"
    assert proposed["data"]["workers"] == 1
    assert approved["data"]["approved_by"] == "signatory-1"
    assert approved["key"] == f"{ORGANIZATION}/policy_change/{row['plan']}"
    title = [
        event for event in await planner.desk.published("title.set") if event["ce_version"] == "2"
    ]
    assert {event["ce_approvedby"] for event in title} == {"signatory-1"}


async def test_a_rejected_proposal_changes_nothing_and_is_over(planner: Planner) -> None:
    row = await planner.make(directory(policy=policy("v2"), titles=BILLERS_TOO))
    await planner.apply(row["plan"])
    await planner.reject(row["plan"])
    (rejected,) = await planner.desk.published("policy.rejected")
    assert rejected["data"]["reason"] == "not yet"
    with pytest.raises(Problem, match="It was rejected"):
        await planner.approve(row["plan"])
    assert (await planner.current()).policy.version == "v1"


async def test_a_stale_plan_is_refused(planner: Planner) -> None:
    first = await planner.make(directory(contracts=[]))
    second = await planner.make(directory(policy=policy("v2"), titles=BILLERS_TOO))
    await planner.apply(second["plan"])
    await planner.apply(first["plan"])
    with pytest.raises(Problem, match="version 1, and 2 is in force") as refused:
        await planner.approve(second["plan"])
    assert refused.value.code == "stale_plan"
    third = await planner.make(directory(contracts=[]))
    assert third["changes"] == []


async def test_a_plan_whose_simulation_is_not_through_is_not_applied(planner: Planner) -> None:
    plan = await in_transaction(
        planner.desk.pool,
        lambda conn: planner.commands.make(
            conn, directory(contracts=[]), ADMINISTRATOR, applicable=True
        ),
    )
    with pytest.raises(Problem, match="not through yet"):
        await planner.apply(plan)


async def test_a_simulation_cannot_be_applied_until_a_plan_is_made_of_it(planner: Planner) -> None:
    row = await planner.make(directory(contracts=[]), applicable=False)
    with pytest.raises(Problem, match="only simulated"):
        await planner.apply(row["plan"])
    again = await planner.make(directory(contracts=[]))
    assert again["plan"] == row["plan"]
    assert (await planner.apply(row["plan"]))["status"] == "applied"


async def test_a_policy_that_changes_under_its_old_version_is_refused(planner: Planner) -> None:
    with pytest.raises(Problem, match=r"title Front Desk\), but policy.version is still v1"):
        await planner.make(directory(titles=BILLERS_TOO))


async def test_a_portal_in_use_is_not_planned_away(planner: Planner) -> None:
    await planner.desk.hear(hire("w1"))
    await planner.desk.finish_all()
    document = directory().model_dump(mode="json", exclude_none=True)
    document["portals"] = [each for each in document["portals"] if each["id"] != "mac"]
    document["enrolments"] = [each for each in document["enrolments"] if each["portal"] != "mac"]
    with pytest.raises(Problem, match="still have logins on mac"):
        await planner.make(Directory.model_validate(document))


async def test_nobody_plans_for_another_organization(planner: Planner) -> None:
    other = {**directory().organization.model_dump(), "id": "birch-clinic"}
    with pytest.raises(Problem, match="signed in for maple-clinic only"):
        await planner.make(directory(organization=other))


async def test_one_person_alone_changes_no_policy_without_a_plan(planner: Planner) -> None:
    async with planner.desk.pool.acquire() as conn:
        with pytest.raises(Problem, match="somebody else approve it"):
            await planner.commands.refuse_alone(
                conn, directory(policy=policy("v2"), titles=BILLERS_TOO), ADMINISTRATOR
            )
        await planner.commands.refuse_alone(conn, directory(contracts=[]), ADMINISTRATOR)


async def test_a_plan_nobody_took_up_is_forgotten_after_a_month(planner: Planner) -> None:
    row = await planner.make(directory(contracts=[]))
    proposed = await planner.make(directory(policy=policy("v2"), titles=BILLERS_TOO))
    await planner.apply(proposed["plan"])
    await planner.desk.pass_time(days=31)
    assert await planner.commands.forget() == 1
    assert await planner.row(row["plan"]) is None
    assert await planner.row(proposed["plan"]) is not None
