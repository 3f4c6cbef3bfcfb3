"""The example clinic's files: a reader can open them, and every part of them means something."""

import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
import yaml
from pydantic import AwareDatetime

from deploy.keys import EXAMPLE_ORGANIZATION, EXAMPLE_SOURCE
from deploy.story.clinic import (
    CEDAR_SOUND,
    Event,
    Feed,
    day_of_playing,
    read_directory,
    read_feed,
)
from deploy.story.dates import DAY_FIELDS, INSTANT_FIELDS, day, expand, instant
from shared.contracts.directory import (
    DIRECTORY_MODELS,
    Directory,
    Function,
    OperationKind,
    Portal,
    RuleName,
)
from shared.contracts.envelope import read_structured
from shared.contracts.hr import HR_EVENT_MODELS, is_npi, validate
from shared.errors import Rejected

MONDAY = date(2026, 11, 23)
PACIFIC = ZoneInfo("America/Los_Angeles")
FRONT_OFFICE_NEVER_SEES = {Function.REMITTANCE, Function.PAYMENT, Function.FEE_SCHEDULE}
READABLE_COLUMNS = 120

REFUSED = {
    "hr-0260": "invalid_data",  # an NPI with a wrong check digit
    "hr-0263": "unknown_type",
    "hr-0272": "personal_id",  # a subject like a social security number
    "hr-0273": "invalid_data",  # the year 9999
}


@pytest.fixture(scope="module")
def directory() -> Directory:
    return read_directory(CEDAR_SOUND / "directory.yaml", MONDAY)


@pytest.fixture(scope="module")
def feed() -> Feed:
    return read_feed(CEDAR_SOUND / "hr-feed.yaml", MONDAY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today", date(2026, 11, 23)),
        ("-120d", date(2026, 7, 26)),
        ("+2w", date(2026, 12, 7)),
        ("last friday", date(2026, 11, 20)),
        ("last monday", date(2026, 11, 16)),
        ("next monday", date(2026, 11, 30)),
        ("next tuesday", date(2026, 11, 24)),
        ("2019-06-03", date(2019, 6, 3)),
    ],
)
def test_a_relative_day_is_counted_from_the_day_of_playing(text: str, expected: date) -> None:
    assert day(text, MONDAY) == expected


@pytest.mark.parametrize("offset", range(7))
def test_last_friday_is_within_the_week_before_whatever_day_it_is(offset: int) -> None:
    today = MONDAY + timedelta(days=offset)
    last, following = day("last friday", today), day("next friday", today)
    assert last.weekday() == following.weekday() == 4
    assert 1 <= (today - last).days <= 7
    assert 1 <= (following - today).days <= 7


@pytest.mark.parametrize("text", ["", "yesterday", "120d", "-1y", "last freitag", "2026-02-30"])
def test_a_day_in_no_known_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a day such as"):
        day(text, MONDAY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("last friday 17:00", datetime(2026, 11, 21, 1, 0, tzinfo=UTC)),  # PST
        ("-120d 17:00", datetime(2026, 7, 27, 0, 0, tzinfo=UTC)),  # PDT
        ("2026-03-08 02:30", datetime(2026, 3, 8, 10, 30, tzinfo=UTC)),  # left out by the clocks
        ("2026-11-01 01:30", datetime(2026, 11, 1, 8, 30, tzinfo=UTC)),  # happens twice: the first
    ],
)
def test_an_instant_is_read_on_the_wall_clock_of_the_zone(text: str, expected: datetime) -> None:
    assert instant(text, MONDAY, PACIFIC) == expected


def test_the_same_words_mean_another_instant_in_another_zone() -> None:
    assert instant("today 09:00", MONDAY, ZoneInfo("Asia/Tokyo")) == datetime(
        2026, 11, 23, tzinfo=UTC
    )


def test_an_instant_needs_a_time_of_day() -> None:
    with pytest.raises(ValueError, match="lacks a time of day"):
        instant("-3d", MONDAY, PACIFIC)


def test_only_fields_that_hold_days_or_instants_are_replaced() -> None:
    given = {"name": "today", "since": "-1d", "effective_at": "today 08:00", "rank": 3}
    assert expand(given, MONDAY, PACIFIC) == {
        "name": "today",
        "since": "2026-11-22",
        "effective_at": "2026-11-23T16:00:00Z",
        "rank": 3,
    }


