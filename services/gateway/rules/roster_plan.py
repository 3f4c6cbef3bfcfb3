"""What follows from HR's list of workers: events, and questions where the list only leaves out.

A status or a day acts. That somebody is missing, or that the list does not mention what somebody
entered elsewhere, never changes anybody's access: it is asked. What is known is provisioning's own
published state, so the difference is the same whoever told provisioning; a list that is planned
again before that state has caught up gives the same events once more, which changes nothing.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import orjson

from services.gateway.rules.roster_changes import (
    Asked,
    Change,
    Circumstances,
    Kind,
    Names,
    Question,
    consequences,
    no_longer_leaving,
    standing_of,
)
from services.gateway.rules.roster_columns import Says, Standing
from services.gateway.rules.roster_reading import LineError, Reading

MISSING_MAX_PEOPLE = 5
MISSING_MAX_PERCENT = 5
"""A list that lacks more than both, of those its source named before, is held as a whole: most
likely it was cut short, or filtered."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a list comes to. `past` lines are about people who left before they were
    known here; `titles` have no duty and `places` no site in the directory, with how many lines.
    `says` is where each worker stands by the list, `raised` the questions it gives rise to, also
    those that are answered already.
    """

    changes: tuple[Change, ...]
    questions: tuple[Question, ...]
    errors: tuple[LineError, ...]
    unchanged: int
    past: int
    titles: Mapping[str, int]
    places: Mapping[str, int]
    notes: tuple[str, ...]
    expected: int
    lines: int
    says: Mapping[str, Standing] = field(repr=False)
    raised: Collection[tuple[str, Asked]] = field(repr=False)

    @property
    def missing(self) -> tuple[Question, ...]:
        """The questions about people whom the list lacks."""
        return tuple(each for each in self.questions if each.kind is Asked.MISSING)

    @property
    def is_held(self) -> bool:
        """Whether so many are missing that the list as a whole is doubtful."""
        return beyond_limit(len(self.missing), self.expected)

    @property
    def hash(self) -> str:
        """What this plan would do, and to whom: equal hashes, equal effect."""
        told = (self.changes, self.questions, self.errors)
        return sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def counts(self) -> dict[str, int]:
        """How much of what, for summaries."""
        kinds = Counter(change.kind for change in self.changes)
        return {
            "lines": self.lines,
            **{kind.value: kinds[kind] for kind in Kind},
            "unchanged": self.unchanged,
            "past": self.past,
            "questions": len(self.questions),
            "missing": len(self.missing),
            "errors": len(self.errors),
        }


def beyond_limit(missing: int, expected: int) -> bool:
    """Whether more people are missing than a list may lack without being held."""
    return missing > MISSING_MAX_PEOPLE and missing * 100 > MISSING_MAX_PERCENT * expected


def make_plan(reading: Reading, at: Circumstances) -> Plan:
    """What the list comes to, by what is known now."""
    ids = Names(reading.lines, at.known)
    changes: list[Change] = []
    questions: list[Question] = []
    errors = list(reading.errors)
    unchanged = past = 0
    tells_last_days = Says.TERMINATED_ON in reading.columns.values()
    for line in reading.lines:
        known = at.known.get(line.worker)
        found = list(consequences(line, known, at, ids))
        if known is not None and tells_last_days and not found:
            found = list(no_longer_leaving(line, known, at))
        if not found and known is None:
            past += 1
        elif not found:
            unchanged += 1
        for each in found:
            if isinstance(each, Change):
                changes.append(each)
            elif isinstance(each, Question):
                questions.append(each)
            else:
                errors.append(each)
    notes = [*reading.notes, *ids.notes()]
    missing = _missing(reading, at)
    expected = len(_expected(at))
    if not reading.unnamed or beyond_limit(len(missing) - reading.unnamed, expected):
        questions += missing
    elif missing:
        notes.append("Some lines do not tell whom they are about, so nobody is called missing.")
    return Plan(
        tuple(changes),
        tuple(each for each in questions if (each.worker, each.kind) not in at.answered),
        tuple(errors),
        unchanged,
        past,
        _unmapped(reading, at),
        reading.places,
        tuple(notes),
        expected,
        len(reading.lines) + len(reading.errors),
        {line.worker: standing_of(line, at.day) for line in reading.lines},
        frozenset((each.worker, each.kind) for each in questions),
    )


def _missing(reading: Reading, at: Circumstances) -> list[Question]:
    present = {at.known[worker].worker for worker in reading.present if worker in at.known}
    return [
        Question(
            Asked.MISSING,
            worker,
            at.known[worker].name,
            None,
            "The list no longer names them. Have they left, are they still here, or are they none"
            " of this source's?",
        )
        for worker in sorted(_expected(at))
        if worker not in present
    ]


def _expected(at: Circumstances) -> set[str]:
    """Whom the source's list should name: those it named before who are employed, each once."""
    named = (at.known[worker] for worker in at.said if worker in at.known)
    return {known.worker for known in named if known.is_employed(at.now)}


def _unmapped(reading: Reading, at: Circumstances) -> dict[str, int]:
    if at.titles is None:
        return {}
    mapped = set(at.titles)
    return dict(
        Counter(
            line.title
            for line in reading.lines
            if line.title
            and line.title not in mapped
            and standing_of(line, at.day) is not Standing.LEFT
        )
    )
