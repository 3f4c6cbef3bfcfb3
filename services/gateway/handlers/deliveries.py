"""What HR vendors' webhooks bring: kept at once, looked into afterwards, said as HR events."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import orjson
import structlog

from services.gateway.adapters import Vendor, VendorRefused
from services.gateway.handlers.commands import command
from services.gateway.handlers.ingress import REJECTED_BODY_DAYS, Ingress, Unacknowledged
from services.gateway.handlers.vendor_tokens import VendorTokens
from services.gateway.rules.employees import Employee, statements, takes_back_departure
from services.gateway.sealing import BodySeal, CannotOpen
from services.gateway.sources import Sources
from services.gateway.store import picture as picture_store
from services.gateway.store import vendors as store
from services.gateway.store.vendors import Delivery
from shared.auth import Principal
from shared.clock import Clock
from shared.contracts.envelope import event_id, rfc3339
from shared.errors import Problem
from shared.postgres import Connection, in_transaction

logger = structlog.get_logger(__name__)

LEASE = timedelta(minutes=2)
"""How long one process has for a delivery before another takes it for lost."""

FIRST_RETRY = timedelta(seconds=30)
LAST_RETRY = timedelta(hours=1)
ATTEMPTS_MAX = 80
"""About three days of a vendor's API that does not answer."""

LOOK_IDLE_SECONDS = 1.0
SHOWN = 50


@dataclass(frozen=True, slots=True)
class Said:
    """What a source said last of an employee, and the id of the departure that it announced."""

    employee: Employee
    departure: str | None


