"""The forms of identifiers and addresses in a directory, with messages that say what is wrong.

A message never repeats a value that could be a personal number.
"""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, WithJsonSchema

from shared.contracts.hr import is_npi

_EIN = re.compile(r"\d{2}-\d{7}")
_SSN = re.compile(r"\d{3}-\d{2}-\d{4}")
_PTAN = re.compile(r"[A-Z0-9]{4,10}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
_LOCAL_PART = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")

MAX_ADDRESS_CHARACTERS = 254
"""RFC 5321 through erratum 1690, for e-mail addresses."""


def check_tin(value: str) -> str:
    """An employer identification number as the IRS writes it, 12-3456789.

    Raises:
        ValueError: it has another form.
    """
    if _EIN.fullmatch(value):
        return value
    if _SSN.fullmatch(value):
        raise ValueError("looks like a social security number; give the EIN, like 12-3456789")
    digits = re.sub(r"\D", "", value)
    if len(digits) == 9:
        raise ValueError("is written like 12-3456789: two digits, a hyphen, seven digits")
    raise ValueError(
        f"is no tax id: it has {len(digits)} digits, a tax id has nine, like 12-3456789"
    )


def check_npi(value: str) -> str:
    """A National Provider Identifier: ten digits, Luhn over the prefix 80840 and the digits.

    Source: CMS, "Requirements for National Provider Identifier (NPI) and NPI Check Digit".

    Raises:
        ValueError: it has another form, or its check digit is wrong.
    """
    if is_npi(value):
        return value
    if not value.isascii() or not value.isdigit():
        raise ValueError("is no NPI: an NPI has ten digits and nothing else")
    if len(value) != 10:
        raise ValueError(f"is no NPI: it has {len(value)} digits, an NPI has ten")
    raise ValueError(
        "is no NPI: its last digit does not check (Luhn with 80840); two digits may be exchanged"
    )


def check_ptan(value: str) -> str:
    """A Provider Transaction Access Number: four to ten capitals and digits, one digit at least.

    Contractors differ in the form they give out; this refuses only what none of them does.

    Raises:
        ValueError: it has another form.
    """
    if is_npi(value):
        raise ValueError("is an NPI; a PTAN is the number that the Medicare contractor gave out")
    if not _PTAN.fullmatch(value) or not any(each.isdigit() for each in value):
        raise ValueError("is no PTAN: four to ten capital letters and digits, at least one digit")
    return value


def check_url(value: str) -> str:
    """An address of a page: http or https, a host, nothing secret.

    Raises:
        ValueError: it is none.
    """
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise ValueError("is no web address") from error
    if parts.scheme not in ("http", "https"):
        raise ValueError("is no web address: it begins with https://")
    if not value.isprintable() or " " in value:
        raise ValueError("is no web address: it holds blanks or control characters")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password")
    if not _DOMAIN.fullmatch(host):
        raise ValueError("is no web address: after https:// comes a host such as www.example.com")
    return value


def check_email(value: str) -> str:
    """An e-mail address of the usual form, name@host.

    Raises:
        ValueError: it is none.
    """
    local, at, domain = value.rpartition("@")
    if not at:
        raise ValueError("is no e-mail address: it lacks the @")
    if len(value) > MAX_ADDRESS_CHARACTERS:
        raise ValueError(f"is no e-mail address: longer than {MAX_ADDRESS_CHARACTERS} characters")
    if not _LOCAL_PART.fullmatch(local) or local.startswith(".") or ".." in local + "@":
        raise ValueError("is no e-mail address: what stands before the @ is not a name")
    if not _DOMAIN.fullmatch(domain):
        raise ValueError("is no e-mail address: after the @ comes a host such as example.com")
    return value


def _readable(value: str) -> str:
    if any(not each.isprintable() and each != "\n" for each in value):
        raise ValueError("holds control characters")
    return value


Tin = Annotated[
    str,
    AfterValidator(check_tin),
    WithJsonSchema({"type": "string", "pattern": r"^\d{2}-\d{7}$"}),
]
Npi = Annotated[
    str, AfterValidator(check_npi), WithJsonSchema({"type": "string", "pattern": r"^\d{10}$"})
]
Ptan = Annotated[
    str,
    AfterValidator(check_ptan),
    WithJsonSchema({"type": "string", "pattern": r"^(?=.*\d)[A-Z0-9]{4,10}$"}),
]
Url = Annotated[
    str,
    Field(max_length=500),
    AfterValidator(check_url),
    WithJsonSchema({"type": "string", "format": "uri", "pattern": "^https?://", "maxLength": 500}),
]
Email = Annotated[
    str,
    AfterValidator(check_email),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": MAX_ADDRESS_CHARACTERS}),
]
LongText = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_readable)]
"""Text that may have several lines."""
