"""BambooHR: event-based webhooks, and the employee they are about from its API.

Sources, as of November 2026: documentation.bamboohr.com/docs/webhooks (signature: SHA-256 HMAC in
hexadecimal over the raw body followed by the timestamp header),
documentation.bamboohr.com/docs/event-based-webhooks (bodies; a created employee is announced twice;
a future-dated change only when it takes effect),
documentation.bamboohr.com/docs/list-of-field-names (fields). Not confirmed: that `supervisorEId` is
the supervisor's employee id. Which statuses mean a leave each account names for itself.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import httpx
import orjson

from services.gateway.adapters import Vendor, VendorRefused, ask
from services.gateway.rules.employees import NO_TITLE, Employee
from services.gateway.sources import VendorAccess

SIGNATURE, TIMESTAMP = "x-bamboohr-signature", "x-bamboohr-timestamp"
REPLAY_WINDOW_SECONDS = 300

FIELDS = (
    "firstName,lastName,preferredName,workEmail,jobTitle,department,location,supervisorEId,"
    "hireDate,terminationDate,status,employmentHistoryStatus"
)
"""All that is asked for; a key that may see pay or social security numbers is not used for it."""

NEVER = "0000-00-00"
"""How BambooHR writes a date that is not set."""


def signed(body: bytes, headers: Mapping[str, str], key: str) -> bool:
    """Whether the body is BambooHR's, sent within five minutes."""
    sent, given = headers.get(TIMESTAMP, ""), headers.get(SIGNATURE, "")
    if not (sent.isascii() and sent.isdigit() and given.isascii()):
        return False
    expected = hmac.new(key.encode(), body + sent.encode(), hashlib.sha256).hexdigest()
    recent = abs(time.time() - int(sent)) <= REPLAY_WINDOW_SECONDS
    return recent and hmac.compare_digest(expected, given.lower())


def about(body: bytes) -> Sequence[str]:
    """Whom an event is about. A deleted record is no departure: it says nothing.

    Raises:
        ValueError: it is no event of BambooHR's.
    """
    try:
        event = orjson.loads(body)
        kind, employee = event["type"], event["data"]["employeeId"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise ValueError(
            "the body is no event-based webhook; choose Event-Based and JSON"
        ) from None
    if kind not in ("employee.created", "employee.updated"):
        return ()
    return (str(employee),)


async def fetch(http: httpx.AsyncClient, access: VendorAccess, id_: str) -> Employee | None:
    """How the employee stands now; None for a record without a hire date."""
    found = await ask(
        http,
        f"{access.api_url}/api/v1/employees/{id_}/",
        {"Accept": "application/json"},
        auth=(access.api_key, "x"),
        params={"fields": FIELDS, "onlyCurrent": "true"},
    )
    return None if found is None else translate(found, access)


def translate(found: Any, access: VendorAccess) -> Employee | None:
    """An employee of BambooHR's as HR says it.

    Raises:
        VendorRefused: the answer lacks what an employee has.
    """
    hired_on = _day(found.get("hireDate"))
    if hired_on is None:
        return None
    if not found.get("id"):
        raise VendorRefused("BambooHR's answer names no employee")
    ended_on = _day(found.get("terminationDate"))
    if found.get("status") == "Active" and ended_on is not None and ended_on <= hired_on:
        # Rehired: the date is of the employment before.
        ended_on = None
    location = found.get("location")
    first = found.get("preferredName") or found.get("firstName")
    return Employee(
        worker=str(found["id"]),
        employment_id=f"{found['id']}-{hired_on.isoformat()}",
        hired_on=hired_on,
        ends_on=ended_on,
        on_leave=found.get("employmentHistoryStatus") in access.leave_statuses,
        name=" ".join(filter(None, (first, found.get("lastName")))) or None,
        email=found.get("workEmail") or None,
        title=found.get("jobTitle") or NO_TITLE,
        department=found.get("department") or None,
        sites=(access.sites.get(location, location),) if location else (),
        supervisor=found.get("supervisorEId") or None,
    )


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text and text != NEVER else None


VENDOR = Vendor("bamboohr", signed, about, fetch)
