"""Which of the events in a request are acceptable, and what of them travels on."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid5

import orjson

from shared.auth import Principal
from shared.contracts.envelope import (
    EVENT_NAMESPACE,
    binary_headers,
    check_id,
    event_id,
    read_structured,
)
from shared.contracts.hr import (
    CONSOLE_SOURCE,
    HR_EVENT_MODELS,
    HrEvent,
    dropped_fields,
    validate,
)
from shared.errors import Problem, Rejected

BODY_MAX_BYTES = 1024 * 1024
"""Half of what a topic takes: one event still fits with its headers."""

BATCH_MAX_EVENTS = 1_000
NESTING_MAX_LEVELS = 16
"""A canonical event has three; what is deeper was made to hurt a parser."""

BODY_NESTING_MAX_LEVELS = 64
"""Beyond this not even the refused events could be written down one by one."""

SHOWN_ID_CHARACTERS = 200

ENVELOPE_FIELDS = frozenset(
    {
        "id",
        "type",
        "source",
        "subject",
        "time",
        "organization",
        "specversion",
        "datacontenttype",
        "data",
    }
)

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that may travel on, reduced to its canonical fields; `dropped` names the others."""

    index: int
    event: HrEvent
    dropped: tuple[str, ...]

    @property
    def value(self) -> bytes:
        """The canonical data as JSON."""
        return self.event.data.model_dump_json(exclude_none=True).encode()

    entered_by: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The Kafka headers of the event in binary mode."""
        event = self.event
        return binary_headers(
            id=event.id,
            type=event.type,
            source=event.source,
            subject=event.worker,
            time=event.time,
            organization=event.organization,
            extensions={"enteredby": self.entered_by} if self.entered_by else None,
        )


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that goes no further. `body` is kept sealed; only its hash and the rule travel.

    `source` and `organization` are known when the sender may speak for them.
    """

    index: int
    id: str | None
    code: str
    detail: str
    body: bytes
    type: str | None
    source: str | None
    organization: str | None

    @property
    def sha256(self) -> bytes:
        """The hash by which the body can be recognized."""
        return hashlib.sha256(self.body).digest()

    @property
    def reference(self) -> UUID:
        """The name of the kept body: equal sender, rule and content give an equal reference."""
        cause = "\x1f".join(
            (self.source or "", self.organization or "", self.code, self.sha256.hex())
        )
        return uuid5(EVENT_NAMESPACE, cause)


def entry_document(
    who: Principal, type_: str, worker: str, data: Mapping[str, Any], key: str, time: str
) -> dict[str, Any]:
    """What a person enters by hand, as an event whose id is the same for the same key.

    Args:
        time: when it counts as recorded, RFC 3339.

    Raises:
        Problem: 403 about oneself.
    """
    if worker in (who.worker, who.subject):
        raise Problem(403, "self_entry", "Nobody enters anything about themselves; ask HR.")
    return {
        "specversion": "1.0",
        "id": event_id(type_, who.organization, who.subject, worker, key),
        "type": type_,
        "source": CONSOLE_SOURCE,
        "subject": worker,
        "time": time,
        "organization": who.organization,
        "data": dict(data),
    }


