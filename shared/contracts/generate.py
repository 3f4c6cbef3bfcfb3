"""Writes what other programs read of the contracts: JSON Schemas and AsyncAPI, from the models.

    python -m shared.contracts.generate [--check]

`python -m deploy.generate` writes these and everything else that is generated. A schema says what a
reader must be able to take, so a field with a default may be absent and unknown fields are allowed.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema

from shared.contracts.access import ACCESS_EVENT_MODELS
from shared.contracts.admin import ADMIN_EVENT_MODELS
from shared.contracts.directory import CLOCK_MODELS, DIRECTORY_MODELS, Directory
from shared.contracts.hr import HR_EVENT_MODELS, Dated
from shared.contracts.policy import POLICY_EVENT_MODELS
from shared.contracts.review import REVIEW_EVENT_MODELS
from shared.contracts.state import WorkerState
from shared.contracts.topics import (
    ACCESS_EVENTS,
    ADMIN_EVENTS,
    AUDITED_TOPICS,
    CHECKPOINTS,
    DEAD_LETTERS,
    DIRECTORY_EVENTS,
    HR_EVENTS,
    OCSF_EVENTS,
    REVIEW_EVENTS,
    TOPICS,
    WORKER_STATE,
    Topic,
)

HERE = Path(__file__).parent
SCHEMAS = HERE / "schemas"
ASYNCAPI = HERE / "asyncapi.json"
COMMAND = "make generate"
CONTRACT_VERSION = "1.0.0"
"""Of all contracts together: the middle number counts additions; the first, topics' new majors."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EventType:
    """One type of event: its topic, and the model of its data (None: a tombstone, no data)."""

    name: str
    topic: Topic
    model: type[Any] | None


def event_types() -> Iterator[EventType]:
    """Every type of event there is, topic by topic."""
    for topic, models in (
        (HR_EVENTS, HR_EVENT_MODELS),
        (ACCESS_EVENTS, ACCESS_EVENT_MODELS),
        (REVIEW_EVENTS, REVIEW_EVENT_MODELS),
        (ADMIN_EVENTS, ADMIN_EVENT_MODELS),
        (WORKER_STATE, {"worker.state": WorkerState}),
        (DIRECTORY_EVENTS, POLICY_EVENT_MODELS),
    ):
        for type_, model in models.items():
            yield EventType(type_, topic, model)
    for kind, model in CLOCK_MODELS.items():
        yield EventType(f"{kind}.set", DIRECTORY_EVENTS, model)
    for kind, model in DIRECTORY_MODELS.items():
        yield EventType(f"{kind}.set", DIRECTORY_EVENTS, model)
        yield EventType(f"{kind}.removed", DIRECTORY_EVENTS, None)


# -- who sends and receives what

GAP = frozenset({"gap.accepted"})
"""Said by every service that consumes: its operator let a partition go on."""

SENDS: Mapping[str, Mapping[str, frozenset[str] | None]] = {
    "gateway": {HR_EVENTS.name: None, ADMIN_EVENTS.name: None, DEAD_LETTERS.name: None},
    "provisioning": {
        ACCESS_EVENTS.name: None,
        DIRECTORY_EVENTS.name: None,
        WORKER_STATE.name: None,
        DEAD_LETTERS.name: None,
    },
    "audit_log": {
        ADMIN_EVENTS.name: frozenset(
            {
                "audit.read",
                "command.accepted",
                "command.refused",
                "export.made",
                "hold.released",
                "hold.set",
                "key.rotated",
            }
        ),
        CHECKPOINTS.name: None,
        OCSF_EVENTS.name: None,
        ACCESS_EVENTS.name: GAP,
        DEAD_LETTERS.name: None,
    },
    "review_scheduler": {
        REVIEW_EVENTS.name: None,
        ADMIN_EVENTS.name: frozenset({"command.refused"}),
        ACCESS_EVENTS.name: GAP,
        DEAD_LETTERS.name: None,
    },
}
"""By service and topic: the types it sends, None for every type of the topic."""

