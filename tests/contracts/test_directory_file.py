"""A directory file says what is wrong in it and where, and is written as it is read."""

import re
from datetime import date
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.story.clinic import CEDAR_SOUND, read_directory
from shared.contracts import catalogue
from shared.contracts.directory import (
    FINANCIAL,
    RULE_TYPES,
    Directory,
    OperationKind,
    PortalRule,
    RuleName,
)
from shared.contracts.directory_file import (
    DirectoryFileError,
    FileProblem,
    read_directory_document,
    read_directory_file,
    write_directory_file,
)
from shared.contracts.forms import check_email, check_npi, check_ptan, check_tin, check_url
from tests.contracts.reading import validator
from tests.provisioning.worlds import directory

CLINIC = read_directory(CEDAR_SOUND / "directory.yaml", date(2026, 11, 23))


def problems_of(text: str) -> list[str]:
    with pytest.raises(DirectoryFileError) as caught:
        read_directory_file(text)
    return [str(problem) for problem in caught.value.problems]


def changed(**changes: Any) -> str:
    """The tests' directory as a file, with some of its top-level keys replaced."""
    document = directory().model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump({**document, **changes}, sort_keys=False)


# -- forms


@pytest.mark.parametrize(
    ("check", "value", "wrong"),
    [
        (check_tin, "12-3456789", None),
        (check_tin, "123456789", "written like 12-3456789"),
        (check_tin, "123-45-6789", "social security number"),
        (check_tin, "12-345678", "it has 8 digits"),
        (check_npi, "2048816203", None),
        (check_npi, "2048816204", "last digit does not check"),
        (check_npi, "204881620", "it has 9 digits"),
        (check_npi, "20488162O3", "ten digits and nothing else"),
        (check_ptan, "G8904132", None),
        (check_ptan, "508866", None),
        (check_ptan, "g8904132", "capital letters and digits"),
        (check_ptan, "2048816203", "is an NPI"),
        (check_ptan, "ABCDEF", "at least one digit"),
        (check_url, "https://www.noridianmedicareportal.com/web/nmp/help", None),
        (check_url, "www.onehealthport.com", "begins with https://"),
        (check_url, "https://", "a host such as"),
        (check_url, "https://localhost", "a host such as"),
        (check_url, "https://user:secret@portal.example", "user name or password"),
        (check_url, "https://portal.example/a b", "blanks"),
        (check_url, "https://portal.example:http", "is no web address"),
        (check_url, "javascript:alert(1)", "begins with https://"),
        (check_email, "portals@clinic.example", None),
        (check_email, "portals.clinic.example", "lacks the @"),
        (check_email, "portals@clinic", "a host such as"),
        (check_email, "por tals@clinic.example", "before the @"),
        (check_email, f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 63}.{'e' * 8}", "longer than"),
    ],
)
def test_an_identifier_or_address_of_a_wrong_form_is_told_what_is_wrong(
    check: Any, value: str, wrong: str | None
) -> None:
    if wrong is None:
        assert check(value) == value
        return
    with pytest.raises(ValueError, match=re.escape(wrong)):
        check(value)


@given(st.from_regex(r"[0-9]{9}", fullmatch=True))
def test_of_the_ten_last_digits_of_an_npi_exactly_one_checks(start: str) -> None:
    good = []
    for digit in "0123456789":
        try:
            good.append(check_npi(start + digit))
        except ValueError:
            continue
    assert len(good) == 1


def test_a_social_security_number_is_not_repeated_in_the_message() -> None:
    said = problems_of(changed(organization={**_organization(), "tins": ["123-45-6789"]}))
    assert "123-45-6789" not in " ".join(said)


# -- where it is wrong


