"""What the example says when it cannot be played."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request

from deploy.story.services import Installed, Services, StoryFailed
from shared import problems
from shared.errors import Problem
from tests.audit_log.worlds import serving


async def test_data_of_another_versions_example_are_told_with_what_to_do(tmp_path: Path) -> None:
    played = FastAPI()
    problems.install(played)

    @played.post("/session/token")
    async def token(request: Request) -> dict[str, Any]:
        here = str(request.base_url)
        services = dict.fromkeys(("gateway", "provisioning", "audit", "review"), here)
        return {"token": "t", "expires_in": 300, "services": services}

    @played.post("/access/v1/directory")
    async def apply() -> None:
        raise Problem(422, "idempotency_key_reused", "This key was used for another body.")

    async def sign_in(role: str) -> str:
        raise AssertionError(f"nobody signs in as {role}")

    async with (
        serving(played) as url,
        Services(Installed(url, "s", sign_in, tmp_path)) as services,
    ):
        with pytest.raises(StoryFailed, match="make clean"):
            await services.post("provisioning", "/access/v1/directory", {}, key="story-1")