RECEIVES: Mapping[str, Mapping[str, frozenset[str] | None]] = {
    "gateway": {
        ACCESS_EVENTS.name: frozenset(
            {
                "brake.engaged",
                "brake.rejected",
                "brake.released",
                "chore.declined",
                "chore.done",
                "chore.requested",
                "operation.cancelled",
                "operation.confirmed",
                "operation.declined",
                "operation.failed",
                "operation.overdue",
                "operation.requested",
            }
        ),
        REVIEW_EVENTS.name: frozenset(
            {
                "review.closed",
                "review.escalated",
                "review.opened",
                "review.reassigned",
                "review.reminded",
            }
        ),
        DIRECTORY_EVENTS.name: None,
        WORKER_STATE.name: None,
    },
    "provisioning": {
        HR_EVENTS.name: None,
        REVIEW_EVENTS.name: frozenset({"review.decided", "review.corrected"}),
    },
    "audit_log": dict.fromkeys(topic.name for topic in (*AUDITED_TOPICS, WORKER_STATE)),
    "review_scheduler": {WORKER_STATE.name: None, DIRECTORY_EVENTS.name: None},
}
"""By service and topic: the types it acts on, None for every type of the topic."""


# -- JSON Schema


class _Schema(GenerateJsonSchema):
    """Without titles made up from field names; with the rule that a date is given once."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().model_schema(schema)
        if issubclass(schema["cls"], Dated):
            made["oneOf"] = [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("effective_at", "effective_on")
            ]
        return made

    def generate(self, schema: CoreSchema, mode: Any = "validation") -> JsonSchemaValue:
        return {"$schema": self.schema_dialect, **super().generate(schema, mode)}


def _what_it_says(model: type[Any]) -> str:
    """The docstrings of a model and of the models whose fields it has."""
    told = [
        inspect.cleandoc(cls.__doc__ or "")
        for cls in model.__mro__
        if cls is model
        or (cls.__module__ == model.__module__ and {*cls.__annotations__} - {"model_config"})
    ]
    return "\n\n".join(told)


def json_schema(model: type[Any], name: str, *, closed: bool = False) -> Json:
    """The JSON Schema 2020-12 of a model.

    Args:
        closed: whether fields that the model lacks are refused.
    """
    made: Json = TypeAdapter(model).json_schema(schema_generator=_Schema)
    made["$id"] = f"urn:portalkeeper:{name}"
    made["title"] = name
    made["description"] = _what_it_says(model)
    if not closed:
        for each in (made, *made.get("$defs", {}).values()):
            each.pop("additionalProperties", None) if "properties" in each else None
    first = ("$schema", "$id", "title", "description")
    return {**{key: made[key] for key in first}, **made}


def _text(description: str, **more: Any) -> Json:
    return {"type": "string", "description": description, **more}


DEAD_LETTER_HEADERS: Json = {
    "$schema": GenerateJsonSchema.schema_dialect,
    "$id": "urn:portalkeeper:dead-letter-headers",
    "title": "dead-letter-headers",
    "description": (
        "The Kafka headers of a dead letter. A service's letter carries the record's value as it"
        " was (cut only where the topic could not take it), and where it was found. The gateway's"
        " carries a JSON document with the reason, the SHA-256 and the reference of the body, which"
        " itself stays encrypted in the gateway."
    ),
    "type": "object",
    "properties": {
        "dl_reason": _text("The stable name of the rule, e.g. `invalid_data`."),
        "dl_detail": _text("What is wrong, in words, without personal data.", maxLength=500),
        "dl_service": _text("Who refused it."),
        "dl_sha256": _text("SHA-256 of the value, in hexadecimal.", pattern="^[0-9a-f]{64}$"),
        "dl_reference": _text("The gateway's name of the body it keeps.", format="uuid"),
        "dl_group": _text("The consumer group."),
        "dl_topic": _text("The topic the record was on."),
        "dl_partition": _text("The partition it was on.", pattern=r"^\d+$"),
        "dl_offset": _text("Its offset.", pattern=r"^\d+$"),
        "dl_timestamp": _text("Kafka's timestamp, milliseconds since 1970.", pattern=r"^-?\d+$"),
        "dl_key": _text(
            "Its key, at most 1,000 bytes of it, in hexadecimal.", pattern="^([0-9a-f]{2})*$"
        ),
        "dl_cut": _text("How long key and value were, where they had to be cut."),
        "dl_headers_cut": _text("How many headers it had, where some are left out."),
        "dl_value_is_null": _text("Whether it had no value.", enum=["true", "false"]),
        "ce_organization": _text("The organization, where the gateway could tell it."),
        "content-type": _text("The media type of the gateway's document."),
    },
    "patternProperties": {
        "^dl_header_": _text("A header of the record, at most 400 bytes of it, in hexadecimal.")
    },
    "required": ["dl_reason", "dl_detail", "dl_service", "dl_sha256"],
    "oneOf": [
        {"required": ["dl_reference"]},
        {
            "required": [
                "dl_group",
                "dl_topic",
                "dl_partition",
                "dl_offset",
                "dl_timestamp",
                "dl_key",
                "dl_value_is_null",
            ]
        },
    ],
}


def directory_file_schema() -> Json:
    """The schema of a directory file, where the catalogue may say what a portal leaves unsaid."""
    made = json_schema(Directory, "directory-file", closed=True)
    portal, reach = made["$defs"]["Portal"], made["$defs"]["Reach"]
    unsaid = [name for name in portal["required"] if name != "id"]
    portal["required"] = ["id"]
    portal["anyOf"] = [{"required": ["catalogue"]}, {"required": unsaid}]
    reach["required"] = ["carrier"]
    return made


def schemas() -> dict[str, Json]:
    """Every schema by the name of its file, without `.json`."""
    made = {
        each.name: json_schema(each.model, each.name)
        for each in event_types()
        if each.model is not None
    }
    made["directory-file"] = directory_file_schema()
    made["dead-letter-headers"] = DEAD_LETTER_HEADERS
    return made


# -- AsyncAPI

DESCRIPTION = """\
Events are CloudEvents 1.0 on Kafka. Both content modes are read and binary mode is written: the
attributes are the record's headers, the data is its value, as JSON. Instants are RFC 3339 in UTC,
days are in the organization's zone. Ids in keys are percent-encoded. A reader ignores fields and
types it does not know; a change that an old reader cannot take gets a new topic."""

HEADERS: Json = {
    "type": "object",
    "properties": {
        "ce_specversion": _text("The CloudEvents version.", const="1.0"),
        "ce_id": _text("The event's id: equal in every delivery of the same event."),
        "ce_type": _text("The event's type."),
        "ce_source": _text("Who says it: an HR system, or /portalkeeper/ and a service."),
        "ce_subject": _text("Whom or what it is about."),
        "ce_time": _text("When the source recorded it.", format="date-time"),
        "ce_organization": _text("The organization.", pattern="^[a-z0-9-]{1,63}$"),
        "content-type": _text("Absent or application/json in binary mode."),
    },
    "required": [
        "ce_specversion",
        "ce_id",
        "ce_type",
        "ce_source",
        "ce_subject",
        "ce_time",
        "ce_organization",
    ],
}

STATE_HEADERS: Json = {
    "allOf": [
        {"$ref": "#/components/schemas/headers"},
        {
            "type": "object",
            "properties": {
                "ce_epoch": _text("Raised by a restore from a backup.", pattern=r"^\d+$"),
                "ce_version": _text("Counts up within an epoch.", pattern=r"^\d+$"),
                "ce_appliedby": _text("Who applied the directory, on its topic."),
                "ce_approvedby": _text("Who else approved it, where it changed the policy."),
            },
            "required": ["ce_epoch", "ce_version"],
        },
    ],
    "description": "Apply a record only when its (epoch, version) is higher than what you have.",
}

HR_HEADERS: Json = {
    "allOf": [
        {"$ref": "#/components/schemas/headers"},
        {
            "type": "object",
            "properties": {"ce_enteredby": _text("The person who entered it by hand, if one did.")},
        },
    ]
}

TOPIC_TITLES: Mapping[str, str] = {
    HR_EVENTS.name: "What HR systems say about workers.",
    DIRECTORY_EVENTS.name: "Each object of an organization's directory, whole, after each change.",
    ACCESS_EVENTS.name: "What is ordered of portals, what is confirmed, and what is amiss.",
    WORKER_STATE.name: "What provisioning knows of each worker, whole, after each change.",
    REVIEW_EVENTS.name: "Reviews, the decisions in them, and campaigns.",
    ADMIN_EVENTS.name: "What people and machines did at an HTTP surface.",
    DEAD_LETTERS.name: "Records that could not be applied, kept whole with the reason.",
    CHECKPOINTS.name: "The audit log's signed tree heads.",
    OCSF_EVENTS.name: "The same facts as OCSF 1.8.0 events for SIEMs: ids only, no names.",
}


def asyncapi() -> Json:
    """The AsyncAPI 3.0 document."""
    names: dict[str, list[str]] = {topic.name: [] for topic in TOPICS}
    for each in event_types():
        names[each.topic.name].append(each.name)
    messages = {each.name: _message(each) for each in event_types()}
    messages["dead-letter"] = {
        "name": "dead-letter",
        "summary": "A record that could not be applied.",
        "headers": {"$ref": "./schemas/dead-letter-headers.json"},
        "payload": {"description": "The bytes of the record's value, whatever they are."},
    }
    messages["checkpoint"] = {
        "name": "checkpoint",
        "summary": "A signed tree head: origin, size and root hash.",
        "contentType": "text/plain; charset=utf-8",
        "payload": _text("A note as C2SP tlog-checkpoint and signed-note specify it."),
    }
    messages["ocsf-event"] = {
        "name": "ocsf-event",
        "summary": "A fact as an event of the Open Cybersecurity Schema Framework.",
        "contentType": "application/json",
        "payload": {"description": "An OCSF 1.8.0 event of class 3001, 3002, 3004 or 3005."},
    }
    names[DEAD_LETTERS.name], names[CHECKPOINTS.name] = ["dead-letter"], ["checkpoint"]
    names[OCSF_EVENTS.name] = ["ocsf-event"]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Portalkeeper",
            "version": CONTRACT_VERSION,
            "description": DESCRIPTION,
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic, names[topic.name]) for topic in TOPICS},
        "operations": {
            f"{service}.{action}.{topic}": _operation(action, topic, some or names[topic])
            for action, table in (("send", SENDS), ("receive", RECEIVES))
            for service, topics in table.items()
            for topic, some in topics.items()
        },
        "components": {
            "schemas": {
                "headers": HEADERS,
                "hr-headers": HR_HEADERS,
                "state-headers": STATE_HEADERS,
            },
            "messages": messages,
        },
    }


def _channel(topic: Topic, names: list[str]) -> Json:
    config = topic.config
    known: Json = {"cleanup.policy": config["cleanup.policy"].split(",")}
    for name in ("retention.ms", "max.message.bytes"):
        if name in config:
            known[name] = int(config[name])
    return {
        "address": topic.name,
        "title": TOPIC_TITLES[topic.name],
        "description": f"The key is {topic.key}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": known,
                "bindingVersion": "0.5.0",
            }
        },
        "x-topic-configuration": config,
    }


def _message(event: EventType) -> Json:
    headers = {
        HR_EVENTS.name: "hr-headers",
        DIRECTORY_EVENTS.name: "state-headers",
        WORKER_STATE.name: "state-headers",
    }
    if event.model is None:
        kind = event.name.removesuffix(".removed")
        summary = f"A tombstone: the {kind} is no longer in the directory."
        payload: Json = {"type": "null"}
    else:
        summary = (inspect.getdoc(event.model) or "").split("\n\n")[0].replace("\n", " ")
        payload = {"$ref": f"./schemas/{event.name}.json"}
    return {
        "name": event.name,
        "summary": summary,
        "headers": {"$ref": f"#/components/schemas/{headers.get(event.topic.name, 'headers')}"},
        "payload": payload,
        "bindings": {
            "kafka": {"key": _text(event.topic.key), "bindingVersion": "0.5.0"},
        },
    }


def _operation(action: str, topic: str, names: list[str] | frozenset[str]) -> Json:
    channel = f"#/channels/{topic}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in sorted(names)],
    }


# -- writing and checking


def to_text(document: Json) -> str:
    """A document as it is written to its file."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"


def files() -> dict[Path, str]:
    """Every generated file of the contracts with its text."""
    made = {SCHEMAS / f"{name}.json": to_text(schema) for name, schema in schemas().items()}
    return {**made, ASYNCAPI: to_text(asyncapi())}


def settle(wanted: Mapping[Path, str], folders: tuple[Path, ...], *, check: bool) -> int:
    """Write what differs, or only name it; the exit status.

    Args:
        folders: hold nothing but generated files, so that others in them have to go.
    """
    present = {path for folder in folders for path in folder.glob("*.json")}
    stale = sorted(present - wanted.keys())
    differing = [
        path
        for path, text in sorted(wanted.items())
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if check:
        for path in (*differing, *stale):
            print(f"{_shown(path)} is not as generated.", file=sys.stderr)
        if differing or stale:
            print(f"Run `{COMMAND}` and commit what it writes.", file=sys.stderr)
        return 1 if differing or stale else 0
    for path in stale:
        path.unlink()
    for path in differing:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    for path in (*differing, *stale):
        print(_shown(path))
    return 0


def _shown(path: Path) -> str:
    root = HERE.parent.parent
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


if __name__ == "__main__":
    sys.exit(settle(files(), (SCHEMAS,), check="--check" in sys.argv[1:]))
