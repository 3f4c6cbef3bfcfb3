"""What an entry is found by, purely: terms read out of its record, each as a keyed hash.

The projection that search uses holds nothing but these hashes, so it names nobody, and without the
key nobody can find out what it holds by trying. A term binds the organization, so that no search
can reach into another one's entries.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

import orjson

from shared.contracts.topics import ADMIN_EVENTS, DEAD_LETTERS, DIRECTORY_EVENTS
from shared.tlog.leaf import STRUCTURED_MODE, Opening, RecordLeaf

SECRET_LABEL = b"portalkeeper/audit/v1/search-terms\n"
"""What the key of the terms is derived for; another label gives another projection."""

WORDS_MAX = 200
"""An entry is found by its first words only; what comes behind is read in the entry itself."""

WORD_LENGTH_MAX = 64
VALUE_LENGTH_MAX = 200
DEPTH_MAX = 12
CACHED_TERMS = 200_000

FACETS = ("worker", "actor", "portal", "carrier", "type", "topic", "rule", "outcome", "review")

KIND_OF_FIELD: Mapping[str, str] = MappingProxyType(
    {
        "actor": "actor",
        "administrator": "actor",
        "by": "actor",
        "campaign_id": "review",
        "carrier": "carrier",
        "carriers": "carrier",
        "code": "rule",
        "portal": "portal",
        "portals": "portal",
        "previous_worker_id": "worker",
        "review_id": "review",
        "reviewer": "actor",
        "reviewer_rule": "rule",
        "rule": "rule",
        "signatory": "actor",
        "supervisor": "actor",
        "worker": "worker",
        "workers": "worker",
    }
)
"""What a field of an event names; any field that ends in `_by` names an actor."""

KIND_OF_FAMILY: Mapping[str, str] = MappingProxyType(
    {"portal": "portal", "carrier": "carrier", "campaign": "review"}
)
"""What the subject of a directory or campaign event names, by the first word of its type."""

QUERIES = frozenset({"asked", "filters"})
"""Fields that repeat what somebody asked the log."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Query:
    """What a search asks for: every facet and every word of the text must occur.

    `organization` empty asks for what names none. `since` and `until` are handled elsewhere.
    """

    organization: str
    facets: tuple[tuple[str, str], ...] = ()
    text: str = ""


class Terms:
    """Turns entries and queries into the same hashes."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret[:32]
        self._hash = lru_cache(maxsize=CACHED_TERMS)(self._hashed)

    def of_query(self, query: Query) -> list[int]:
        """The terms of which an entry must have all."""
        named = [self._hash(query.organization, kind, value) for kind, value in query.facets]
        words = [
            self._hash(query.organization, "word", word)
            for word in dict.fromkeys(words_of(query.text))
        ]
        return [*named, *words] or [self._hash(query.organization, "all", "")]

    def of_leaf(self, leaf: RecordLeaf | None, topic: str) -> list[int]:
        """The terms of an entry of which only the leaf can be read."""
        organization = leaf.organization if leaf is not None else ""
        type_ = leaf.type if leaf is not None else ""
        found = [self._hash(organization, "all", ""), self._hash(organization, "topic", topic)]
        if type_:
            found.append(self._hash(organization, "type", type_))
            found.append(self._hash(organization, "outcome", type_.rpartition(".")[2]))
        return found

    def of_record(
        self, leaf: RecordLeaf, opening: Opening, holder: tuple[str, ...] | None
    ) -> list[int]:
        """The terms of an entry: of its leaf, of whom its key is about, and of what it says.

        What names no organization may hold anybody's data, so only its leaf is searched.
        """
        found = dict.fromkeys(self.of_leaf(leaf, leaf.topic))
        organization = leaf.organization
        if leaf.topic == DEAD_LETTERS.name and (about := refused_about(opening)) is not None:
            found[self.of_dead_letter(*about)] = None
        if not organization:
            return list(found)
        kind = {2: "worker", 3: holder[2] if holder and len(holder) > 2 else ""}
        if holder is not None and kind[len(holder)]:
            named = "review" if kind[len(holder)] == "campaign" else kind[len(holder)]
            found[self._hash(organization, named, holder[1])] = None
        words = 0
        for name, value in _said(leaf, opening):
            facet = KIND_OF_FIELD.get(name) or ("actor" if name.endswith("_by") else None)
            if facet is not None and len(value) <= VALUE_LENGTH_MAX:
                found[self._hash(organization, facet, value)] = None
            for word in words_of(value):
                if words < WORDS_MAX:
                    words += 1
                    found[self._hash(organization, "word", word)] = None
        return list(found)

    def of_worker(self, organization: str, worker: str) -> set[int]:
        """The terms by which an entry is found that names a worker, whomever it is about."""
        words = {self._hash(organization, "word", word) for word in words_of(worker)}
        return {self._hash(organization, "worker", worker), *words}

    def of_dead_letter(self, organization: str, worker: str) -> int:
        """The term of what was refused and is about a worker; no search asks for it."""
        return self._hash(organization, "dead letter", worker)

    def _hashed(self, organization: str, kind: str, value: str) -> int:
        named = f"{organization}\x00{kind}\x00{value}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(named, key=self._secret, digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)


def refused_about(opening: Opening) -> tuple[str, str] | None:
    """Organization and worker of the record in a dead letter, by the key that it had."""
    headers = dict(opening.headers)
    try:
        key = bytes.fromhex((headers.get("dl_key") or b"").decode()).decode()
    except ValueError:
        return None
    organization, slash, worker = key.partition("/")
    return (organization, unquote(worker)) if organization and slash and worker else None


def words_of(text: str) -> Iterator[str]:
    """The words of a text as they are compared: without case, accents kept, at most 64 letters."""
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        yield word[:WORD_LENGTH_MAX]


def _said(leaf: RecordLeaf, opening: Opening) -> Iterator[tuple[str, str]]:
    """Every text of a record with the name of its field, the subject first."""
    headers = {name: value or b"" for name, value in opening.headers}
    try:
        document: Any = orjson.loads(opening.value or b"")
    except orjson.JSONDecodeError:
        document = None
    if headers.get("content-type", b"").startswith(STRUCTURED_MODE) and isinstance(document, dict):
        subject, document = document.get("subject"), document.get("data")
    else:
        subject = headers.get("ce_subject", b"").decode(errors="replace")
    if isinstance(subject, str):
        yield _subject_field(leaf), subject.rpartition("/")[2] or subject
    if leaf.topic == ADMIN_EVENTS.name and isinstance(document, dict):
        # Looking for somebody says nothing about them, and must not be found in their place.
        document = {name: value for name, value in document.items() if name not in QUERIES}
    yield from _texts("", document, 0)


def _subject_field(leaf: RecordLeaf) -> str:
    if leaf.topic == ADMIN_EVENTS.name:
        return "actor"
    kind = KIND_OF_FAMILY.get(leaf.type.partition(".")[0])
    if kind is not None:
        return "campaign_id" if kind == "review" else kind
    return "" if leaf.topic == DIRECTORY_EVENTS.name else "worker"


def _texts(name: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif depth > DEPTH_MAX:
        return
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(key, inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(name, inner, depth + 1)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield name, str(value)
