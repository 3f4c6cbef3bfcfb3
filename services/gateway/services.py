"""The other services as the gateway asks them: their HTTP APIs, with a token for who acts."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

import httpx
from joserfc.jwk import OKPKey

from services.gateway.settings import Settings
from services.gateway.tokens import mint
from shared.auth import Principal
from shared.errors import Problem

ServiceName = Literal["provisioning", "audit", "review"]

ZONE_CACHE_SECONDS = 60
UTC_ZONE = ZoneInfo("UTC")


class ServiceDown(Exception):
    """A service does not answer, or answers nonsense."""

    def __init__(self, service: ServiceName, why: str) -> None:
        super().__init__(f"{service}: {why}")
        self.service = service
        self.why = why


class Services:
    """Requests to the services, each with a fresh token of the person who is looking."""

    def __init__(self, http: httpx.AsyncClient, key: OKPKey, settings: Settings) -> None:
        self._http = http
        self._key = key
        self._urls: dict[ServiceName, str] = {
            "provisioning": settings.provisioning_url.rstrip("/"),
            "audit": settings.audit_url.rstrip("/"),
            "review": settings.review_url.rstrip("/"),
        }
        self._zones: dict[str, tuple[float, ZoneInfo]] = {}

    async def get(
        self,
        who: Principal,
        service: ServiceName,
        path: str,
        params: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON answer to a GET.

        Raises:
            ServiceDown: no usable answer.
            Problem: the service's own refusal.
        """
        asked = {name: value for name, value in (params or {}).items() if value}
        return await self._ask(who, service, "GET", path, params=asked)

    async def post(
        self,
        who: Principal,
        service: ServiceName,
        path: str,
        body: Mapping[str, Any],
        idempotency_key: str,
    ) -> Any:
        """The JSON answer to a command, which takes effect once however often it is sent.

        Raises:
            ServiceDown: no usable answer; whether the command took effect is unknown.
            Problem: the service's own refusal.
        """
        return await self._ask(
            who,
            service,
            "POST",
            path,
            json=body,
            headers={"Idempotency-Key": idempotency_key},
        )

    @asynccontextmanager
    async def stream(
        self,
        who: Principal,
        service: ServiceName,
        path: str,
        headers: Mapping[str, str],
    ) -> AsyncIterator[httpx.Response]:
        """An open answer whose body keeps coming.

        Raises:
            ServiceDown: no usable answer.
        """
        request = self._http.build_request(
            "GET",
            self._urls[service] + path,
            headers={**self._authorization(who), **headers},
            timeout=httpx.Timeout(10, read=None),
        )
        try:
            response = await self._http.send(request, stream=True)
        except httpx.HTTPError as error:
            raise ServiceDown(service, type(error).__name__) from error
        try:
            if response.status_code != 200:
                raise ServiceDown(service, f"answered {response.status_code}")
            yield response
        finally:
            await response.aclose()

    async def zone(self, who: Principal) -> ZoneInfo:
        """The organization's zone; UTC while provisioning cannot tell."""
        known = self._zones.get(who.organization)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        try:
            return await self.zone_for_certain(who)
        except (ServiceDown, LookupError):
            return known[1] if known else UTC_ZONE

    async def zone_for_certain(self, who: Principal) -> ZoneInfo:
        """The organization's zone.

        Raises:
            ServiceDown: provisioning does not answer.
            LookupError: it knows of no zone.
        """
        try:
            # Everybody may read the directory; the overview is not for every worker.
            found = await self.get(who, "provisioning", "/access/v1/directory")
            zone = ZoneInfo(found["directory"]["organization"]["zone"])
        except (Problem, KeyError, TypeError, ValueError) as error:
            raise LookupError(f"{who.organization} has no zone") from error
        self._zones[who.organization] = (time.monotonic() + ZONE_CACHE_SECONDS, zone)
        return zone

    async def ids_of(self, who: Principal, worker: str) -> set[str]:
        """Every worker id of a person, as far as `who` may know; the one given at least.

        Raises:
            ServiceDown: provisioning does not answer.
        """
        if not who.may("access:read", "access:admin"):
            # A refusal there would go on record with the worker's id.
            return {worker}
        try:
            found = await self.get(
                who, "provisioning", f"/access/v1/workers/{quote(worker, safe='')}"
            )
        except Problem:
            return {worker}
        state = found["state"]
        return {worker, *state["aliases"], *filter(None, [state["merged_into"]])}

    def _authorization(self, who: Principal) -> dict[str, str]:
        return {"Authorization": f"Bearer {mint(self._key, who)}"}

    async def _ask(
        self,
        who: Principal,
        service: ServiceName,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        try:
            response = await self._http.request(
                method,
                self._urls[service] + path,
                params=params,
                json=json,
                headers={**self._authorization(who), **(headers or {})},
            )
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ServiceDown(service, type(error).__name__) from error
        if response.status_code >= 500 or not isinstance(answer, dict):
            raise ServiceDown(service, f"answered {response.status_code}")
        if response.is_error:
            refused = Problem(
                response.status_code,
                str(answer.get("code", "refused")),
                str(answer.get("detail", "The service refused without saying why.")),
                answer.get("errors", ()),
            )
            refused.said = True  # by the service itself
            raise refused
        return answer
