"""What is generated is as the code has it, and hangs together."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema

from deploy import generate
from services.gateway.handlers.ingress import _dead_letter
from services.gateway.rules.intake import Refused
from shared.contracts import generate as contracts
from shared.contracts import topics
from shared.contracts.generate import ASYNCAPI, HERE, RECEIVES, SCHEMAS, SENDS
from shared.contracts.topics import TOPICS
from shared.errors import Rejected
from shared.kafka.dead_letters import dead_letter
from tests.contracts.reading import validator
from tests.provisioning.desk import hire
from tests.provisioning.worlds import directory

SERVICES = ("gateway", "provisioning", "audit_log", "review_scheduler")


def document() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(ASYNCAPI.read_text(encoding="utf-8"))
    return parsed


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(reference: str) -> Any:
    file, _, pointer = reference.partition("#")
    found: Any = json.loads((HERE / file).read_text(encoding="utf-8")) if file else document()
    for part in pointer.split("/")[1:]:
        found = found[part]
    return found


def topics_named_in(path: Path) -> set[str]:
    named: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "shared.contracts.topics":
            for alias in node.names:
                constant = getattr(topics, alias.name)
                own = (constant,) if isinstance(constant, topics.Topic) else constant
                named |= {topic.name for topic in own}
    return named


def test_generated_files_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(check=True) == 0, capsys.readouterr().err


def test_a_file_that_differs_is_named_with_the_command_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, missing, stale = (tmp_path / f"{name}.json" for name in ("a", "b", "c"))
    changed.write_text("old")
    stale.write_text("nobody generates this")
    wanted = {changed: "new", missing: "new"}
    assert contracts.settle(wanted, (tmp_path,), check=True) == 1
    said = capsys.readouterr().err
    assert all(str(path) in said for path in (changed, missing, stale))
    assert "make generate" in said
    assert contracts.settle(wanted, (tmp_path,), check=False) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a.json": "new",
        "b.json": "new",
    }


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_a_schema_is_a_json_schema_of_2020_12(path: Path) -> None:
    schema = json.loads(path.read_text(encoding="utf-8"))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema_rs.meta.validate(schema)


def test_a_date_given_twice_or_not_at_all_is_refused_by_the_schema() -> None:
    leave = validator("worker.leave_started")
    assert leave.is_valid({"employment_id": "e", "effective_on": "2026-06-15"})
    assert leave.is_valid({"employment_id": "e", "effective_on": "2026-06-15", "more": 1})
    both = {"effective_on": "2026-06-15", "effective_at": "2026-06-15T00:00:00Z"}
    assert not leave.is_valid({"employment_id": "e", **both})
    assert not leave.is_valid({"employment_id": "e"})


def test_the_schema_of_directory_files_takes_a_directory_and_no_typing_errors() -> None:
    written = directory().model_dump(mode="json", exclude_none=True)
    assert validator("directory-file").is_valid(yaml.safe_load(yaml.safe_dump(written)))
    assert not validator("directory-file").is_valid({**written, "portalz": []})


def test_asyncapi_is_read_as_asyncapi_3() -> None:
    read = ApplicationSchema.model_validate(document())
    assert {str(channel.address) for channel in read.channels.values()} == {
        topic.name for topic in TOPICS
    }
    assert {operation.action for operation in read.operations.values()} == {"send", "receive"}


def test_every_reference_in_asyncapi_leads_somewhere() -> None:
    found = list(references(document()))
    assert found
    for reference in found:
        resolve(reference)


def test_every_operation_is_about_messages_of_its_own_channel() -> None:
    for name, operation in document()["operations"].items():
        channel = operation["channel"]["$ref"]
        assert operation["messages"], name
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel}/messages/"), name


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_topics_in_asyncapi_are_those_its_code_names(service: str) -> None:
    written = {*SENDS.get(service, ()), *RECEIVES.get(service, ())}
    in_code: set[str] = set()
    for path in (generate.ROOT / "services" / service).rglob("*.py"):
        # The console names topics only to show them.
        if "console" not in path.parts:
            in_code |= topics_named_in(path)
    # What every consumer may say is in `shared`.
    by_all = {topics.ACCESS_EVENTS.name, topics.DEAD_LETTERS.name}
    assert in_code <= written
    assert written - by_all <= in_code


def test_dead_letters_have_the_headers_that_are_written_down() -> None:
    why = Rejected("invalid_data", "title: Field required")
    letter = dead_letter(hire(), why, service="provisioning", group="provisioning")
    validator("dead-letter-headers").validate(letter.headers)
    refused = Refused(0, "1", "invalid_data", "title: Field required", b"{}", None, "hr", "maple")
    validator("dead-letter-headers").validate(dict(_dead_letter(refused).headers))


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_an_openapi_document_whose_references_lead_somewhere(
    service: str,
) -> None:
    published = json.loads((HERE / "openapi" / f"{service}.json").read_text(encoding="utf-8"))
    assert published["openapi"].startswith("3.1")
    for reference in references(published):
        found: Any = published
        for part in reference.split("/")[1:]:
            found = found[part]
