"""The product's rules and the slow oracle say the same of everybody, without any server."""

from datetime import datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.desired.rights import Removal
from services.provisioning.rules.desired.worker import desire
from services.provisioning.rules.exceptions import AccessException
from services.provisioning.rules.timeline import TimelineEvent, fold, people
from shared.contracts.directory import Function
from shared.contracts.hr import Dated, HrEvent
from shared.contracts.state import ExceptionKind, ExceptionStatus
from tests.provisioning.worlds import NOW, OTHER_TIN, TIN, ZONE
from tests.simulation import oracle
from tests.simulation.access_oracle import Beyond, Removed, Told, should_have
from tests.simulation.invariants.tables import distinct
from tests.simulation.others import PORTALS
from tests.simulation.stories import WORKERS, Author, directory_of, found, reform

EVERYTHING = frozenset(
    (portal, tin, function.value)
    for portal in (*PORTALS, "vault")
    for tin in (TIN, OTHER_TIN)
    for function in Function
)
FUNCTIONS = (Function.CLAIM_STATUS, Function.REMITTANCE, Function.BENEFITS, Function.SIGN_ON)


def timeline_event(event: HrEvent) -> TimelineEvent:
    data = event.data
    return TimelineEvent(
        event.worker,
        event.source,
        event.id,
        event.fingerprint,
        event.type,
        event.time,
        data.takes_effect(ZONE) if isinstance(data, Dated) else None,
        data.model_dump(mode="json", exclude_none=True),
        event.entered_by,
    )


def heard(event: HrEvent) -> oracle.Heard:
    data = event.data.model_dump(mode="json", exclude_none=True)
    return oracle.Heard(event.worker, event.source, event.id, event.type, data, event.entered_by)


def beyond_policy(random: Random, now: datetime) -> AccessException:
    starts_at = now + timedelta(hours=random.choice([-30, -1, 0, 5]))
    return AccessException(
        "e", random.choice(list(ExceptionKind)), random.choice(WORKERS), random.choice(PORTALS),
        TIN, random.choice(FUNCTIONS), "helps out", "admin-1", starts_at, starts_at,
        starts_at + timedelta(hours=random.choice([1, 20, 90])), ExceptionStatus.APPROVED,
        "admin-2", random.choice([None, starts_at]),
    )  # fmt: skip


def review_removal(random: Random, now: datetime) -> Removal:
    function = random.choice([None, *FUNCTIONS])
    tin = None if function is None else TIN
    decided_at = now - timedelta(hours=random.choice([0, 3, 50]))
    return Removal("r", "l", random.choice(PORTALS), tin, function, "w9", decided_at)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 10**6), days=st.integers(-6, 9))
def test_rules_and_oracle_say_the_same_of_everybody(seed: int, days: int) -> None:
    random = Random(seed)
    now = NOW + timedelta(days=days, hours=random.randrange(24))
    document = found(random, "sim")
    for _ in range(random.choice([0, 20])):
        reform(random, document)
    directory = directory_of(document)
    events = distinct(said for said in Author(random).write() if said.acceptable)
    exceptions = [beyond_policy(random, now) for _ in range(random.choice([0, 4, 12]))]
    removals = [review_removal(random, now) for _ in range(random.choice([0, 0, 3]))]
    standing = oracle.standing([heard(event) for event in events])
    compiled = CompiledDirectory(directory, 1)
    for person in people(WORKERS, [timeline_event(event) for event in events]):
        if any(event.type == "worker.erased" for event in person.events):
            continue
        own = [one for one in exceptions if one.worker in person.aliases]
        desired = desire(fold(person, now, ZONE), compiled, removals, now, own)
        told = Told(
            frozenset(person.aliases),
            [event for event in standing if event.worker in person.aliases],
            [Removed(one.portal, one.tin, one.function, one.decided_at) for one in removals],
            [
                Beyond(
                    one.kind, (one.portal, one.tin, one.function.value), one.starts_at,
                    one.ends_at, one.approved_at,
                )
                for one in own
            ],
            EVERYTHING,
        )  # fmt: skip
        mine = {
            (portal, tin, function.value): by.kind
            for (portal, tin, function), by in desired.rights.items()
        }
        assert mine == should_have(directory, told, now), person.worker