def test_a_field_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ValueError, match=r"^since: 'soon' is not a day"):
        expand({"since": "soon"}, MONDAY, PACIFIC)


def test_every_day_and_instant_of_the_contracts_is_known_to_the_reader() -> None:
    names = {
        name
        for model in (*DIRECTORY_MODELS.values(), *HR_EVENT_MODELS.values())
        for name, field in model.model_fields.items()
        if _holds_time(field.annotation)
    }
    from_portal_rules = {"effective_from", "verified_on"}
    assert names | from_portal_rules == DAY_FIELDS | INSTANT_FIELDS


def _holds_time(annotation: Any) -> bool:
    if isinstance(annotation, type):
        return issubclass(annotation, date) or annotation is AwareDatetime
    return any(_holds_time(argument) for argument in get_args(annotation))


def test_the_directory_holds_what_the_story_promises(directory: Directory) -> None:
    assert len(directory.portals) == 14
    assert len(directory.carriers) == 12
    assert len(directory.organization.tins) == 2
    assert [site.name.split()[0] for site in directory.sites] == ["Tacoma", "Olympia", "Centralia"]


def test_every_kind_of_portal_and_carrier_occurs(directory: Directory) -> None:
    # A vault and work accounts are nobody's portals; what they need is configured, not shipped.
    for members, beside in (
        (directory.portals, {"vault", "work_account"}),
        (directory.carriers, set()),
    ):
        kinds = set(get_args(type(members[0]).model_fields["kind"].annotation))
        assert {member.kind for member in members} == kinds - beside


def test_every_portal_rule_names_its_source(directory: Directory) -> None:
    rules = [(portal.id, rule) for portal in directory.portals for rule in portal.rules]
    assert len(rules) > 20
    assert [where for where, rule in rules if not rule.source.strip()] == []


def test_a_rule_that_is_not_known_is_not_called_confirmed(directory: Directory) -> None:
    rules = [rule for portal in directory.portals for rule in portal.rules]
    doubtful = [rule for rule in rules if re.search(r"None|not known|seems", str(rule.value))]
    assert doubtful
    assert [rule for rule in doubtful if rule.confirmed] == []


AS_EVERYWHERE = {OperationKind.ROTATE, OperationKind.CLOSE, OperationKind.KEEP_ALIVE}
"""What is done the same way on any portal, unless it says otherwise."""


def test_every_portal_says_who_takes_which_step(directory: Directory) -> None:
    for portal in directory.portals:
        wanted = set(OperationKind) - AS_EVERYWHERE
        if portal.revoke_instead_of_suspend:
            wanted -= {OperationKind.SUSPEND, OperationKind.RESUME}
        if portal.holds(RuleName.ONE_LOGIN, MONDAY):
            # There is no part of a login that several know.
            wanted &= {OperationKind.OPEN, OperationKind.APPOINT_SUCCESSOR}
        assert set(portal.steps) - AS_EVERYWHERE == wanted, portal.id
        assert all(portal.steps.values()), portal.id


def test_nobody_but_an_administrator_or_portal_takes_part_in_a_removal(
    directory: Directory,
) -> None:
    for portal in directory.portals:
        for kind in (OperationKind.REVOKE, OperationKind.SUSPEND):
            actors = {step.actor for step in portal.steps.get(kind, ())}
            assert "worker" not in actors, (portal.id, kind)


def test_removals_cut_sign_on_first_then_hubs_then_the_rest(directory: Directory) -> None:
    def ranks(*kinds: str) -> set[int]:
        return {portal.removal_rank for portal in directory.portals if portal.kind in kinds}

    rest = {portal.kind for portal in directory.portals} - {"sign_on", "hub"}
    assert max(ranks("sign_on")) < min(ranks("hub"))
    assert max(ranks("hub")) < min(ranks(*rest))


def test_some_portals_leave_work_to_people(directory: Directory) -> None:
    manual = {portal.id for portal in directory.portals if portal.connector == "manual"}
    assert manual == {"lni", "secureaccess-washington", "olympic-crest-portal", "evicore"}


