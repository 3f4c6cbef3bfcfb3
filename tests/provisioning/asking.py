"""Provisioning's API, asked over HTTP by people with scopes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from joserfc.jwk import OKPKey

from services.provisioning.api.routers import routers
from shared import problems
from shared.auth import Authenticator
from tests.provisioning.desk import Desk
from tests.provisioning.worlds import ORGANIZATION
from tests.shared.tokens import token, write_keys


@dataclass
class Asking:
    """Requests with a token of their own each."""

    http: httpx.AsyncClient
    key: OKPKey

    @classmethod
    def of(cls, desk: Desk, folder: Path) -> Asking:
        key = OKPKey.generate_key("Ed25519", {"kid": "k"})
        keys = write_keys(folder / "jwks.json", key)
        app = FastAPI()
        problems.install(app)
        answering = routers(
            desk.pool, Authenticator(keys), desk.recompute, desk.operations, desk.brake
        )
        for router in answering:
            app.include_router(router)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        return cls(httpx.AsyncClient(transport=transport, base_url="http://provisioning"), key)

    async def get(
        self, path: str, scopes: str = "access:read", status: int = 200, **params: Any
    ) -> Any:
        """The answer to a GET, which has this status."""
        answer = await self.http.get(path, params=params, headers=self._headers(scopes))
        assert answer.status_code == status, answer.text
        return answer.json()

    async def pages(self, path: str, name: str, **asked: str | int) -> list[Any]:
        """Everything that the pages of a list hold under `name`."""
        rows: list[Any] = []
        after: dict[str, str] = {}
        while True:
            answer = await self.http.get(
                path, params={**asked, **after}, headers=self._headers("access:read")
            )
            assert answer.status_code == 200, answer.text
            page = answer.json()
            rows += page[name]
            if page["next_cursor"] is None:
                return rows
            after = {"cursor": page["next_cursor"]}

    async def post(
        self,
        path: str,
        body: Any,
        scopes: str = "access:admin",
        status: int = 200,
        worker: str | None = None,
    ) -> Any:
        """The answer to a command, which has this status."""
        answer = await self.http.post(path, json=body, headers=self._headers(scopes, worker))
        assert answer.status_code == status, answer.text
        return answer.json()

    def _headers(self, scopes: str, worker: str | None = None) -> dict[str, str]:
        who: dict[str, Any] = {"sub": worker or "admin-1", **({"worker": worker} if worker else {})}
        made = token(self.key, scope=scopes, org=ORGANIZATION, **who)
        return {"authorization": f"Bearer {made}"}
