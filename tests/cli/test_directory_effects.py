"""Whose access a plan changes, however many they are."""

from itertools import islice
from typing import Any

from services.cli.client import Client
from services.cli.directory import effects_of

PEOPLE = [{"worker": f"w{number:03}"} for number in range(120)]


class Paged:
    """Provisioning's answers, at most fifty people each."""

    every = Client.every

    def __init__(self) -> None:
        self.asked = 0

    def get(self, _service: str, _path: str, params: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        start = int(params["cursor"] or "0")
        end = start + min(params["limit"], 50)
        following = str(end) if end < len(PEOPLE) else None
        return {"effects": PEOPLE[start:end], "next_cursor": following}


def test_everybody_whom_a_plan_concerns_is_told_beyond_the_first_page() -> None:
    provisioning: Any = Paged()
    assert list(effects_of(provisioning, "plan")) == PEOPLE


def test_only_what_is_shown_is_asked_for() -> None:
    provisioning: Any = Paged()
    assert len(list(islice(effects_of(provisioning, "plan"), 50))) == 50
    assert provisioning.asked == 1
