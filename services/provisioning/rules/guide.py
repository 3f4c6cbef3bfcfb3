"""Where work is done: carrier and work to portal and screen, and what to do when that fails.

The directory says it, the shipped catalogue where the directory does not. A question is a few words
as people type them: "regence cob denial".
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from difflib import get_close_matches

from shared.contracts import catalogue
from shared.contracts.directory import (
    Carrier,
    Directory,
    Downtime,
    Function,
    GuideEntry,
    Portal,
)

CARRIER_WEIGHT, WORK_WEIGHT, PORTAL_WEIGHT = 6, 3, 2
"""What a word that names the carrier, the work or the portal counts; half if it only begins one."""

SIMILAR = 0.8
"""How alike a mistyped word must be to count (difflib's ratio); it counts a third."""

SHORTEST_PREFIX, SHORTEST_MISTYPED = 3, 5
_WORD = re.compile(r"[a-z0-9&]+")


@dataclass(frozen=True, slots=True)
class Place:
    """A portal as somebody goes there: which screen, and where the login is kept."""

    portal: str
    name: str
    url: str
    screen: str | None
    link: str | None
    through: str | None
    """The sign-on service it is reached through, by name."""
    vault_item: str | None
    support: str | None
    downtime: Downtime | None
    functions: tuple[Function, ...]
    tins: tuple[str, ...]
    """Under which the organization is registered there, of those of the sites that count."""


@dataclass(frozen=True, slots=True)
class Rung:
    """A step of the fallback ladder: another portal, the clearinghouse, or the telephone."""

    kind: str
    text: str
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Where one kind of work for one carrier is done. `place` is None where no portal does it."""

    carrier: str
    carrier_name: str
    entry: str
    work: str
    functions: tuple[Function, ...]
    place: Place | None
    portal_shows: str | None
    clearinghouse: str | None
    ladder: tuple[Rung, ...]
    under_contract: bool


@dataclass(frozen=True, slots=True)
class _Indexed:
    answer: Answer
    carrier_words: frozenset[str]
    work_words: frozenset[str]
    portal_words: frozenset[str]


class Guide:
    """The guide of one directory on one day, for workers at some of its sites.

    Args:
        sites: ids of the sites that count; all of them, if none is given.
    """

    def __init__(self, directory: Directory, day: date, sites: Iterable[str] = ()) -> None:
        self._directory = directory
        self._day = day
        wanted = set(sites) & {site.id for site in directory.sites}
        places = [site for site in directory.sites if not wanted or site.id in wanted]
        self._states = {site.state for site in places}
        self._tins = {tin for site in places for tin in site.tins}
        self._portals = {portal.id: portal for portal in directory.portals}
        self._registered: dict[str, set[str]] = {}
        for enrolment in directory.enrolments:
            day_of = enrolment.registered_on
            if enrolment.tin in self._tins and day_of is not None and day_of <= day:
                self._registered.setdefault(enrolment.portal, set()).add(enrolment.tin)
        self._indexed = list(self._answers())

    def ask(self, question: str, limit: int = 10) -> list[Answer]:
        """The best answers to a question, best first; to an empty one, all in order."""
        words = _WORD.findall(question.casefold())
        if not words:
            return [each.answer for each in self._indexed[:limit]]
        vocabulary = sorted(
            {
                word
                for each in self._indexed
                for word in (*each.carrier_words, *each.work_words, *each.portal_words)
            }
        )
        meant = {word: _meanings(word, vocabulary) for word in words}
        scored = [(self._score(each, meant), each.answer) for each in self._indexed]
        best = max((score for score, _ in scored), default=0)
        found = [(score, answer) for score, answer in scored if score * 2 > best > 0]
        found.sort(key=lambda each: (-each[0], not each[1].under_contract, each[1].carrier_name))
        return [answer for _, answer in found[:limit]]

    def _score(self, each: _Indexed, meant: Mapping[str, Mapping[str, float]]) -> float:
        total = 0.0
        for meanings in meant.values():
            total += max(
                (
                    weight * share
                    for weight, known in (
                        (CARRIER_WEIGHT, each.carrier_words),
                        (WORK_WEIGHT, each.work_words),
                        (PORTAL_WEIGHT, each.portal_words),
                    )
                    for word, share in meanings.items()
                    if word in known
                ),
                default=0.0,
            )
        return total

    # -- building

    def _answers(self) -> Iterator[_Indexed]:
        for carrier in self._directory.carriers:
            for entry in _entries(self._directory):
                if entry.carriers and carrier.id not in entry.carriers:
                    continue
                answer = self._answer(carrier, entry)
                place = answer.place
                yield _Indexed(
                    answer,
                    _words(carrier.id, carrier.name, *carrier.aliases),
                    _words(entry.id, entry.work, *entry.words, *(f.value for f in entry.functions)),
                    _words(place.portal, place.name) if place else frozenset(),
                )

    def _answer(self, carrier: Carrier, entry: GuideEntry) -> Answer:
        serving = self._serving(carrier, entry.functions)
        if entry.portal is not None:
            named = self._portals[entry.portal]
            serving = [named, *(portal for portal in serving if portal.id != named.id)]
        places = [self._place(portal, entry, first=n == 0) for n, portal in enumerate(serving)]
        return Answer(
            carrier=carrier.id,
            carrier_name=carrier.name,
            entry=entry.id,
            work=entry.work,
            functions=entry.functions,
            place=places[0] if places else None,
            portal_shows=entry.portal_shows,
            clearinghouse=entry.clearinghouse,
            ladder=tuple(self._ladder(carrier, entry, places)),
            under_contract=self._under_contract(carrier),
        )

    def _serving(self, carrier: Carrier, functions: Sequence[Function]) -> list[Portal]:
        """Portals that do any of the functions for the carrier, the best first."""
        ranked = []
        for portal in self._directory.portals:
            if portal.id not in self._registered or (
                portal.states and self._states.isdisjoint(portal.states)
            ):
                continue
            ranks = [
                (reach.rank, -len(set(functions) & set(reach.functions)))
                for reach in portal.reaches
                if reach.carrier == carrier.id and set(functions) & set(reach.functions)
            ]
            if ranks:
                rank, share = min(ranks)
                ranked.append((rank, portal.kind != "hub", share, portal.id, portal))
        return [each[-1] for each in sorted(ranked, key=lambda each: each[:-1])]

    def _place(self, portal: Portal, entry: GuideEntry, *, first: bool) -> Place:
        screens = [portal.screens[f] for f in entry.functions if f in portal.screens]
        screen, link = (screens[0].name, screens[0].link) if screens else (None, None)
        if first:
            screen, link = entry.screen or screen, entry.link or link
        through = self._portals.get(portal.requires_sign_on or "")
        offered = {function for reach in portal.reaches for function in reach.functions}
        return Place(
            portal.id,
            portal.name,
            portal.url,
            screen,
            link,
            through.name if through else None,
            portal.vault_item,
            portal.support,
            portal.downtime,
            tuple(function for function in entry.functions if function in offered),
            tuple(sorted(self._registered.get(portal.id, ()))),
        )

    def _ladder(
        self, carrier: Carrier, entry: GuideEntry, places: Sequence[Place]
    ) -> Iterator[Rung]:
        for place in places[1:]:
            at = f", {place.screen}" if place.screen else ""
            yield Rung("portal", f"{place.name}{at}", place)
        name = self._directory.organization.clearinghouse
        if name is not None:
            payer = f" (payer id {carrier.clearinghouse_id})" if carrier.clearinghouse_id else ""
            answers = f" It answers: {entry.clearinghouse}" if entry.clearinghouse else ""
            yield Rung("clearinghouse", f"{name}{payer}.{answers}")
        phone = entry.phone or carrier.phone
        if phone:
            yield Rung("phone", f"{carrier.name}, {phone}; the queue is the last resort.")
        elif places and places[0].support:
            yield Rung("phone", f"{places[0].support}; the queue is the last resort.")

    def _under_contract(self, carrier: Carrier) -> bool:
        return any(
            contract.carrier == carrier.id
            and contract.since <= self._day
            and (
                contract.until is None
                or self._day <= contract.until + timedelta(days=contract.grace_days)
            )
            for contract in self._directory.contracts
        )


def _entries(directory: Directory) -> tuple[GuideEntry, ...]:
    """The directory's own entries first, then those of the catalogue that it does not replace."""
    own = {entry.id for entry in directory.guide}
    return (*directory.guide, *(each for each in catalogue.guide() if each.id not in own))


def _words(*texts: str) -> frozenset[str]:
    return frozenset(
        word for text in texts for word in _WORD.findall(text.casefold().replace("_", " "))
    )


def _meanings(word: str, vocabulary: Sequence[str]) -> dict[str, float]:
    """Words of the vocabulary that a typed word may mean, each with how much it counts."""
    found: dict[str, float] = {}
    if len(word) >= SHORTEST_PREFIX:
        found |= {known: 0.5 for known in vocabulary if known.startswith(word)}
    if word in vocabulary:
        found[word] = 1.0
    if not found and len(word) >= SHORTEST_MISTYPED:
        found |= dict.fromkeys(get_close_matches(word, vocabulary, 3, SIMILAR), 1 / 3)
    return found
