"""What columns and words of sheets and user lists mean; what is not known is asked."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from enum import StrEnum

from services.provisioning.rules.matching import IGNORE, Doubt, plain
from shared.contracts.directory import Function, Portal
from shared.contracts.state import AccountStatus


class Field(StrEnum):
    """What a column says of a login."""

    WORKER = "worker"
    NAME = "name"
    FIRST_NAME = "first_name"
    LAST_NAME = "last_name"
    EMAIL = "email"
    PORTAL = "portal"
    LOGIN_ID = "login_id"
    STATUS = "status"
    LAST_LOGIN = "last_login"
    FUNCTIONS = "functions"
    TIN = "tin"
    SINCE = "since"
    UNTIL = "until"
    IGNORED = "ignore"


_WORDS: Mapping[Field, str] = {
    Field.WORKER: "worker workerid employee employeeid employeenumber empid staffid",
    Field.NAME: "name fullname user displayname person employeename workername staff"
    " contact contactname",
    Field.FIRST_NAME: "firstname first givenname fname",
    Field.LAST_NAME: "lastname last surname familyname lname",
    Field.EMAIL: "email emailaddress mail workemail",
    Field.PORTAL: "portal website site application payerportal system",
    Field.LOGIN_ID: "login loginid userid username logonid logon id uid accountid signon",
    Field.STATUS: "status userstatus accountstatus state loginstatus",
    Field.LAST_LOGIN: "lastlogin lastlogindate lastlogon lastaccess lastsignin lastactivity"
    " lastloggedin lastlogintime lastloginat",
    Field.FUNCTIONS: "functions function roles role permissions access entitlements privileges"
    " transactions usertype type",
    Field.TIN: "tin taxid ein taxidentificationnumber fein",
    Field.SINCE: "since from added addedon start startdate created createdon opened granted",
    Field.UNTIL: "until to end enddate removed removedon closed ended",
    Field.IGNORED: "title jobtitle department dept notes note comments comment phone supervisor"
    " manager location number row grade lastverified password explanation",
}
_FIELD_OF = {word: field for field, words in _WORDS.items() for word in words.split()}

_F = Function
_FUNCTION_WORDS: Mapping[str, tuple[Function, ...]] = {
    **{plain(function.value): (function,) for function in Function},
    "elig": (_F.ELIGIBILITY,),
    "eligibilityandbenefits": (_F.ELIGIBILITY, _F.BENEFITS),
    "eligibilitybenefits": (_F.ELIGIBILITY, _F.BENEFITS),
    "eb": (_F.ELIGIBILITY, _F.BENEFITS),
    "cob": (_F.COORDINATION_OF_BENEFITS,),
    "claims": (_F.CLAIM_STATUS,),
    "claimsstatus": (_F.CLAIM_STATUS,),
    "claimstatusinquiry": (_F.CLAIM_STATUS,),
    "priorauth": (_F.PRIOR_AUTHORIZATION,),
    "priorauthorizations": (_F.PRIOR_AUTHORIZATION,),
    "authorizations": (_F.PRIOR_AUTHORIZATION,),
    "paupload": (_F.PRIOR_AUTHORIZATION_UPLOAD,),
    "authorizationupload": (_F.PRIOR_AUTHORIZATION_UPLOAD,),
    "remit": (_F.REMITTANCE,),
    "remittances": (_F.REMITTANCE,),
    "remittanceadvice": (_F.REMITTANCE,),
    "era": (_F.REMITTANCE,),
    "payments": (_F.PAYMENT,),
    "eft": (_F.PAYMENT,),
    "feeschedules": (_F.FEE_SCHEDULE,),
    "fees": (_F.FEE_SCHEDULE,),
    "administrator": (_F.USER_ADMINISTRATION,),
    "useradmin": (_F.USER_ADMINISTRATION,),
    "provideradministrator": (_F.USER_ADMINISTRATION,),
    "subscriber": (_F.SIGN_ON,),
    "signon": (_F.SIGN_ON,),
}
_SPLIT = re.compile(r"[,;/|\n+]+")

ACTIVE_WORDS = frozenset(
    [
        "active",
        "enabled",
        "yes",
        "y",
        "x",
        "true",
        "current",
        "ok",
        "live",
        "open",
        "granted",
        "approved",
        "✓",
        "✔",
        "●",
    ]
)
SUSPENDED_WORDS = frozenset(
    [
        "inactive",
        "disabled",
        "suspended",
        "locked",
        "deactivated",
        "revoked",
        "revoke",
        "dorm",
        "dormant",
        "terminated",
        "expired",
        "paused",
    ]
)
NONE_WORDS = frozenset(
    [
        "no",
        "n",
        "none",
        "false",
        "removed",
        "deleted",
        "closed",
        "never",
        "na",
        "-",
        "–",
        "—",
        "0",
        "✗",
        "✘",
    ]
)


def status_of(word: str) -> AccountStatus | None:
    """What a word says of a login; None where it says nothing that is known."""
    said = word.strip().casefold()
    if said in ACTIVE_WORDS:
        return AccountStatus.ACTIVE
    if said in SUSPENDED_WORDS:
        return AccountStatus.SUSPENDED
    return AccountStatus.NONE if said in NONE_WORDS or plain(said) == "na" else None


def field_of(column: str) -> Field | None:
    """What a column of this name is about."""
    return _FIELD_OF.get(plain(column))


def functions_in(
    text: str, answers: Mapping[str, str], line: int | None, doubts: dict[str, Doubt]
) -> tuple[Function, ...]:
    """The functions that a cell names; a word that nobody knows becomes a doubt."""
    found: dict[Function, None] = {}
    whole = _FUNCTION_WORDS.get(plain(text))
    if whole:
        return whole
    for word in filter(None, (part.strip() for part in _SPLIT.split(text))):
        key = f"function:{word}"
        known = _FUNCTION_WORDS.get(plain(word))
        if known is None and key in answers:
            known = () if answers[key] == IGNORE else (Function(answers[key]),)
        if known is None:
            doubts.setdefault(key, _which_function(key, word, line))
        found.update(dict.fromkeys(known or ()))
    return tuple(found)


def is_function_word(word: str) -> bool:
    """Whether a word names functions."""
    return plain(word) in _FUNCTION_WORDS


def _which_function(key: str, word: str, line: int | None) -> Doubt:
    answers = tuple((function.value, function.value.replace("_", " ")) for function in Function)
    return Doubt(
        key, line, f"Which function is {word!r}?", (*answers, (IGNORE, "it gives no function"))
    )


def portal_of(
    word: str,
    portals: Sequence[Portal],
    answers: Mapping[str, str],
    *,
    key: str,
    line: int | None,
    doubts: dict[str, Doubt],
) -> str | None:
    """The portal that a word names exactly; else a doubt, with what is nearest first."""
    if key in answers:
        return None if answers[key] == IGNORE else answers[key]
    said = plain(word)
    for portal in portals:
        if said in (plain(portal.id), plain(portal.name)):
            return portal.id

    def likeness(portal: Portal) -> float:
        names = plain(portal.id), plain(portal.name)
        alike = max(SequenceMatcher(None, said, name).ratio() for name in names)
        return alike + any(said in name for name in names)

    nearest = sorted(portals, key=likeness, reverse=True)
    doubts.setdefault(
        key,
        Doubt(
            key,
            line,
            f"Which portal is {word!r}?",
            (
                *((portal.id, portal.name) for portal in nearest),
                (IGNORE, "it is none, leave it out"),
            ),
        ),
    )
    return None


def check_answers(
    answers: Mapping[str, str], portals: Iterable[str], workers: Iterable[str]
) -> str:
    """What is wrong with answers, as a sentence; empty if nothing is."""
    known_portals, known_workers = set(portals), {worker.casefold() for worker in workers}
    for key, answer in answers.items():
        kind = key.partition(":")[0]
        if kind in ("column", "portal"):
            good = answer == IGNORE or answer in known_portals
        elif kind == "person":
            good = answer.casefold() in {*known_workers, "nobody"}
        elif kind == "function":
            good = answer == IGNORE or answer in set(Function)
        elif kind == "status":
            good = answer in set(AccountStatus)
        else:
            return f"{key!r} is no question that was asked."
        if not good:
            return f"{answer!r} is no answer to {key!r}."
    return ""
