"""Gusto, for approved partner applications only: webhooks, and the employee from its API.

Gusto gives this interface to applications that it has approved, not to customers who connect their
own systems: everybody else sends the Employee Summary, and enters by hand who is leaving now.

Sources, as of November 2026: docs.gusto.com/app-integrations/docs/webhooks (signature: HMAC-SHA256
over the raw body, the key being the subscription's verification token; duplicates and any order),
docs.gusto.com/app-integrations/docs/employee-events (bodies),
docs.gusto.com/embedded-payroll/docs/webhooks (before any event a `verification_token` is posted,
which `PUT /v1/webhook_subscriptions/{uuid}/verify` confirms with a system access token),
docs.gusto.com/embedded-payroll/docs/system-access (`grant_type` `system_access`; two hours),
docs.gusto.com/app-integrations/reference/refresh-access-token (access tokens end after two hours; a
refresh token is revoked when the access token that it was traded for is first used),
docs.gusto.com/app-integrations/reference/get-v1-terminations-employee_id (a termination's
`effective_date` is the last day of work). Not confirmed: that the signature is
written in hexadecimal, and that a work address names its city.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import httpx
import orjson

from services.gateway.adapters import Tokens, Vendor, VendorRefused, ask, tell
from services.gateway.rules.employees import NO_TITLE, Employee
from services.gateway.sources import VendorAccess

SIGNATURE = "x-gusto-signature"
API_VERSION = "2026-02-01"
TOKEN_MAX_CHARACTERS = 200


def signed(body: bytes, headers: Mapping[str, str], key: str) -> bool:
    """Whether the body is Gusto's. Its signature has no time, so an old body may come again."""
    given = headers.get(SIGNATURE, "")
    expected = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
    return given.isascii() and hmac.compare_digest(expected, given.lower())


def about(body: bytes) -> Sequence[str]:
    """Whom an event is about; nobody where it is not about an employee, or about one deleted.

    Raises:
        ValueError: it is no event of Gusto's.
    """
    try:
        event = orjson.loads(body)
        kind, entity, employee = event["event_type"], event["entity_type"], event["entity_uuid"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise ValueError("the body is no event of Gusto's") from None
    if entity != "Employee" or kind == "employee.deleted":
        return ()
    return (str(employee),)


async def fetch(http: httpx.AsyncClient, access: VendorAccess, id_: str) -> Employee | None:
    """How the employee stands now, with departures and rehires that lie ahead."""
    base = f"{access.api_url}/v1/employees/{id_}"
    headers = _headers(access.api_key)
    found = await ask(http, base, headers)
    if found is None:
        return None
    terminations = await ask(http, f"{base}/terminations", headers)
    rehire = await ask(http, f"{base}/rehire", headers)
    addresses = await ask(http, f"{base}/work_addresses", headers)
    return translate(found, terminations or [], rehire, addresses or [], access.sites)


def translate(
    found: Any, terminations: Any, rehire: Any, addresses: Any, sites: Mapping[str, str]
) -> Employee | None:
    """An employee of Gusto's as HR says it; None before anybody has said when they begin.

    The last day is taken from what is scheduled, since the event that it has come is sent a day
    late; a cancelled one is in the list no longer.

    Raises:
        VendorRefused: the answer lacks what an employee has.
    """
    if not found.get("uuid"):
        raise VendorRefused("Gusto's answer names no employee")
    jobs = sorted(found.get("jobs") or [], key=lambda job: not job.get("primary"))
    starts = [job["hire_date"] for job in jobs if job.get("hire_date")]
    if rehire and rehire.get("effective_date"):
        starts.append(rehire["effective_date"])
    if not starts:
        return None
    hired_on = date.fromisoformat(max(starts))
    lasts = [date.fromisoformat(each["effective_date"]) for each in terminations]
    places = [place["city"] for place in addresses if place.get("active") and place.get("city")]
    first = found.get("preferred_first_name") or found.get("first_name")
    return Employee(
        worker=found["uuid"],
        employment_id=f"{found['uuid']}-{hired_on.isoformat()}",
        hired_on=hired_on,
        ends_on=max((last for last in lasts if last >= hired_on), default=None),
        name=" ".join(filter(None, (first, found.get("last_name")))) or None,
        email=found.get("work_email") or None,
        title=next((job["title"] for job in jobs if job.get("title")), NO_TITLE),
        department=found.get("department") or None,
        sites=tuple(sites.get(place, place) for place in places),
        supervisor=found.get("manager_uuid") or None,
    )


def handshake(body: bytes) -> str | None:
    """The verification token, where this is what Gusto posts before any event."""
    try:
        token = orjson.loads(body)["verification_token"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return token if isinstance(token, str) and 16 <= len(token) <= TOKEN_MAX_CHARACTERS else None


async def confirm(http: httpx.AsyncClient, access: VendorAccess, token: str) -> None:
    """Tell Gusto that its verification token arrived, whereupon it sends events.

    Raises:
        VendorRefused: it is not the subscription's token, or no subscription is named.
        httpx.HTTPError: Gusto does not answer.
    """
    oauth = access.oauth
    if oauth is None or oauth.subscription is None:
        raise VendorRefused("the sources file names no subscription")
    system = {"client_id": oauth.client_id, "client_secret": oauth.client_secret}
    granted = await tell(
        http, "POST", f"{access.api_url}/oauth/token", {**system, "grant_type": "system_access"}
    )
    await tell(
        http,
        "PUT",
        f"{access.api_url}/v1/webhook_subscriptions/{oauth.subscription}/verify",
        {"verification_token": token},
        _headers(granted["access_token"]),
    )


async def refresh(
    http: httpx.AsyncClient, access: VendorAccess, refresh_token: str, now: datetime
) -> Tokens:
    """Tokens for the next two hours, in place of those that `refresh_token` came with.

    Raises:
        VendorRefused: Gusto gives none any more: the company must authorize the application anew.
        httpx.HTTPError: Gusto does not answer.
    """
    oauth = access.oauth
    if oauth is None:
        raise VendorRefused("the sources file has no oauth")
    granted = await tell(
        http,
        "POST",
        f"{access.api_url}/oauth/token",
        {
            "client_id": oauth.client_id,
            "client_secret": oauth.client_secret,
            "redirect_uri": oauth.redirect_uri,
            "refresh_token": refresh_token,
            "grant_type": "refresh_token",
        },
    )
    ends_at = now.timestamp() + granted["expires_in"]
    return Tokens(granted["access_token"], granted["refresh_token"], ends_at)


def _headers(token: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {token}",
        "X-Gusto-API-Version": API_VERSION,
        "Accept": "application/json",
    }


VENDOR = Vendor("gusto", signed, about, fetch, handshake, confirm, refresh)
