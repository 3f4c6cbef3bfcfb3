"""Telling provisioning's state anew from what it published, and comparing it with the tables.

Nothing is decided again: an event says how things were after it, so the fold only takes its word.
What differs from the tables was changed behind the events' back, or an event says too little.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.provisioning.rules.history import (
    FOREVER,
    Holding,
    Source,
    Statement,
    as_known,
    statements_between,
)
from services.provisioning.rules.observing import ADOPTION, OBSERVE_ONLY
from services.provisioning.rules.operations import (
    GIVES,
    OPEN_STATUSES,
    TAKES,
    Account,
    Held,
    Operation,
    Target,
    target_key,
)
from shared.contracts.directory import (
    DIRECTORY_MODELS,
    Directory,
    Function,
    OperationKind,
)
from shared.contracts.state import (
    AccountStatus,
    AuthorizedBy,
    Entitlement,
    Grade,
    OperationStatus,
    PortalAccess,
)
from shared.values import value_class

AccountKey = tuple[str, str]
"""(worker, portal)."""

OPERATION_FIELDS = (
    "worker",
    "portal",
    "kind",
    "tin",
    "function",
    "generation",
    "status",
    "rights",
    "authorized_by",
    "requested_at",
    "deadline",
    "claimed_by",
)
"""What every event about an operation says of it."""

CHORE_FIELDS = ("kind", "portal", "worker", "text", "addressed_to", "status", "requested_by",
                "requested_at", "deadline", "claimed_by")  # fmt: skip


@value_class(frozen=True, slots=True)
class Told:
    """One published event: `data` is its JSON, `id` its own."""

    id: str
    type: str
    time: datetime
    data: Mapping[str, Any]


@value_class(frozen=True, slots=True)
class Difference:
    """Where the tables say other than what was published; `told` and `kept` are in words."""

    what: str
    key: str
    field: str
    told: str
    kept: str


@dataclass(slots=True)
class Retold:
    """What the events of some workers tell."""

    operations: dict[str, dict[str, Any]] = field(default_factory=dict)
    accounts: dict[AccountKey, Account] = field(default_factory=dict)
    chores: dict[str, dict[str, Any]] = field(default_factory=dict)
    statements: list[tuple[datetime, Statement]] = field(default_factory=list)
    from_sheets: set[AccountKey] = field(default_factory=set)
    """Accounts that an old sheet told of: what it says of the past depends on what was known."""


def retell(events: Iterable[Told], postponed: Sequence[Told] = ()) -> Retold:
    """What events tell, in the order in which they were published.

    Args:
        postponed: ends of outages, which give many operations a later deadline at once.
    """
    retold = Retold()
    for event in events:
        kind, _, what = event.type.partition(".")
        match kind:
            case "operation":
                _retell_operation(retold, event, what)
            case "exposure":
                key = (event.data["worker"], event.data["portal"])
                since = _instant(event.data["since"]) if what == "started" else None
                retold.accounts[key] = _changed(_account(retold, key), exposed_since=since)
            case "chore":
                _retell_chore(retold, event, what)
        if event.data.get("account") is not None:
            _retell_account(retold, event)
    for event in postponed:
        for operation_id, deadline in event.data.get("deadlines", {}).items():
            told = retold.operations.get(operation_id)
            if told is not None and told["told_at"] <= event.time:
                told["deadline"] = _instant(deadline)
    return retold


def _retell_operation(retold: Retold, event: Told, what: str) -> None:
    data = event.data
    told = retold.operations.setdefault(data["operation_id"], _new_operation())
    if what == "step_done":
        done_at = event.time.isoformat()
        told["steps_done"][str(data["step"])] = {"done_by": data["by"], "done_at": done_at}
        return
    told.update({name: data[name] for name in OPERATION_FIELDS})
    told["requested_at"], told["deadline"] = (
        _instant(data["requested_at"]),
        _instant(data["deadline"]),
    )
    told["rule"], told["events"] = data["reason"]["rule"], data["reason"]["events"]
    told["told_at"] = event.time
    if what == "requested":
        told["steps"], told["rank"] = data.get("steps", []), data.get("rank", 50)
    if what == "overdue":
        told["overdue"] = True
    elif data.get("transition") == "reinstate":
        told["overdue"] = False
    is_open = OperationStatus(data["status"]) in OPEN_STATUSES
    told["ended_at"] = None if is_open else event.time
    if data.get("evidence") is not None or data.get("reason_given") is not None:
        told["evidence"] = data.get("evidence") or told["evidence"]
        told["outcome"] = data.get("reason_given") or data["transition"]


def _new_operation() -> dict[str, Any]:
    return {
        "steps": [],
        "rank": 50,
        "steps_done": {},
        "overdue": False,
        "evidence": None,
        "outcome": None,
        "told_at": None,
    }


def _retell_account(retold: Retold, event: Told) -> None:
    """An event that says what is known of an account from there on."""
    data = event.data
    key = (data["worker"], data["portal"])
    before = _account(retold, key)
    after = account_from(*key, data["account"], exposed_since=before.exposed_since)
    retold.accounts[key] = after
    if event.type == "operation.confirmed":
        source = Source(data["operation_id"], data["by"], event.id)
        at = _maybe(data.get("so_since")) or event.time
    elif event.type == "account.seen":
        source = Source(data["roster_id"], data["imported_by"], event.id)
        at = _instant(data["as_of"])
    else:
        retold.from_sheets.add(key)
        return
    said = statements_between(before, after, source, at=at)
    retold.statements.extend((event.time, statement) for statement in said)


def _retell_chore(retold: Retold, event: Told, what: str) -> None:
    data = event.data
    told = retold.chores.setdefault(data["chore_id"], {"ended_at": None, "ended_by": None})
    told.update({name: data[name] for name in CHORE_FIELDS})
    told["requested_at"], told["deadline"] = (
        _instant(data["requested_at"]),
        _instant(data["deadline"]),
    )
    if what in ("done", "declined"):
        told["ended_at"], told["ended_by"] = event.time, data["by"]


def account_from(
    worker: str, portal: str, known: Mapping[str, Any], *, exposed_since: datetime | None
) -> Account:
    """The account that an event tells whole."""
    rights = [
        Entitlement(
            own["tin"],
            Function(own["function"]),
            AuthorizedBy(**own["authorized_by"]) if own["authorized_by"] else None,
            Grade(own["grade"]) if own["grade"] else None,
            _instant(own["since"]) if own["since"] else None,
            own["operation_id"],
        )
        for own in known["rights"]
    ]
    return Account(
        worker,
        portal,
        AccountStatus(known["status"]),
        Grade(known["grade"]) if known["grade"] else None,
        known["login_id"],
        {(own.tin, own.function): own for own in rights},
        {},
        exposed_since,
        _maybe(known.get("known_as_of")),
        _maybe(known.get("last_login_at")),
        known.get("last_login_source"),
    )


def _account(retold: Retold, key: AccountKey) -> Account:
    return retold.accounts.get(key, Account(*key))


def _changed(account: Account, *, exposed_since: datetime | None) -> Account:
    return Account(
        account.worker,
        account.portal,
        account.status,
        account.grade,
        account.login_id,
        account.rights,
        account.targets,
        exposed_since,
        account.known_as_of,
        account.last_login_at,
        account.last_login_source,
    )


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _maybe(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


# -- comparing


def compare_operations(retold: Retold, kept: Mapping[str, Mapping[str, Any]]) -> list[Difference]:
    """Every column of every operation."""
    found = []
    for id_ in sorted({*retold.operations, *kept}):
        told, own = retold.operations.get(id_), kept.get(id_)
        if told is None or own is None:
            found.append(_missing("operation", id_, told is not None))
            continue
        names = (
            *OPERATION_FIELDS, "rule", "events", "steps", "rank", "overdue", "evidence",
            "outcome", "ended_at",
        )  # fmt: skip
        found += _fields("operation", id_, told, own, names)
        found += _steps_done(id_, told["steps_done"], own["steps_done"])
    return found


def _steps_done(id_: str, told: Mapping[str, Any], kept: Mapping[str, Any]) -> list[Difference]:
    as_told = {n: (one["done_by"], _instant(one["done_at"])) for n, one in told.items()}
    as_kept = {n: (one["done_by"], _instant(one["done_at"])) for n, one in kept.items()}
    if as_told == as_kept:
        return []
    return [Difference("operation", id_, "steps_done", str(told), str(kept))]


def compare_accounts(retold: Retold, kept: Sequence[Account]) -> list[Difference]:
    """What evidence tells of each account, and how many operations each target has had."""
    generations: dict[AccountKey, dict[str, int]] = {}
    for told in retold.operations.values():
        if "kind" in told:
            function = Function(told["function"]) if told["function"] else None
            target = target_key(OperationKind(told["kind"]), told["tin"], function)
            own = generations.setdefault((told["worker"], told["portal"]), {})
            own[target] = max(own.get(target, 0), told["generation"])
    found = []
    by_key = {(account.worker, account.portal): account for account in kept}
    for key in sorted({*retold.accounts, *by_key}):
        name, account = "/".join(key), by_key.get(key)
        if account is None:
            if retold.accounts[key].rights:
                found.append(_missing("account", name, True))
            continue
        told_account = _account(retold, key)
        for attribute in ("status", "grade", "login_id", "rights", "exposed_since", "known_as_of",
                          "last_login_at", "last_login_source"):  # fmt: skip
            mine, theirs = getattr(told_account, attribute), getattr(account, attribute)
            if mine != theirs:
                found.append(Difference("account", name, attribute, _words(mine), _words(theirs)))
        kept_generations = {
            target: own.generation for target, own in account.targets.items() if own.generation
        }
        told_generations = generations.get(key, {})
        if kept_generations != told_generations:
            found.append(
                Difference("account", name, "targets", str(told_generations), str(kept_generations))
            )
    return found


def compare_history(
    retold: Retold, accounts: Sequence[Account], kept: Sequence[Holding]
) -> list[Difference]:
    """What is held now against the accounts; the whole history unless an old sheet told of it."""
    found = []
    held = {
        (account.worker, account.portal, *right): (own.grade, own.authorized_by, own.since)
        for account in accounts
        for right, own in account.effective.items()
    }
    open_ = {
        one.key: (one.entitlement.grade, one.entitlement.authorized_by, one.entitlement.since)
        for one in kept
        if one.valid_until == FOREVER
    }
    for key in sorted({*held, *open_}):
        if held.get(key) != open_.get(key):
            told, own = _words(held.get(key)), _words(open_.get(key))
            found.append(Difference("history", "/".join(key), "held now", told, own))
    told_history = sorted(
        (
            one
            for one in as_known(retold.statements, FOREVER)
            if one.key[:2] not in retold.from_sheets
        ),
        key=_when,
    )
    kept_history = sorted((one for one in kept if one.key[:2] not in retold.from_sheets), key=_when)
    mine, theirs = (
        {_when(one): one for one in history} for history in (told_history, kept_history)
    )
    for when in sorted({*mine, *theirs}):
        if mine.get(when) != theirs.get(when):
            name = "/".join((*when[:4], str(when[4])))
            found.append(
                Difference(
                    "history", name, "stretch", _words(mine.get(when)), _words(theirs.get(when))
                )
            )
    return found


def _when(one: Holding) -> tuple[str, str, str, str, datetime]:
    return (*one.key, one.valid_from)


def compare_chores(retold: Retold, kept: Mapping[str, Mapping[str, Any]]) -> list[Difference]:
    """Where each chore stands."""
    found = []
    for id_ in sorted({*retold.chores, *kept}):
        told, own = retold.chores.get(id_), kept.get(id_)
        if told is None or own is None:
            found.append(_missing("chore", id_, told is not None))
        else:
            found += _fields("chore", id_, told, own, (*CHORE_FIELDS, "ended_at", "ended_by"))
    return found


def compare_directory(told: Mapping[str, Any], kept: Directory) -> list[Difference]:
    """Every object of the directory in force, by kind/id."""
    mine = {name: _canonical(name.partition("/")[0], document) for name, document in told.items()}
    theirs = {f"{kind}/{id_}": model.model_dump(mode="json") for kind, id_, model in kept.objects()}
    found = []
    for name in sorted({*mine, *theirs}):
        if name not in mine or name not in theirs:
            found.append(_missing("directory", name, name in mine))
        elif mine[name] != theirs[name]:
            found += _fields("directory", name, mine[name], theirs[name], sorted(theirs[name]))
    return found


def _canonical(kind: str, document: Any) -> dict[str, Any]:
    """An object as its model of today writes it, so that new fields make no difference."""
    return DIRECTORY_MODELS[kind].model_validate(document).model_dump(mode="json")


def _fields(
    what: str, key: str, told: Mapping[str, Any], kept: Mapping[str, Any], names: Sequence[str]
) -> list[Difference]:
    return [
        Difference(what, key, name, _words(told.get(name)), _words(kept[name]))
        for name in names
        if told.get(name) != kept[name]
    ]


def _missing(what: str, key: str, was_told: bool) -> Difference:
    told, kept = ("published", "missing") if was_told else ("never published", "there")
    return Difference(what, key, "", told, kept)


def _words(value: object) -> str:
    return "nothing" if value is None else str(value)


# -- desired less effective, less what named rows hold back, is open work


def check_open_work(
    account: Account,
    access: PortalAccess | None,
    operations: Sequence[Operation],
    as_of: datetime,
    *,
    observed: bool,
) -> list[Difference]:
    """Whether exactly what is missing, and what is too much, is being worked on for one account.

    Args:
        access: what was worked out for the account anew; None where nothing is wanted there.
        operations: its open operations.
        observed: the portal is observe-only, so what was adopted may stay.
    """
    answers = (
        {(own.tin, own.function): own.authorized_by for own in access.desired} if access else {}
    )
    desired = set(answers)
    unknown = {
        (own.tin, own.function)
        for own in (access.held if access else ())
        if own.rule == OBSERVE_ONLY
    }
    parked = {(one.tin, one.function) for one in access.parked} if access else set()
    effective = account.effective
    asked = [one for one in operations if one.status is not OperationStatus.SUPERSEDED]
    removing = [one for one in operations if one.kind in TAKES]
    giving = [one for one in asked if one.kind in GIVES]
    name = f"{account.worker}/{account.portal}"
    found = []
    if (None, None) in parked:
        # The whole login waits to be ended for good.
        parked |= effective.keys()
    for right in sorted(effective.keys() - desired - parked):
        by = effective[right].authorized_by
        spared = observed and (right in unknown or (by is not None and by.kind == ADOPTION))
        if not spared and not any(_covers(one, right) for one in removing if one in asked):
            found.append(_open_work(name, right, "is too much, and nobody is asked to remove it"))
    waits = any(one.status is not OperationStatus.REQUESTED for one in removing)
    busy = any(one.status is OperationStatus.CLAIMED for one in giving)
    for right in sorted(desired - effective.keys()):
        if waits or busy or _retries_later(account, right, as_of):
            continue
        if any(one.tin is None and one.authorized_by != answers[right] for one in giving):
            # What somebody else answers for is granted once the login is there.
            continue
        if not any(right in one.rights for one in giving):
            found.append(_open_work(name, right, "is missing, and nobody is asked to give it"))
    for one in giving:
        # Who took it on goes on; what nobody wants any more is taken away afterwards.
        if one.status is OperationStatus.REQUESTED and not desired.intersection(one.rights):
            found.append(_open_work(name, (one.operation_id, one.kind), "gives what nobody wants"))
    return found


def _covers(operation: Operation, right: Held) -> bool:
    return operation.tin is None or (operation.tin, operation.function) == right


def _retries_later(account: Account, right: Held, as_of: datetime) -> bool:
    targets: list[Target | None] = [
        account.targets.get(""),
        account.targets.get(f"{right[0]}/{right[1].value}"),
    ]
    return any(
        target is not None and target.retry_at is not None and target.retry_at > as_of
        for target in targets
    )


def _open_work(name: str, right: tuple[str, str], how: str) -> Difference:
    return Difference("open work", name, "/".join(right), how, "")
