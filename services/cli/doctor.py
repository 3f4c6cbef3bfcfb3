"""`portalkeeper doctor`: what is amiss, and what to do about it."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import typer

from services.cli.client import NAMES, Client, Exit, Failure, read_session
from services.cli.printing import AsJson, Rows, out, print_json

ANSWER_SECONDS = 10
CLOCK_SECONDS = 5
"""Tokens live five minutes and events carry instants: clocks further apart than this mislead."""

LAG_RECORDS = 1_000
OUTBOX_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: `ok`, `warning` or `failed`, with what to do about it."""

    what: str
    state: str
    detail: str = ""
    next_step: str = ""


def doctor(as_json: AsJson = False) -> None:
    """Check servers, topics, schemas, keys, clocks, lag and notifications, and say what to do.

    Looked at is the installation that you are signed in to; its servers, where they are here.
    Exit status 1 if anything failed.
    """
    checks = [*_servers(_signed_in_to()), *_services()]
    if as_json:
        print_json([asdict(each) for each in checks])
    else:
        rows = Rows("Check", "State", "What was seen", "What to do")
        for each in checks:
            rows.add_row(each.what, each.state, each.detail, each.next_step)
        out.print(rows)
    if any(each.state == "failed" for each in checks):
        raise typer.Exit(Exit.NO)


def _signed_in_to() -> str | None:
    try:
        return str(read_session()["gateway"])
    except Failure:
        return None


def _servers(gateway: str | None) -> Iterator[Check]:
    """What can only be seen where the installation is."""
    try:
        from deploy.looking import look, place
    except ModuleNotFoundError:
        return
    here = place(os.environ, gateway)
    if here is None:
        yield Check(
            "servers",
            "warning",
            f"not looked at: those of {gateway} are not in this folder"
            if gateway
            else "no installation in this folder",
            "Run doctor where it is installed, or set PORTALKEEPER_KAFKA and "
            "PORTALKEEPER_ADMIN_DATABASE_URL.",
        )
        return
    for seen in asyncio.run(look(here)):
        if seen.problem is None:
            yield Check(seen.what, "ok", seen.where)
        else:
            yield Check(seen.what, "failed", seen.problem, seen.next_step)


def _services() -> Iterator[Check]:
    """What the services say of themselves."""
    try:
        client = Client.open()
    except Failure as failure:
        yield Check("session", "failed", failure.sentence, "Then run doctor again.")
        return
    yield Check("session", "ok", f"{client.organization} at {client.gateway}")
    for service in client.services:
        yield from _service(client, service)


def _service(client: Client, service: str) -> Iterator[Check]:
    name = NAMES[service]
    try:
        answer = httpx.get(client.url(service, "/readyz"), timeout=ANSWER_SECONDS)
        problems = answer.json()["problems"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        yield Check(name, "failed", "no answer", "Start it; its log says why it ended.")
        return
    if problems:
        yield Check(
            name,
            "failed",
            "; ".join(problems),
            "A stopped partition goes on with: portalkeeper accept-gap. All else by itself.",
        )
    else:
        yield Check(name, "ok")
    yield _clock(name, answer)
    try:
        found = client.get(service, "/ops/v1/status")
    except Failure as failure:
        yield Check(
            f"{name}: keys",
            "failed",
            failure.sentence,
            "It does not take the gateway's tokens: give it the gateway's jwks.json.",
        )
        return
    yield from _lag(name, found)
    if "notifications" in found:
        yield _notifications(found["notifications"])


def _clock(name: str, answer: httpx.Response) -> Check:
    try:
        there = parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return Check(f"{name}: clock", "warning", "it does not say what time it is")
    apart = abs((datetime.now(UTC) - there).total_seconds())
    if apart <= CLOCK_SECONDS:
        return Check(f"{name}: clock", "ok")
    return Check(
        f"{name}: clock", "failed", f"{apart:.0f} s from here", "Let both follow a time server."
    )


def _lag(name: str, found: dict[str, Any]) -> Iterator[Check]:
    behind = sum(
        partition["lag"] or 0
        for consumer in found["consumers"]
        for partition in consumer["partitions"]
    )
    waiting = found["outbox"]
    if behind > LAG_RECORDS:
        step = "It works through them. If the number does not fall, look at its log."
        yield Check(f"{name}: lag", "warning", f"{behind} records behind Kafka", step)
    elif waiting > OUTBOX_ROWS:
        step = "Its relay publishes them: see whether that process runs."
        yield Check(f"{name}: lag", "warning", f"{waiting} events not published yet", step)
    else:
        yield Check(f"{name}: lag", "ok")


def _notifications(found: dict[str, Any]) -> Check:
    if not found["reaches_anybody"]:
        step = "Set PORTALKEEPER_NOTIFY_FILE, or look at the work list yourself."
        return Check("notifications", "warning", "no channel is set up: nobody is told", step)
    if found["late"]:
        step = "See whether the notifier runs, and the console's page Notifications."
        return Check("notifications", "failed", f"{found['late']} urgent ones undelivered", step)
    return Check("notifications", "ok")