def test_invented_portals_can_be_told_by_their_address(directory: Directory) -> None:
    addresses = [portal.url for portal in directory.portals]
    assert sum(".example" in address for address in addresses) == 3
    assert all(address.startswith("https://") for address in addresses)


def test_every_portal_has_an_administrator_and_onehealthport_only_one(
    directory: Directory,
) -> None:
    appointed = Counter(each.portal for each in directory.administrators)
    assert set(appointed) == {portal.id for portal in directory.portals}
    assert [portal for portal, number in appointed.items() if number == 1] == ["onehealthport"]


def test_front_office_never_gets_remittance_payments_or_fee_schedules(
    directory: Directory,
) -> None:
    duties = {duty.id: set(duty.functions) for duty in directory.job_duties}
    assert not duties["front-desk"] & FRONT_OFFICE_NEVER_SEES
    front_titles = [title for title in directory.titles if "front-desk" in title.duties]
    assert len(front_titles) == 3
    for title in front_titles:
        assert not {function for duty in title.duties for function in duties[duty]} & (
            FRONT_OFFICE_NEVER_SEES
        )


def test_every_function_a_duty_needs_is_served_by_some_portal(directory: Directory) -> None:
    served = {
        function
        for portal in directory.portals
        for reach in portal.reaches
        for function in reach.functions
    }
    needed = {function for duty in directory.job_duties for function in duty.functions}
    assert needed <= served


def test_every_carrier_under_contract_is_reached(directory: Directory) -> None:
    reached = {reach.carrier for portal in directory.portals for reach in portal.reaches}
    assert {contract.carrier for contract in directory.contracts} == reached


def test_a_registration_that_still_runs_has_no_date(directory: Directory) -> None:
    waiting = [each.id for each in directory.enrolments if each.registered_on is None]
    assert waiting == ["carelon-2"]


def test_the_medicare_contractor_serves_the_sites_state(directory: Directory) -> None:
    noridian = _portal(directory, "noridian")
    assert {site.state for site in directory.sites} <= set(noridian.states)


def _portal(directory: Directory, id_: str) -> Portal:
    return next(portal for portal in directory.portals if portal.id == id_)


def test_group_npis_carry_a_right_check_digit(directory: Directory) -> None:
    assert len(directory.organization.npis) == 3
    assert all(is_npi(npi) for npi in directory.organization.npis)


def test_clinicians_carry_npis_of_their_own(feed: Feed) -> None:
    npis = {
        event["subject"]: event["data"]["npi"]
        for event in feed.events()
        if event["data"].get("kind") == "clinician" and event["id"] not in REFUSED
    }
    assert all(is_npi(npi) for npi in npis.values())
    assert len(set(npis.values())) == len(npis) >= 60


def test_exactly_the_events_that_must_be_refused_are(feed: Feed) -> None:
    refused = {}
    for event in feed.events():
        try:
            validate(read_structured(event))
        except Rejected as reason:
            refused[event["id"]] = reason.code
    assert refused == REFUSED


def test_each_refused_event_has_accepted_ones_behind_it(feed: Feed) -> None:
    order = [event["id"] for event in feed.stages[-1].events]
    assert order[-1] not in REFUSED


def test_every_type_of_hr_event_occurs(feed: Feed) -> None:
    types = {event["type"] for event in feed.events()}
    assert types == set(HR_EVENT_MODELS) | {"worker.promoted"}


def test_every_kind_of_oddity_occurs(feed: Feed) -> None:
    events = _accepted(feed)
    first = {id_: n for n, id_ in reversed(list(enumerate(e["id"] for e in events)))}
    assert any(n > 1 for n in Counter(e["id"] for e in events).values()), "no duplicate"
    assert any(_days_ahead(e) > 1 for e in events), "nothing dated ahead"
    assert any(_days_ahead(e) < -7 for e in events[150:]), "nothing dated back"
    withdrawn = next(e for e in events if e["type"] == "worker.rescinded")
    assert first[withdrawn["data"]["rescinds"]] > first[withdrawn["id"]], "withdrawn out of order"
    hired = Counter(
        e["subject"] for e in {e["id"]: e for e in events}.values() if e["type"] == "worker.hired"
    )
    assert [worker for worker, n in hired.items() if n > 1] == ["cs-1019"], "no rehire"


def _accepted(feed: Feed) -> list[Event]:
    return [event for event in feed.events() if event["id"] not in REFUSED]


