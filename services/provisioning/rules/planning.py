"""What one directory changes of another, and whose access that changes and how.

A plan is looked at before it is applied; applying it must do exactly what it says. So both ask the
same rules: a plan decides about each worker under both directories and tells the difference.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from services.provisioning.rules.decide import decide
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.desired.rights import Right
from services.provisioning.rules.facts import Facts, Outcome
from shared.contracts.directory import (
    Administrator,
    Contract,
    Directory,
    DirectoryObject,
    Enrolment,
    GuideEntry,
    Policy,
    TitleMapping,
)

POLICY_KINDS = frozenset({"policy", "review_policy", "job_duty", "title", "training_module"})
"""What decides who may have which function, and who has to look at it again: one person proposes a
change, another approves it."""

PLAN_BYTES = 16

HeldBack = tuple[str, str, str, str, str]
"""(portal, TIN, function, rule, in words) of a right that a named rule keeps back."""

Name = tuple[str, str]
"""(kind, id) of an object of a directory."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field of an object, before and after, as JSON has it; None where it is not given."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Change:
    """An object that is created, changed or removed.

    `named` is what people call it, as far as the directory says; of an appointment it is the
    portal, and `administrator` the worker id.
    """

    kind: str
    id: str
    change: str
    fields: tuple[FieldChange, ...] = ()
    named: str = ""
    administrator: str | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """What changes for one worker. `held` are the rights a named rule newly keeps back.

    `raised` and `resolved` are findings, as (rule, detail); duties are given where they change.
    """

    worker: str
    name: str | None
    gains: tuple[Right, ...]
    loses: tuple[Right, ...]
    held: tuple[HeldBack, ...] = ()
    raised: tuple[tuple[str, str], ...] = ()
    resolved: tuple[tuple[str, str], ...] = ()
    duties: tuple[tuple[str, ...], tuple[str, ...]] | None = None


def objects_of(directory: Directory | None) -> Mapping[Name, DirectoryObject]:
    """The objects of a directory by name; none if there is no directory."""
    if directory is None:
        return {}
    return {(kind, id_): model for kind, id_, model in directory.objects()}


def changes_between(before: Directory | None, after: Directory) -> tuple[Change, ...]:
    """What `after` creates, changes and removes, in the order of directories."""
    known, wanted = objects_of(before), objects_of(after)
    names = {name: getattr(model, "name", "") for name, model in {**known, **wanted}.items()}
    changed = [
        (name, model, "changed" if name in known else "created")
        for name, model in wanted.items()
        if known.get(name) != model
    ]
    changed += [(name, model, "removed") for name, model in known.items() if name not in wanted]
    return tuple(
        Change(
            *name,
            change,
            tuple(_fields(known[name], model)) if change == "changed" else (),
            names[name] or _named_by(model, names),
            model.worker if isinstance(model, Administrator) else None,
        )
        for name, model, change in changed
    )


def _named_by(model: DirectoryObject, names: Mapping[Name, str]) -> str:
    """What tells people which one it is, of an object that has no name of its own."""
    match model:
        case Administrator():
            return names.get(("portal", model.portal), model.portal)
        case Contract():
            return ", ".join((names.get(("carrier", model.carrier), model.carrier), *model.tins))
        case Enrolment():
            return f"{names.get(('portal', model.portal), model.portal)}, {model.tin}"
        case GuideEntry():
            return model.work
        case Policy():
            return model.version
        case TitleMapping():
            return model.id
        case _:
            return ""


def _fields(before: DirectoryObject, after: DirectoryObject) -> Iterator[FieldChange]:
    one, other = before.model_dump(mode="json"), after.model_dump(mode="json")
    for field in one:
        if one[field] != other[field]:
            yield from _within(field, one[field], other[field])


def _within(field: str, before: Any, after: Any) -> Iterator[FieldChange]:
    """A change of a field: of named members (steps, rules, separations) each by itself."""
    one, other = _members(before), _members(after)
    if one is None or other is None:
        yield FieldChange(field, before, after)
        return
    for name in dict.fromkeys([*one, *other]):
        if one.get(name) != other.get(name):
            yield FieldChange(f"{field} {name}", one.get(name), other.get(name))


def _members(value: Any) -> dict[str, Any] | None:
    """The members of a field by name, where they have names that differ."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        return None
    named = {}
    for each in value:
        names = (each.get("id") or each.get("rule") or each.get("ptan") or each.get("carrier"),)
        dated = each.get("effective_from") or each.get("tin")
        named[" ".join(str(name) for name in (*names, dated) if name)] = each
    return named if len(named) == len(value) and "" not in named else None


def touches_policy(changes: Iterable[Change]) -> bool:
    """Whether somebody else than the one who proposes it must approve."""
    return any(change.kind in POLICY_KINDS for change in changes)


def same_policy_version(before: Directory | None, after: Directory) -> bool:
    """Whether both call their policy the same, so that nobody could tell what each allowed."""
    return before is not None and before.policy.version == after.policy.version


def plan_digest(organization: str, base_version: int, document: Mapping[str, Any]) -> str:
    """The name of a plan: equal only for the same document on top of the same version."""
    content = orjson.dumps([organization, base_version, document], option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(content, digest_size=PLAN_BYTES).hexdigest()


def compare(
    facts: Facts,
    before: CompiledDirectory | None,
    after: CompiledDirectory,
    as_of: datetime,
) -> Effect | None:
    """What changes for one person at `as_of` (UTC) from one directory to another, if anything."""
    new = decide(facts, after, as_of)
    old = decide(facts, before, as_of) if before is not None else None
    had, has = _rights(old), _rights(new)
    before_held = {held[:4] for held in _held(old)}
    kept_back = {held for held in _held(new) if held[:4] not in before_held}
    told, tells = _findings(old), _findings(new)
    duties = (old.state.duties if old else (), new.state.duties)
    effect = Effect(
        worker=facts.person.worker,
        name=new.state.name,
        gains=tuple(sorted(has - had)),
        loses=tuple(sorted(had - has)),
        held=tuple(sorted(kept_back)),
        raised=tuple(sorted(tells - told)),
        resolved=tuple(sorted(told - tells)),
        duties=duties if duties[0] != duties[1] else None,
    )
    said = (effect.gains, effect.loses, effect.held, effect.raised, effect.resolved, effect.duties)
    return effect if any(said) else None


def _rights(outcome: Outcome | None) -> set[Right]:
    if outcome is None:
        return set()
    return {
        (access.portal, own.tin, own.function)
        for access in outcome.state.portals
        for own in access.desired
    }


def _held(outcome: Outcome | None) -> set[HeldBack]:
    if outcome is None:
        return set()
    return {
        (access.portal, own.tin, own.function.value, own.rule, own.detail)
        for access in outcome.state.portals
        for own in access.held
    }


def _findings(outcome: Outcome | None) -> set[tuple[str, str]]:
    if outcome is None:
        return set()
    return {(finding.rule, finding.detail) for finding in outcome.state.findings}