class Deliveries:
    """Takes vendors' webhooks and says what they come to."""

    def __init__(
        self,
        pool: "asyncpg.Pool[Any]",
        sources: Sources,
        vendors: Mapping[str, Vendor],
        ingress: Ingress,
        seal: BodySeal,
        clock: Clock,
        http: httpx.AsyncClient,
    ) -> None:
        self._pool = pool
        self._sources = sources
        self._vendors = vendors
        self._ingress = ingress
        self._seal = seal
        self._clock = clock
        self._http = http
        self._tokens = VendorTokens(pool, seal, clock, http)

    def key_in(self, vendor: str, body: bytes) -> str | None:
        """The signing key that a body brings; None for any other body."""
        known = self._vendors.get(vendor)
        return known.handshake(body) if known is not None else None

    async def shake_hands(self, vendor: str, key: str) -> str:
        """The source that a key signs for from now on, once the vendor confirms it.

        Raises:
            Problem: 401 for a key that the vendor does not know.
        """
        for source, (_, access) in self._sources.of_vendor(vendor).items():
            if await self._tokens.confirm(self._vendors[vendor], source, access, key):
                return source
        raise Problem(
            401,
            "not_confirmed",
            f"{vendor} does not confirm this token for the subscription of any source, or does not "
            "answer. See that the sources file has oauth with the subscription's id, and have the "
            "token sent again.",
        )

    async def signer(self, vendor: str, body: bytes, headers: Mapping[str, str]) -> str:
        """The source whose key the body is signed with.

        Raises:
            Problem: 404 for a vendor that is not understood, 401 for a signature that is nobody's.
        """
        known = self._vendors.get(vendor)
        if known is None:
            there_are = ", ".join(sorted(self._vendors))
            raise Problem(404, "no_such_vendor", f"Understood are {there_are}.")
        given = {name.lower(): value for name, value in headers.items()}
        for source, (_, access) in self._sources.of_vendor(vendor).items():
            keys = await self._tokens.keys(source, access)
            if any(known.signed(body, given, key) for key in keys):
                return source
        raise Problem(
            401,
            "signature_invalid",
            f"No source of {vendor} has a webhook key that signs this. Put the key that the vendor "
            "showed into webhook_keys of the sources file, and see that clocks are right.",
        )

    async def keep(self, vendor: str, source: str, body: bytes) -> UUID:
        """Keep a signed body, sealed for 30 days, to be looked into at once.

        Raises:
            Problem: 422 when it is no event of the vendor's; it is kept all the same.
        """
        failure = None
        try:
            self._vendors[vendor].about(body)
        except ValueError as error:
            failure = str(error)
        id_ = UUID(event_id("vendor delivery", source, sha256(body).hexdigest()))
        nonce, sealed = self._seal.seal(_delivery(id_), body)

        async def keep_it(conn: Connection) -> None:
            now = await self._clock.now(conn)
            kept = Delivery(id_, source, vendor, nonce, sealed, now, 0)
            until = now + timedelta(days=REJECTED_BODY_DAYS)
            await store.keep_delivery(conn, kept, until, failure)

        await in_transaction(self._pool, keep_it)
        if failure is not None:
            raise Problem(422, "not_understood", f"{failure}.")
        return id_

    async def listed(self, who: Principal) -> list[dict[str, Any]]:
        """The latest deliveries of an organization's sources, and why some fail; no content."""
        sources = self._sources.names(who.organization)
        async with self._pool.acquire() as conn:
            return [asdict(each) for each in await store.deliveries(conn, sources, SHOWN)]

    async def replay(self, who: Principal, id_: UUID, key: str | None) -> dict[str, Any]:
        """Look into a delivery anew, after a fix; what was said already is not said again.

        Raises:
            Problem: 404 for a delivery that is none of the organization's, or kept no longer.
        """

        async def work(conn: Connection) -> dict[str, Any]:
            sources = self._sources.names(who.organization)
            now = await self._clock.now(conn)
            if not await store.look_again(conn, id_, sources, who.subject, now):
                raise Problem(
                    404, "no_such_delivery", "No delivery is kept under this id; list them again."
                )
            return {"id": str(id_), "status": "due"}

        route = f"hr.deliveries/{id_}/replay"
        return await command(self._pool, self._clock, who, route, key, b"", work)

    async def look_into_next(self) -> int:
        """Look into the delivery that is due; 1, or 0 if there is none."""

        async def claim(conn: Connection) -> tuple[Delivery | None, datetime]:
            now = await self._clock.now(conn)
            return await store.claim_next(conn, now, now + LEASE), now

        delivery, now = await in_transaction(self._pool, claim)
        if delivery is None:
            return 0
        failure, again, events = None, True, None
        try:
            events = await self._say(delivery)
        except VendorRefused as error:
            failure = str(error)
        except httpx.HTTPError as error:
            failure = f"the vendor's API does not answer ({type(error).__name__})"
        except CannotOpen:
            failure = "it cannot be opened with the body key that the gateway has now"
        except Unacknowledged:
            failure = "Kafka has not acknowledged what it comes to"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # Whatever a vendor answers must not stop what is behind it.
            logger.warning("delivery.not_understood", delivery=str(delivery.id), error=repr(error))
            failure, again = "the vendor's answer is not understood", False
        wait = min(FIRST_RETRY * 2 ** (delivery.attempts - 1), LAST_RETRY)
        again = again and failure is not None and delivery.attempts < ATTEMPTS_MAX
        finish = partial(
            store.finish,
            id_=delivery.id,
            failure=failure,
            due_at=now + wait if again else None,
            done_at=None if failure else now,
            events=events,
        )
        await in_transaction(self._pool, finish)
        return 1

    async def _say(self, delivery: Delivery) -> int:
        """Say what a delivery comes to; how many events that is."""
        sources = self._sources.of_vendor(delivery.vendor)
        if delivery.source not in sources or delivery.vendor not in self._vendors:
            raise VendorRefused("this source is configured no longer")
        organization, access = sources[delivery.source]
        vendor = self._vendors[delivery.vendor]
        access = await self._tokens.with_token(vendor, delivery.source, access)
        body = self._seal.open(_delivery(delivery.id), delivery.nonce, delivery.sealed)
        said = 0
        for id_ in vendor.about(body):
            employee = await vendor.fetch(self._http, access, id_)
            # A record that is gone is no departure: only a last day is.
            if employee is not None:
                said += await self._say_of(delivery, organization, employee)
        return said

    async def _say_of(self, delivery: Delivery, organization: str, employee: Employee) -> int:
        async with self._pool.acquire() as conn:
            before = await self._last_said(conn, delivery.source, employee.worker)
            places = await picture_store.places(conn, organization)
        named = tuple(places.sites.get(site, site) for site in employee.sites)
        employee = employee.model_copy(update={"sites": named})
        was = before.employee if before else None
        today = delivery.received_at.astimezone(places.zone).date()
        said = list(statements(was, employee, today))
        departure = before.departure if before else None
        if takes_back_departure(was, employee) and departure is not None:
            said.append(("worker.rescinded", {"rescinds": departure}))
            departure = None
        documents = [_event(delivery, organization, employee, *each) for each in said]
        if documents:
            bound = {delivery.source: frozenset({organization})}
            receipt = await self._ingress.receive(documents, bound)
            for refused in receipt.refused:
                raise VendorRefused(f"what it comes to is refused: {refused.detail}")
        for document in documents:
            if document["type"] == "worker.terminated":
                departure = document["id"]
        keep = partial(self._keep_said, source=delivery.source, said=Said(employee, departure))
        await in_transaction(self._pool, keep)
        return len(documents)

    async def _last_said(self, conn: Connection, source: str, worker: str) -> Said | None:
        found = await store.last_said(conn, source, worker)
        if found is None:
            return None
        plain = orjson.loads(self._seal.open(_said(source, worker), *found))
        return Said(Employee.model_validate(plain["employee"]), plain["departure"])

    async def _keep_said(self, conn: Connection, source: str, said: Said) -> None:
        worker = said.employee.worker
        plain = {"employee": said.employee.model_dump(mode="json"), "departure": said.departure}
        nonce, sealed = self._seal.seal(_said(source, worker), orjson.dumps(plain))
        await store.keep_said(conn, source, worker, nonce, sealed)


def _event(
    delivery: Delivery,
    organization: str,
    employee: Employee,
    type_: str,
    data: Mapping[str, Any],
) -> dict[str, Any]:
    content = orjson.dumps(data, option=orjson.OPT_SORT_KEYS).decode()
    return {
        "specversion": "1.0",
        "id": event_id(type_, delivery.source, str(delivery.id), employee.worker, content),
        "type": type_,
        "source": delivery.source,
        "subject": employee.worker,
        "time": rfc3339(delivery.received_at),
        "organization": organization,
        "data": dict(data),
    }


def _delivery(id_: UUID) -> str:
    """What a sealed delivery is bound to, apart from everything else under the same key."""
    return f"vendor delivery {id_}"


def _said(source: str, worker: str) -> str:
    return f"vendor employee {source} {worker}"
