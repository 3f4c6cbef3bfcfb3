"""The API as people use it: signed in as somebody, asking and deciding."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import OKPKey

from shared.auth import ISSUER
from tests.review_scheduler.worlds import ORGANIZATION

REVIEWS = "/review/v1/reviews"
CAMPAIGNS = "/review/v1/campaigns"


class Clinic:
    """The service's API, and people who sign in to it."""

    def __init__(self, http: httpx.AsyncClient, key: OKPKey) -> None:
        self.http = http
        self._key = key

    def _token(self, subject: str, worker: str | None, scopes: str) -> str:
        claims = {
            "iss": ISSUER,
            "aud": ISSUER,
            "sub": subject,
            "org": ORGANIZATION,
            "scope": scopes,
            "exp": int((datetime.now(UTC) + timedelta(minutes=4)).timestamp()),
        }
        if worker:
            claims["worker"] = worker
        header = {"alg": "Ed25519", "kid": self._key.kid}
        return jwt.encode(header, claims, self._key, algorithms=["Ed25519"])

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        worker: str | None = "sam",
        scopes: str = "review:decide",
        key: str | None = None,
    ) -> httpx.Response:
        """One request by somebody."""
        headers = {"authorization": f"Bearer {self._token(worker or 'chief', worker, scopes)}"}
        if key:
            headers["idempotency-key"] = key
        return await self.http.request(method, path, json=body, headers=headers)

    async def only_review(self) -> dict[str, Any]:
        """The one review that sam has, with its lines."""
        listed = (await self.ask("GET", REVIEWS)).json()["reviews"]
        assert len(listed) == 1
        found: dict[str, Any] = (
            await self.ask("GET", f"{REVIEWS}/{listed[0]['review_id']}")
        ).json()
        return found


def deciding(review: dict[str, Any], *decisions: str) -> dict[str, Any]:
    """The body that decides on the review's lines in their order."""
    return {
        "decisions": [
            {
                "line_id": line["line_id"],
                "decision": decision,
                "reason": "not needed any more" if decision == "remove" else None,
            }
            for line, decision in zip(review["lines"], decisions, strict=False)
        ]
    }
