"""What a subscriber has: the published schemas, and the models to compare them with."""

import json
from functools import cache
from typing import Any

import jsonschema_rs
from pydantic import TypeAdapter

from shared.contracts.generate import SCHEMAS, event_types

MODELS = {each.name: each.model for each in event_types()}
TOPIC_OF = {each.name: each.topic.name for each in event_types()}


@cache
def adapter(type_: str) -> TypeAdapter[Any]:
    model = MODELS[type_]
    assert model is not None, f"{type_} is a tombstone and carries nothing"
    return TypeAdapter(model)


@cache
def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    """Reads by the published schema, formats included."""
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def check(type_: str, data: Any) -> None:
    """Fail unless the data is what its model and its schema say, no more and no less."""
    validator(type_).validate(data)
    assert as_the_model_writes(type_, data) == data


def as_the_model_writes(type_: str, data: Any) -> Any:
    return adapter(type_).dump_python(adapter(type_).validate_python(data), mode="json")
