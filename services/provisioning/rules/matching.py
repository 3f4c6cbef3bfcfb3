"""Whom a line means: names on sheets and lists matched to workers, explained, never guessed."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher, get_close_matches

from shared.values import value_class

NOBODY = "nobody"
"""The answer to a doubt about a person: nobody whom HR knows."""

IGNORE = "ignore"
"""The answer to a doubt about a column, a portal or a word: it says nothing."""

NEAR_NAME = 0.84
NEAR_TOKEN = 0.8
MAX_CANDIDATES = 5
_CREDENTIALS = frozenset(
    [
        "md",
        "do",
        "rn",
        "np",
        "pa",
        "pac",
        "arnp",
        "dnp",
        "phd",
        "lpn",
        "lvn",
        "cma",
        "ma",
        "cpc",
        "jr",
        "sr",
        "ii",
        "iii",
        "iv",
        "dr",
        "mr",
        "mrs",
        "ms",
    ]
)
_SEVERAL = re.compile(r"\s*(?:/|&|\+|;|\band\b|\n)\s*", re.I)


@value_class(frozen=True, slots=True)
class KnownPerson:
    """A worker as HR tells of them, in use (no merged id)."""

    worker: str
    name: str | None
    email: str | None
    employed: bool


@value_class(frozen=True, slots=True)
class Claim:
    """What a line says of a person."""

    worker: str = ""
    name: str = ""
    email: str = ""
    login_id: str = ""

    @property
    def label(self) -> str:
        """What a person would call it."""
        return self.name or self.email or self.worker or self.login_id


@value_class(frozen=True, slots=True)
class Doubt:
    """A question that only a person can answer. `answers` are (what to say, what it means)."""

    key: str
    line: int | None
    question: str
    answers: tuple[tuple[str, str], ...]


@value_class(frozen=True, slots=True)
class Match:
    """Whom a claim means, and why; a doubt instead where that is not certain."""

    worker: str | None
    why: str
    doubt: Doubt | None = None


def plain(text: str) -> str:
    """Letters and digits only, without accents and case."""
    bare = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in bare if c.isalnum())


def name_parts(name: str) -> tuple[str, ...]:
    """The parts of a name in the order first to last, without titles, credentials, accents."""
    if name.count(",") == 1:
        last, first = name.split(",")
        if tokens := [t for t in _tokens(first) if t not in _CREDENTIALS]:
            return (*tokens, *(t for t in _tokens(last) if t not in _CREDENTIALS))
        name = last
    return tuple(token for token in _tokens(name.replace(",", " ")) if token not in _CREDENTIALS)


def _tokens(text: str) -> list[str]:
    bare = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(c for c in bare if not unicodedata.combining(c))
    return re.sub(r"[^\w\s-]", "", bare).replace("-", " ").split()


def several(name: str) -> list[str]:
    """The names in a cell that names more than one person, each of at least two parts."""
    parts = [part for part in _SEVERAL.split(name) if part]
    if len(parts) > 1 and all(len(name_parts(part)) > 1 for part in parts):
        return parts
    return [name]


def one_login_key(claim: Claim) -> str:
    """What a question about one login is called, where several people go by one name."""
    return f"person:{claim.label}{f' ({claim.login_id})' if claim.login_id else ''}"


@dataclass(slots=True)
class People:
    """The workers of an organization, arranged for finding them by what lines say."""

    known: Sequence[KnownPerson]
    _by_worker: dict[str, KnownPerson] = field(init=False, default_factory=dict)
    _by_email: dict[str, list[KnownPerson]] = field(init=False, default_factory=dict)
    _by_name: dict[tuple[str, ...], list[KnownPerson]] = field(init=False, default_factory=dict)
    _by_short: dict[tuple[str, ...], list[KnownPerson]] = field(init=False, default_factory=dict)
    _by_token: dict[str, list[KnownPerson]] = field(init=False, default_factory=dict)
    _near: dict[str, list[str]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for person in self.known:
            self._by_worker[person.worker.casefold()] = person
            if person.email:
                self._by_email.setdefault(person.email.casefold(), []).append(person)
            parts = name_parts(person.name or "")
            if parts:
                self._by_name.setdefault(parts, []).append(person)
                self._by_short.setdefault(_short(parts), []).append(person)
                for token in set(parts):
                    self._by_token.setdefault(token, []).append(person)

    def find(self, claim: Claim, line: int, answers: Mapping[str, str]) -> Match:
        """Whom the claim means.

        Raises:
            KeyError: an answer names a worker whom nobody knows.
        """
        key = f"person:{claim.label}"
        answer = answers.get(one_login_key(claim), answers.get(key))
        if answer is not None:
            if answer.casefold() == NOBODY:
                return Match(None, "answered: nobody whom HR knows")
            return Match(self._by_worker[answer.casefold()].worker, "answered")
        if claim.worker:
            if person := self._by_worker.get(claim.worker.casefold()):
                if claim.name and not self._could_be(claim.name, person):
                    why = f"worker id {claim.worker} is {person.name}, but the line says otherwise"
                    return self._ask(key, line, claim, why, [person])
                return Match(person.worker, "the worker id is given")
            return self._by_other_means(key, claim, line)
        return self._by_other_means(key, claim, line)

    def _by_other_means(self, key: str, claim: Claim, line: int) -> Match:
        if claim.email and (found := self._by_email.get(claim.email.casefold())):
            fitting = [p for p in found if not claim.name or self._could_be(claim.name, p)]
            if len(found) == 1 and fitting:
                return Match(found[0].worker, "the same e-mail address")
            return self._ask(key, line, claim, "the e-mail address and the name disagree", found)
        parts = name_parts(claim.name)
        if not parts:
            return Match(None, "the line names nobody")
        if found := self._by_name.get(parts):
            if len(found) == 1:
                return Match(found[0].worker, "the same name, which only one person has")
            # Each may have a line of their own, so the answer is about this login only.
            own = one_login_key(claim)
            return self._ask(own, line, claim, f"{len(found)} people have this name", found)
        if found := [p for p in self._by_short.get(_short(parts), ()) if self._initials(parts, p)]:
            if len(found) == 1:
                return Match(found[0].worker, "the same name but for a middle name or initial")
            return self._ask(key, line, claim, f"{len(found)} people could be meant", found)
        if near := self._near_misses(parts):
            return self._ask(key, line, claim, "nobody has exactly this name", near)
        return Match(None, "nobody whom HR knows has a name like this")

    def name_of(self, worker: str) -> str | None:
        """What HR calls a worker."""
        person = self._by_worker.get(worker.casefold())
        return person.name if person else None

    def is_employed(self, worker: str) -> bool:
        """Whether the worker still works here."""
        person = self._by_worker.get(worker.casefold())
        return person is not None and person.employed

    def could_be(self, name: str, worker: str) -> bool:
        """Whether a name has anything in common with a worker's."""
        person = self._by_worker.get(worker.casefold())
        return person is None or self._could_be(name, person)

    def _could_be(self, name: str, person: KnownPerson) -> bool:
        mine, theirs = set(name_parts(name)), set(name_parts(person.name or ""))
        return bool(mine & theirs) or not theirs or not mine

    def _initials(self, parts: tuple[str, ...], person: KnownPerson) -> bool:
        """Whether middle names, where both have them, begin alike."""
        mine, theirs = parts[1:-1], name_parts(person.name or "")[1:-1]
        return all(a[0] == b[0] for a, b in zip(mine, theirs, strict=False))

    def _near_misses(self, parts: tuple[str, ...]) -> list[KnownPerson]:
        tokens = list(self._by_token)
        shared: dict[str, tuple[float, KnownPerson]] = {}
        for part in parts:
            if part not in self._near:
                self._near[part] = get_close_matches(part, tokens, n=10, cutoff=NEAR_TOKEN)
            for token in self._near[part]:
                for person in self._by_token[token]:
                    theirs = name_parts(person.name or "")
                    ratio = SequenceMatcher(None, " ".join(parts), " ".join(theirs)).ratio()
                    turned = sorted(parts) == sorted(theirs)
                    initial = parts[-1] == theirs[-1] and parts[0][0] == theirs[0][0]
                    if ratio >= NEAR_NAME or turned or initial:
                        shared[person.worker] = (ratio, person)
        best = sorted(shared.values(), key=lambda found: (-found[0], found[1].worker))
        return [person for _, person in best[:MAX_CANDIDATES]]

    def _ask(
        self, key: str, line: int, claim: Claim, why: str, found: Iterable[KnownPerson]
    ) -> Match:
        answers = tuple(
            (person.worker, f"{person.name}{'' if person.employed else ', who has left'}")
            for person in sorted(found, key=lambda person: person.worker)
        )
        doubt = Doubt(
            key,
            line,
            f"Who is {claim.label!r}? {why[:1].upper()}{why[1:]}.",
            (*answers, (NOBODY, "nobody whom HR knows")),
        )
        return Match(None, why, doubt)


def _short(parts: tuple[str, ...]) -> tuple[str, ...]:
    return (parts[0], parts[-1])