def read_request(content_type: str, headers: Mapping[str, str], body: bytes) -> list[Any]:
    """The events in a request as CloudEvents JSON documents, not yet judged.

    Raises:
        Problem: the media type is not one of CloudEvents' (415), the body is not JSON or nests too
            deep (400), or it holds more events than one request may (413).
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == STRUCTURED:
        return [_parse(body)]
    if media_type == BATCH:
        events = _parse(body)
        if not isinstance(events, list):
            raise Problem(400, "not_a_batch", "A batch is a JSON array of CloudEvents.")
        if len(events) > BATCH_MAX_EVENTS:
            raise Problem(
                413, "too_many_events", f"Send at most {BATCH_MAX_EVENTS} events in one request."
            )
        if not events:
            raise Problem(400, "empty_batch", "The batch holds no event.")
        return events
    if media_type == JSON and "ce-id" in headers:
        attributes = {
            name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")
        }
        return [{**attributes, "data": _parse(body)}]
    raise Problem(
        415,
        "unsupported_media_type",
        f"Send {STRUCTURED}, {BATCH}, or {JSON} with ce- headers (CloudEvents binary mode).",
    )


def _parse(body: bytes) -> Any:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Problem(400, "invalid_json", "The body is not JSON in UTF-8.") from None
    if nesting(document) > BODY_NESTING_MAX_LEVELS:
        raise Problem(
            400, "too_deep", f"The body nests deeper than {BODY_NESTING_MAX_LEVELS} levels."
        )
    return document


def judge(
    documents: Sequence[Any],
    speaks_for: Mapping[str, frozenset[str]],
    entered_by: str | None = None,
) -> tuple[list[Accepted], list[Refused]]:
    """Sort the events of a request into acceptable ones and others.

    Args:
        documents: from `read_request`.
        speaks_for: the sources that the signature proved, each with its organizations.
        entered_by: the person who entered them by hand, where one did.
    """
    accepted: list[Accepted] = []
    refused: list[Refused] = []
    for index, document in enumerate(documents):
        try:
            accepted.append(_accept(index, document, speaks_for, entered_by))
        except Rejected as reason:
            refused.append(_refuse(index, document, reason, speaks_for))
    return accepted, refused


@dataclass(frozen=True, slots=True)
class InForce:
    """Who may send, as the directories in force say; provisioning holds every event to the same."""

    organizations: frozenset[str]
    sources: frozenset[tuple[str, str]]
    """Organization and source."""

    def objection(self, organization: str, source: str) -> Rejected | None:
        """Why nothing is taken from a source for an organization, or None."""
        if organization not in self.organizations:
            return Rejected("no_directory", "apply a directory for the organization, then replay")
        if source != CONSOLE_SOURCE and (organization, source) not in self.sources:
            return Rejected(
                "source_not_in_directory",
                "add the source to `sources` of the directory, apply it, then replay",
            )
        return None


def hold_to_directories(
    documents: Sequence[Any], accepted: Sequence[Accepted], in_force: InForce
) -> tuple[list[Accepted], list[Refused]]:
    """Sort what `judge` accepted of `documents` once more, by the directories in force."""
    kept: list[Accepted] = []
    refused: list[Refused] = []
    for each in accepted:
        organization, source = each.event.organization, each.event.source
        reason = in_force.objection(organization, source)
        if reason is None:
            kept.append(each)
        else:
            bound = {source: frozenset({organization})}
            refused.append(_refuse(each.index, documents[each.index], reason, bound))
    return kept, refused


def _accept(
    index: int,
    document: Any,
    speaks_for: Mapping[str, frozenset[str]],
    entered_by: str | None,
) -> Accepted:
    if nesting(document) > NESTING_MAX_LEVELS:
        raise Rejected("too_deep", f"the event nests deeper than {NESTING_MAX_LEVELS} levels")
    envelope = read_structured(document)
    check_id(envelope.id, "id")
    organizations = speaks_for.get(envelope.source)
    if organizations is None:
        raise Rejected("source_not_signed", "the signature does not speak for this source")
    if envelope.organization not in organizations:
        raise Rejected("source_not_bound", "this source may not speak for this organization")
    event = validate(envelope)
    dropped = sorted(set(document) - ENVELOPE_FIELDS) + [
        f"data.{name}" for name in dropped_fields(envelope.type, document["data"])
    ]
    return Accepted(index, event, tuple(dropped), entered_by)


def _refuse(
    index: int, document: Any, reason: Rejected, speaks_for: Mapping[str, frozenset[str]]
) -> Refused:
    named = document if isinstance(document, dict) else {}
    id_, type_ = _text(named.get("id")), _text(named.get("type"))
    source, organization = _text(named.get("source")), _text(named.get("organization"))
    bound = speaks_for.get(source, frozenset())
    return Refused(
        index=index,
        id=id_[:SHOWN_ID_CHARACTERS] or None,
        code=reason.code,
        detail=reason.detail,
        body=orjson.dumps(document),
        type=type_ if type_ in HR_EVENT_MODELS else None,
        source=source if source in speaks_for else None,
        organization=organization if organization in bound else None,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def nesting(document: Any) -> int:
    """How many levels of arrays and objects a JSON document has."""
    levels = 0
    layer = [document]
    while layer := [item for item in layer if isinstance(item, dict | list)]:
        levels += 1
        layer = [
            inner for item in layer for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return levels