def test_every_problem_names_its_line_in_the_order_of_the_file() -> None:
    text = changed()
    text = text.replace("https://hub.example", "hub.example", 1)
    text = text.replace("state: WA", "state: Washington", 1)
    said = problems_of(text)
    lines = text.splitlines()
    numbers = [int(re.match(r"line (\d+): ", each)[1]) for each in said]  # type: ignore[index]
    assert "state: Washington" in lines[numbers[0] - 1]
    assert "url: hub.example" in lines[numbers[1] - 1]
    assert said[1].endswith("portals hub, url: is no web address: it begins with https://")


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"titles": [{"id": "Biller", "duties": ["bilking"]}]}, "job duty 'bilking'"),
        (
            {"enrolments": [{"id": "a", "portal": "moon", "tin": "12-3456789"}]},
            "portal 'moon', which is not in the directory",
        ),
        (
            {"enrolments": [{"id": "a", "portal": "hub", "tin": "12-0000000"}]},
            "tax id 12-0000000, which the organization lacks",
        ),
        (
            {"titles": [{"id": "Biller", "duties": []}, {"id": "BILLER", "duties": []}]},
            "title 'BILLER' is given twice",
        ),
        (
            {
                "contracts": [
                    {
                        "id": "c",
                        "carrier": "acme",
                        "tins": ["12-3456789"],
                        "since": "2026-01-02",
                        "until": "2026-01-01",
                    }
                ]
            },
            "lies before since",
        ),
        ({"portalz": []}, "typing error"),
    ],
)
def test_what_does_not_hang_together_is_named(changes: dict[str, Any], wrong: str) -> None:
    assert wrong in " ".join(problems_of(changed(**changes)))


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "an organization's name for its id": (
        {"organization": {**directory().organization.model_dump(mode="json"), "id": "Fern Clinic"}},
        "organization, id: is no id: small letters, digits and hyphens",
    ),
    "blanks in an id": (
        {"titles": [], "job_duties": [{"id": "front desk", "name": "Front", "functions": []}]},
        "job_duties front desk, id: is no id: small letters and digits, with . _ -",
    ),
    "a kind that there is not": (
        {"carriers": [{"id": "acme", "name": "Acme", "kind": "comercial"}]},
        "kind: is none of commercial, medicare, medicare_advantage, medicaid, managed_medicaid,"
        " workers_comp; is commercial meant?",
    ),
    "a day that there is not": (
        {"policy": {"version": "v1", "signatory": "Dr. Fox", "signed_on": "2026-13-05"}},
        "policy, signed_on: is no day, which is written like 2026-01-31",
    ),
    "a state in words": (
        {"sites": [{"id": "north", "name": "North", "state": "Oregon", "tins": []}]},
        "state: is no state: write it in two capital letters, like WA",
    ),
    "one thing where a list is expected": (
        {"titles": [{"id": "Biller", "duties": "billing"}]},
        "duties: is no list: begin each of them with a dash",
    ),
}


@pytest.mark.parametrize(("changes", "wrong"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_words_that_say_what_is_wanted(
    changes: dict[str, Any], wrong: str
) -> None:
    assert wrong in " ".join(problems_of(changed(**changes)))


def test_a_list_that_lacks_only_what_is_wrong_in_it_is_not_called_empty_besides() -> None:
    said = problems_of(changed(organization={**_organization(), "tins": ["12-345678"]}))
    assert "needs at least one" not in " ".join(said)


def test_several_references_to_nothing_are_all_told() -> None:
    said = problems_of(changed(titles=[{"id": "A", "duties": ["x"]}, {"id": "B", "duties": ["y"]}]))
    assert len(said) == 2
    assert all(each.startswith("line ") for each in said)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "empty"),
        ("a: [", "is not YAML"),
        ("a: 1\na: 2\n", "'a' is given twice"),
        ("? [a, b]\n: 1\n", "a name is expected before the colon"),
        ("- just\n- a list\n", "no group of names"),
        ("a: &a [*a]\n", "anchor contains itself"),
        (
            "\n".join(
                f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 12)}]"
                if n >= 0
                else "a: &a [x, x]"
                for n in range(-1, 8)
            ),
            "means more than",
        ),
        ("!!python/object/apply:os.system [id]", "is not YAML"),
    ],
)
def test_what_is_no_directory_is_refused_in_a_sentence(text: str, wrong: str) -> None:
    assert wrong in " ".join(problems_of(text))


def test_a_number_without_quotes_is_told_to_have_them() -> None:
    text = changed().replace("'12-3456789'", "123456789", 1).replace("12-3456789", "123456789", 1)
    assert "put it in quotes" in problems_of(text)[0]


# -- front office


@pytest.mark.parametrize("function", sorted(each.value for each in FINANCIAL))
def test_a_policy_that_gives_money_to_the_front_office_is_refused(function: str) -> None:
    duties = [
        {
            "id": "front-desk",
            "name": "Front desk",
            "front_office": True,
            "functions": ["eligibility", function],
        },
        {"id": "billing", "name": "Billing", "functions": ["claim_status"]},
    ]
    said = problems_of(changed(job_duties=duties))
    assert f"gives {function} to the front office (front-desk)" in said[0]
    decided = {
        "id": "small-practice",
        "holders": {"duties": ["front-desk"]},
        "never": {"functions": [function]},
        "reason": "One person does both; the physician looks at the bank account monthly.",
        "enforced": False,
    }
    policy = {**directory().policy.model_dump(mode="json"), "separation": [decided]}
    assert read_directory_file(changed(job_duties=duties, policy=policy))


