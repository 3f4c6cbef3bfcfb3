"""Somebody who is not staff needs a sponsor, who works here."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.provisioning.desk import Desk, RawRecord, hire, hr_record, leave_now
from tests.provisioning.worlds import NOW


async def asked(desk: Desk, worker: str = "w1") -> list[str]:
    return [finding["rule"] for finding in (await desk.state(worker))["findings"]]


def contractor(**more: Any) -> RawRecord:
    return hire("w1", kind="contractor", **more)


def changed(supervisor: str) -> RawRecord:
    return hr_record(
        "worker.changed",
        id_=f"now-{supervisor}",
        employment_id="w1-e1",
        effective_on="2026-06-01",
        supervisor=supervisor,
    )


async def test_a_contractor_for_whom_nobody_answers_is_a_question_to_hr(desk: Desk) -> None:
    await desk.hear(contractor(), hire("w2"))
    assert await asked(desk) == ["sponsor_missing"]
    assert await asked(desk, "w2") == [], "staff need none"
    await desk.hear(changed("w2"))
    assert await asked(desk) == []
    assert len(await desk.published("finding.resolved")) == 1


ARRIVALS: dict[str, Sequence[RawRecord]] = {
    "left later": [hire("w2"), contractor(supervisor="w2"), leave_now("w2")],
    "left before": [hire("w2"), leave_now("w2"), contractor(supervisor="w2")],
    "not heard of yet": [contractor(supervisor="w2"), hire("w2"), leave_now("w2")],
}


@pytest.mark.parametrize("records", ARRIVALS.values(), ids=ARRIVALS)
async def test_a_contractor_whose_sponsor_has_left_is_a_question_until_hr_names_another(
    desk: Desk, records: Sequence[RawRecord]
) -> None:
    for record in records:
        await desk.hear(record)
    await desk.finish_all("w1")
    await desk.pass_time()
    assert await asked(desk) == ["sponsor_left"]
    assert await desk.effective(), "the access stays until somebody has looked"
    await desk.hear(hire("w3"), changed("w3"))
    await desk.pass_time()
    assert await asked(desk) == []


async def test_a_sponsor_who_comes_back_answers_again(desk: Desk) -> None:
    await desk.hear(hire("w2"), contractor(supervisor="w2"), leave_now("w2"))
    await desk.pass_time()
    withdrawn = hr_record("worker.rescinded", "w2", id_="r", time=NOW, rescinds="w2-terminated")
    await desk.hear(withdrawn)
    await desk.pass_time()
    assert await asked(desk) == []
