"""What a line of a sheet comes to: whose login it is, with which rights, and what becomes of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from services.provisioning.rules.adoption import SheetLine
from services.provisioning.rules.desired.directory import CompiledDirectory
from services.provisioning.rules.findings import (
    LoginSeen,
    least_function,
)
from services.provisioning.rules.observing import ADOPTION
from services.provisioning.rules.operations import Account, Held
from shared.contracts.directory import Portal
from shared.contracts.hr import end_of_day, start_of_day
from shared.contracts.state import AccountStatus, AuthorizedBy, Entitlement, Grade
from shared.errors import Problem


@dataclass(frozen=True, slots=True)
class Adopted:
    """One login of the sheet with whom it belongs to and what becomes of it.

    `effect`: adopt, same (known so already), known_better, older (a later sheet is known), past
    (ended by its own date), second_login (the person has another line for the portal), doubt, or
    nobody.
    """

    line: SheetLine
    worker: str | None
    why: str
    effect: str
    rights: tuple[Held, ...]
    account: Account | None


def instant_of(day: date, compiled: CompiledDirectory, now: datetime) -> datetime:
    """The moment at which a sheet of `day` was right: its end, or the beginning of today."""
    today = now.astimezone(compiled.zone).date()
    if day > today:
        raise Problem(422, "as_of_in_future", f"{day} has not come yet; when was the sheet right?")
    return start_of_day(day, compiled.zone) if day == today else end_of_day(day, compiled.zone)


def since_of(line: SheetLine, compiled: CompiledDirectory) -> datetime | None:
    """The first instant of the login, where the line names a day."""
    return start_of_day(line.since, compiled.zone) if line.since else None


def until_of(line: SheetLine, compiled: CompiledDirectory) -> datetime | None:
    """The instant from which the login is over, where the line names its last day."""
    return end_of_day(line.until, compiled.zone) if line.until else None


def rights_of(
    line: SheetLine,
    portal: Portal,
    given: Collection[tuple[str, str, Any]],
    compiled: CompiledDirectory,
    as_of: datetime,
) -> tuple[Held, ...]:
    """What a line says the login can do; where it does not say, what policy gave, or the least."""
    policy = {(tin, function) for place, tin, function in given if place == portal.id}
    enrolled = compiled.enrolled_tins(portal.id, as_of) or compiled.directory.organization.tins
    if not line.told:
        return tuple(sorted(policy)) or ((enrolled[0], least_function(portal)),)
    found: set[Held] = set()
    for tin, function in line.told:
        if tin is not None:
            found.add((tin, function))
            continue
        tins = {each for each, own in policy if own is function} or {each for each, _ in policy}
        found |= {(each, function) for each in tins or enrolled}
    return tuple(sorted(found))


def effect_of(
    line: SheetLine,
    account: Account | None,
    rights: tuple[Held, ...],
    as_of: datetime,
    compiled: CompiledDirectory,
) -> str:
    """What becomes of a line, beside what is known of the account already."""
    until = until_of(line, compiled)
    if until is not None and until <= as_of:
        return "past"
    if account is None or (account.status is AccountStatus.NONE and account.grade is None):
        return "adopt"
    if account.grade is not Grade.ASSUMED:
        return "known_better"
    if account.known_as_of is not None and account.known_as_of > as_of:
        return "older"
    same = (
        account.status is line.status
        and (account.login_id or "") == line.claim.login_id
        and set(account.rights) == set(rights)
    )
    return "same" if same else "adopt"


def taken_over(
    one: Adopted,
    adoption_id: str,
    file_sha256: str,
    by: str,
    as_of: datetime,
    compiled: CompiledDirectory,
) -> Account:
    """The account as the line tells it, assumed and approved by nobody here."""
    worker = one.account.worker if one.account else one.worker
    assert worker is not None
    account = one.account or Account(worker, one.line.portal)
    authorized = AuthorizedBy(ADOPTION, file_sha256, by)
    since = since_of(one.line, compiled) or as_of
    return replace(
        account,
        status=one.line.status,
        grade=Grade.ASSUMED,
        login_id=one.line.claim.login_id or None,
        rights={
            held: Entitlement(*held, authorized, Grade.ASSUMED, since, adoption_id)
            for held in one.rights
        },
        known_as_of=as_of,
    )


def login_seen(one: Adopted) -> LoginSeen:
    """The line as a login that is looked at for what is amiss."""
    claim = one.line.claim
    return LoginSeen(
        claim.login_id or claim.label,
        claim.name,
        (one.worker,) if one.worker else (),
        one.line.status,
        one.rights if one.line.told else None,
    )