def test_the_shipped_policy_keeps_money_from_the_front_office() -> None:
    duties, separation = catalogue.default_policy()
    front = [duty for duty in duties if duty.front_office]
    assert front
    for duty in front:
        assert not FINANCIAL & set(duty.functions)
        assert {
            function
            for rule in separation
            if rule.enforced and duty.id in rule.holders.duties
            for function in rule.never.functions
        } >= FINANCIAL


# -- rules


@pytest.mark.parametrize("name", RULE_TYPES)
def test_a_rule_that_programs_read_takes_no_words(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is"):
        PortalRule(rule=name, value="thirty", source="help")
    assert PortalRule(rule=name, source="help", confirmed=False).value is None
    with pytest.raises(ValueError, match="confirmed: false"):
        PortalRule(rule=name, source="help")


def test_of_a_dated_rule_the_row_in_force_counts() -> None:
    portal = catalogue.portals()["nd-mmis"]
    assert portal.number(RuleName.INACTIVITY_DAYS, date(2024, 2, 9)) is None
    assert portal.number(RuleName.INACTIVITY_DAYS, date(2024, 2, 10)) == 365
    cgs = catalogue.portals()["cgs-mycgs"]
    assert cgs.holds(RuleName.TERMINATING_ADMIN_ENDS_ASSIGNED, date(2026, 1, 1))
    assert not cgs.holds(RuleName.ONE_LOGIN, date(2026, 1, 1))


# -- the catalogue

FACTS = [
    ("noridian-nmp", "inactivity_days", 30),
    ("noridian-nmp", "deletes_after_days", 90),
    ("noridian-nmp", "recertification_days", 365),
    ("noridian-nmp", "recertification_window_days", 45),
    ("noridian-nmp", "password_days", 365),
    ("noridian-nmp", "max_administrators", 5),
    ("noridian-nmp", "max_tins_per_administrator", 25),
    ("noridian-nmp", "one_role_per_person", True),
    ("ngsconnex", "inactivity_days", 30),
    ("ngsconnex", "recertification_days", 365),
    ("palmetto-eservices", "inactivity_days", 30),
    ("palmetto-eservices", "deletes_after_days", 120),
    ("palmetto-eservices", "recertification_days", 360),
    ("cgs-mycgs", "inactivity_days", 30),
    ("cgs-mycgs", "recertification_days", 360),
    ("cgs-mycgs", "profile_check_days", 250),
    ("cgs-mycgs", "terminating_admin_ends_assigned", True),
    ("fcso-spot", "inactivity_days", 30),
    ("novitasphere", "inactivity_days", 30),
    ("cms-idm", "password_idle_days", 60),
    ("unitedhealthcare", "inactivity_days", 90),
    ("availity-essentials", "inactivity_days", None),
    ("onehealthport", "inactivity_days", None),
    ("navinet", "password_days", 90),
    ("wa-providerone", "inactivity_warning_days", 120),
    ("wa-providerone", "inactivity_days", 180),
    ("nd-mmis", "inactivity_days", 365),
    ("ny-epaces", "inactivity_days", None),
    ("dol-wcmbp", "inactivity_days", None),
]


@pytest.mark.parametrize(("entry", "rule", "value"), FACTS)
def test_the_catalogue_holds_what_is_known_of_portals(entry: str, rule: str, value: Any) -> None:
    row = catalogue.portals()[entry].rule_in_force(rule, date(2026, 11, 25))
    assert row is not None
    assert row.value == value
    assert row.source
    if value is None:
        assert not row.confirmed


def test_second_hand_facts_are_not_called_confirmed() -> None:
    row = catalogue.portals()["novitasphere"].rule_in_force("inactivity_days", date(2026, 1, 1))
    assert row is not None
    assert not row.confirmed


@pytest.mark.parametrize("entry", catalogue.entries())
def test_an_entry_says_what_each_operation_really_is_there(entry: str) -> None:
    portal = catalogue.portals()[entry]
    wanted = {kind.value for kind in OperationKind} & {
        "open",
        "grant",
        "revoke",
        "suspend",
        "resume",
        "appoint_successor",
    }
    if portal.revoke_instead_of_suspend:
        wanted -= {"suspend", "resume"}
    assert wanted <= {kind.value for kind in portal.steps}
    for steps in portal.steps.values():
        assert all(step.hours for step in steps)
    assert portal.rules
    assert catalogue.entries()[entry]["functions"]


def test_a_portal_overrides_its_entry_field_by_field() -> None:
    own = {
        "id": "mac",
        "catalogue": "noridian-nmp",
        "support": "855-609-9960",
        "steps": {"revoke": [{"actor": "administrator", "text": "Ask the help desk."}]},
        "rules": [{"rule": "inactivity_days", "value": 45, "source": "a letter of 2026-10-01"}],
    }
    filled = catalogue.fill_in(own)
    entry = catalogue.entries()["noridian-nmp"]
    assert filled["support"] == "855-609-9960"
    assert filled["url"] == entry["url"]
    assert filled["steps"]["revoke"] == own["steps"]["revoke"]  # type: ignore[index]
    assert filled["steps"]["open"] == entry["steps"]["open"]
    rows = [row for row in filled["rules"] if row["rule"] == "inactivity_days"]
    assert rows == own["rules"]
    assert len(filled["rules"]) == len(entry["rules"])


def test_a_sign_on_service_of_the_catalogue_is_found_under_the_directorys_own_id() -> None:
    document = yaml.safe_load(changed())
    document["portals"] += [
        {"id": "labor", "catalogue": "wa-lni"},
        {"id": "saw", "catalogue": "secureaccess-washington"},
    ]
    read = read_directory_document(document)
    assert next(p for p in read.portals if p.id == "labor").requires_sign_on == "saw"
    document["portals"].pop()
    with pytest.raises(DirectoryFileError, match="'secureaccess-washington', which is not in"):
        read_directory_document(document)


def test_an_entry_that_there_is_not_is_named_with_its_line() -> None:
    document = yaml.safe_load(changed())
    document["portals"].append({"id": "x", "catalogue": "noridiam"})
    said = problems_of(yaml.safe_dump(document, sort_keys=False))
    assert said[0].startswith("line ")
    assert "'noridiam', which there is not" in said[0]


# -- writing


@pytest.mark.parametrize("given", [CLINIC, directory()], ids=["the clinic", "a small one"])
def test_a_directory_is_written_as_it_is_read(given: Directory) -> None:
    text = write_directory_file(given)
    assert read_directory_file(text) == given
    assert validator("directory-file").is_valid(yaml.safe_load(text))


def test_what_the_catalogue_says_is_left_out_of_an_export() -> None:
    text = write_directory_file(CLINIC)
    assert "catalogue: noridian-nmp" in text
    assert "Dual Role" not in text
    assert len(text) < len(CLINIC.model_dump_json()) / 2


def test_an_override_with_nothing_survives_an_export() -> None:
    document = yaml.safe_load(changed())
    document["portals"].append(
        {
            "id": "uhc",
            "catalogue": "unitedhealthcare",
            "support": None,
            "rules": [{"rule": "mfa", "source": "nobody knows", "confirmed": False}],
            "reaches": [{"carrier": "acme"}],
        }
    )
    read = read_directory_document(document)
    assert read.portals[-1].support is None
    assert read_directory_file(write_directory_file(read)) == read


def test_the_schema_takes_a_portal_of_the_catalogue_and_no_half_portal() -> None:
    document = yaml.safe_load(changed())
    schema = validator("directory-file")
    document["portals"].append({"id": "x", "catalogue": "noridian-nmp", "reaches": []})
    assert schema.is_valid(document)
    del document["portals"][-1]["catalogue"]
    assert not schema.is_valid(document)


def _organization() -> dict[str, Any]:
    dumped: dict[str, Any] = directory().organization.model_dump(mode="json", exclude_none=True)
    return dumped


# -- whatever is typed

LINES = write_directory_file(CLINIC).splitlines()
SCRAPS = st.sampled_from(
    (*"[]{}~'\"#é\t\x00\u2028\ufeff", "- ", ": ", "&a", "*a", "<<: *a", "null", "!!int", "id: x")
) | st.sampled_from(("tins: 5", "? k", "---", "...", "%YAML 9", "0o17", "1e999", ".nan"))


@pytest.mark.slow
@settings(deadline=None)
@given(st.data())
def test_a_broken_file_is_refused_with_a_sentence_and_never_otherwise(data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["drop", "twice", "scrap", "cut", "swap"])):
            case "drop":
                del lines[at]
            case "twice":
                lines.insert(at, lines[at])
            case "scrap":
                column = data.draw(st.integers(0, len(lines[at])))
                lines[at] = lines[at][:column] + data.draw(SCRAPS) + lines[at][column:]
            case "cut":
                lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at])))]
            case "swap":
                other = data.draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], lines[at]
    text = "\n".join(lines)
    read, problems = read_or_told(text)
    for problem in problems:
        assert problem.message
        assert problem.line is None or 1 <= problem.line <= text.count("\n") + 2
    if read is not None:
        assert read_directory_file(write_directory_file(read)) == read


def read_or_told(text: str) -> tuple[Directory | None, tuple[FileProblem, ...]]:
    try:
        return read_directory_file(text), ()
    except DirectoryFileError as error:
        return None, error.problems


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(DirectoryFileError):
        read_directory_file(text)