def _days_ahead(event: Event) -> int:
    on = event["data"].get("effective_on")
    recorded = datetime.fromisoformat(event["time"]).astimezone(PACIFIC).date()
    return 0 if on is None else (date.fromisoformat(on) - recorded).days


def test_one_title_of_the_feed_is_mapped_by_nobody(directory: Directory, feed: Feed) -> None:
    mapped = {title.id for title in directory.titles}
    used = {event["data"]["title"] for event in _accepted(feed) if "title" in event["data"]}
    assert used - mapped == {"Rev Cycle Spec II"}
    assert mapped <= used, "a title that nobody holds"


def test_what_the_feed_names_exists(directory: Directory, feed: Feed) -> None:
    events = _accepted(feed)
    workers = {event["subject"] for event in events if event["type"] == "worker.hired"}
    sites = {site.id for site in directory.sites}
    modules = {module.id: module.version for module in directory.training_modules}
    for event in events:
        data = event["data"]
        assert event["subject"] in workers
        assert data.get("supervisor") in workers | {None}
        assert set(data.get("sites", ())) <= sites
        if "module" in data:
            assert data.get("version", modules[data["module"]]) == modules[data["module"]]
    named = {each.worker for each in directory.administrators}
    named |= {module.owner for module in directory.training_modules}
    assert named <= workers


def test_the_feed_speaks_as_a_source_of_the_installation(directory: Directory, feed: Feed) -> None:
    assert {event["source"] for event in feed.events()} == {EXAMPLE_SOURCE}
    assert [source.id for source in directory.sources] == [EXAMPLE_SOURCE]
    assert directory.organization.id == feed.organization == EXAMPLE_ORGANIZATION


@pytest.mark.parametrize("offset", range(7))
def test_nothing_is_recorded_later_than_the_evening_before(offset: int) -> None:
    today = MONDAY + timedelta(days=offset)
    feed = read_feed(CEDAR_SOUND / "hr-feed.yaml", today)
    midnight = datetime.combine(today, datetime.min.time(), tzinfo=PACIFIC)
    assert max(datetime.fromisoformat(event["time"]) for event in feed.events()) < midnight


def test_an_event_is_the_same_whenever_it_is_read_for_the_same_day(feed: Feed) -> None:
    assert read_feed(CEDAR_SOUND / "hr-feed.yaml", MONDAY) == feed


def test_the_day_of_an_earlier_playing_is_found_again_from_what_was_sent(feed: Feed) -> None:
    sent = datetime.fromisoformat(next(feed.events())["time"])
    for later in (0, 1, 150):
        today = MONDAY + timedelta(days=later)
        now = read_feed(CEDAR_SOUND / "hr-feed.yaml", today)
        assert day_of_playing(now, today, sent) == MONDAY


def test_work_by_hand_is_done_on_portals_without_a_connector_only(
    directory: Directory, feed: Feed
) -> None:
    manual = {portal.id for portal in directory.portals if portal.connector == "manual"}
    for stage in feed.stages:
        assert set(stage.worked_off) <= manual
    assert "lni" not in feed.stages[-1].worked_off, "nothing would be left to do"


def test_no_event_tells_why_somebody_left(feed: Feed) -> None:
    for event in feed.events():
        model = HR_EVENT_MODELS.get(event["type"])
        if model is not None:
            assert set(event["data"]) <= set(model.model_fields)


@pytest.mark.parametrize("name", ["directory.yaml", "hr-feed.yaml"])
def test_a_reader_can_open_the_file(name: str) -> None:
    text = (CEDAR_SOUND / name).read_text()
    assert text.startswith("# Example data")
    assert yaml.safe_load(text)
    long = [line for line in text.splitlines() if len(line) > READABLE_COLUMNS]
    assert [line for line in long if "value:" not in line] == []


def test_an_id_given_twice_is_refused(tmp_path: Any) -> None:
    text = (CEDAR_SOUND / "hr-feed.yaml").read_text().replace("id: hr-0002,", "id: hr-0001,", 1)
    (tmp_path / "feed.yaml").write_text(text)
    with pytest.raises(ValueError, match="hr-0001 is given twice"):
        read_feed(tmp_path / "feed.yaml", MONDAY)
