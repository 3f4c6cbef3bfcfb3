"""A connector is one class in one file and its line in a mapping; this file adds one."""

from dataclasses import dataclass, field

from services.provisioning.connectors.protocol import Answer, Asked, Done, NotNow
from services.provisioning.connectors.running import ConnectorRunner
from shared.contracts.directory import Directory
from tests.provisioning.desk import Desk, hire, leave_now
from tests.provisioning.worlds import directory


@dataclass
class Courier:
    """Takes operations somewhere, and is asked again for what it was too busy for."""

    name: str = "courier"
    carried: list[tuple[str, str]] = field(default_factory=list)
    busy: bool = False

    async def carry_out(self, asked: Asked) -> Answer:
        if self.busy:
            return NotNow("on the road", after_seconds=60)
        self.carried.append((asked.operation.worker, asked.operation.kind.value))
        return Done("signed for at the desk", asked.login_id or f"{asked.operation.worker}@mac")


def served_by(connector: str) -> Directory:
    document = directory().model_dump(mode="json")
    mac = next(portal for portal in document["portals"] if portal["id"] == "mac")
    mac["connector"] = connector
    return Directory.model_validate(document)


async def test_a_connector_is_one_file_and_one_line_of_configuration(desk: Desk) -> None:
    courier = Courier()
    running = ConnectorRunner(desk.pool, desk.recompute, desk.operations, {"courier": courier})
    await desk.apply_directory(served_by("courier"))
    await desk.hear(hire())
    while await running.work():
        pass
    mac = next(one for one in (await desk.state())["portals"] if one["portal"] == "mac")
    assert (mac["status"], mac["grade"], mac["login_id"]) == ("active", "api", "w1@mac")
    courier.busy = True
    await desk.hear(leave_now())
    assert not await running.work()
    assert "mac" in {item["portal"] for item in await desk.work()}, "a removal stays in sight"
    courier.busy = False
    await desk.pass_time(hours=1)
    while await running.work():
        pass
    assert courier.carried == [("w1", "open"), ("w1", "suspend")]
    assert "mac" not in {portal for portal, _ in await desk.effective()}


async def test_what_no_connector_has_the_name_of_waits_for_a_person(desk: Desk) -> None:
    running = ConnectorRunner(desk.pool, desk.recompute, desk.operations, {"courier": Courier()})
    await desk.apply_directory(served_by("carrier-pigeon"))
    await desk.hear(hire())
    assert not await running.work()
    assert "mac" in {item["portal"] for item in await desk.work()}
