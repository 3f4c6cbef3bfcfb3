"""Published examples stay readable: a change that breaks one breaks a subscriber."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.contracts import hr
from shared.contracts.envelope import read_structured
from shared.contracts.generate import HERE, event_types
from shared.contracts.topics import HR_EVENTS
from tests.contracts.reading import MODELS, TOPIC_OF, as_the_model_writes, validator

EXAMPLES = sorted((HERE / "examples").glob("*.json"))


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def lost(before: Any, after: Any, where: str = "") -> list[str]:
    """Where something of `before` is not in `after`."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            found
            for name, value in before.items()
            for found in lost(value, after.get(name, "nothing"), f"{where}.{name}")
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            found
            for number, (one, other) in enumerate(zip(before, after, strict=True))
            for found in lost(one, other, f"{where}[{number}]")
        ]
    return [] if before == after else [where]


def test_every_event_type_has_an_example() -> None:
    assert {read(path)["type"] for path in EXAMPLES} == {each.name for each in event_types()}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_an_event_of_the_type_its_file_is_named_after(path: Path) -> None:
    document = read(path)
    read_structured(document)
    assert path.stem == document["type"] or path.stem.startswith(f"{document['type']}.")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_read_without_losing_anything(path: Path) -> None:
    document = read(path)
    type_, data = document["type"], document["data"]
    if MODELS[type_] is None:
        assert data is None
        return
    validator(type_).validate(data)
    assert lost(data, as_the_model_writes(type_, data)) == []


@pytest.mark.parametrize(
    "path",
    [path for path in EXAMPLES if TOPIC_OF[read(path)["type"]] == HR_EVENTS.name],
    ids=lambda path: path.stem,
)
def test_an_hr_example_would_be_accepted(path: Path) -> None:
    hr.validate(read_structured(path.read_bytes()))


def test_a_field_that_was_renamed_counts_as_lost() -> None:
    assert lost({"a": [{"b": 1}]}, {"a": [{"c": 1}]}) == [".a[0].b"]
