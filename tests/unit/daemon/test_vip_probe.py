"""A VIP that another station has too becomes an event, if the station still has it a second later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from failoverd.core.effects import ProbeVips
from failoverd.core.events import VipElsewhere
from failoverd.core.spec import Vip
from failoverd.daemon import vip_probe
from failoverd.daemon.vip_probe import VipProbe
from failoverd.ports.errors import DriverError

FIRST, SECOND = (Vip(address=f"192.0.2.{number}/32", interface="eth0") for number in (1, 2))
STATION, OTHER = "02:00:00:00:00:02", "02:00:00:00:00:03"

Answer = str | Exception | None


@dataclass
class Scripted:
    """The port. It answers for a VIP what is in `answers`, in order, and nothing after that."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    asking: int = 0
    most: int = 0
    closed: bool = False
    hangs: bool = False
    asked: Callable[[], None] = lambda: None

    async def elsewhere(self, address: str, interface: str, timeout: float) -> str | None:
        assert timeout == 0.3
        self.calls.append((address, interface))
        self.asked()
        self.asking += 1
        self.most = max(self.most, self.asking)
        await (asyncio.Event().wait() if self.hangs else asyncio.sleep(0))
        self.asking -= 1
        script = self.answers.get(address, [])
        answer = script.pop(0) if script else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.closed = True


@dataclass
class Desk:
    port: Scripted = field(default_factory=Scripted)
    present: dict[str, list[Vip]] = field(default_factory=lambda: {"VI_1": [FIRST]})
    told: list[VipElsewhere] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    probe: VipProbe = field(init=False)

    def __post_init__(self) -> None:
        self.probe = VipProbe(lambda name: self.present.get(name, []), self.told.append)

    async def ask(self, *names: str) -> None:
        """Ask for the instances, and wait until all is said."""
        for name in names:
            self.probe.perform(ProbeVips(instance=name))
        await self.until(lambda: not self.busy())

    @staticmethod
    def busy() -> bool:
        """Whether a task runs beside the test's own."""
        return len(asyncio.all_tasks()) > 1

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not true():
                await asyncio.sleep(0)


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """A probe whose pauses take no time."""
    port, sleep = Scripted(), asyncio.sleep
    monkeypatch.setattr(vip_probe, "Neighbours", lambda: port)
    made = Desk(port=port)

    async def pause(seconds: float) -> None:
        if seconds:
            made.pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", pause)
    yield made
    await made.probe.close()


async def test_a_station_that_answers_twice_is_told(desk: Desk) -> None:
    desk.port.answers["192.0.2.1/32"] = [STATION, STATION]
    await desk.ask("VI_1")
    assert desk.told == [VipElsewhere(instance="VI_1", vip=FIRST, station=STATION)]
    assert desk.port.calls == [("192.0.2.1/32", "eth0")] * 2
    assert desk.pauses == [1.0]


@pytest.mark.parametrize("answers", [[], [STATION], [STATION, OTHER], [STATION, DriverError("the interface is gone")]])
async def test_one_that_gives_way_or_is_silent_is_not(desk: Desk, answers: list[Answer]) -> None:
    desk.port.answers["192.0.2.1/32"] = answers
    await desk.ask("VI_1")
    assert desk.told == []


async def test_a_vip_that_has_left_meanwhile_has_moved_there(desk: Desk) -> None:
    desk.port.answers["192.0.2.1/32"] = [STATION, STATION]
    desk.port.asked = lambda: desk.present.clear() if len(desk.port.calls) > 1 else None
    await desk.ask("VI_1")
    assert (desk.told, len(desk.port.calls)) == ([], 2)


async def test_one_vip_that_cannot_be_asked_for_hides_no_other(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.present["VI_1"] = [FIRST, SECOND]
    desk.port.answers = {"192.0.2.1/32": [DriverError("it is no Ethernet")], "192.0.2.2/32": [STATION, STATION]}
    await desk.ask("VI_1")
    assert [each.vip for each in desk.told] == [SECOND]
    assert caplog.records == []


async def test_one_vip_of_an_instance_is_enough(desk: Desk) -> None:
    desk.present["VI_1"] = [FIRST, SECOND]
    desk.port.answers = {vip.address: [STATION, STATION] for vip in (FIRST, SECOND)}
    await desk.ask("VI_1")
    assert [each.vip for each in desk.told] == [FIRST]


async def test_a_thousand_instances_are_probed_one_after_the_other(desk: Desk) -> None:
    names = [f"VI_{number}" for number in range(1000)]
    desk.present = {name: [FIRST] for name in names}
    await desk.ask(*names, *names)
    assert (len(desk.port.calls), desk.port.most) == (1000, 1)


async def test_it_probes_again_when_it_is_asked_again(desk: Desk) -> None:
    await desk.ask("VI_1")
    await desk.ask("VI_1")
    assert len(desk.port.calls) == 2


async def test_an_instance_without_a_vip_here_asks_nobody(desk: Desk) -> None:
    await desk.ask("VI_GONE")
    assert desk.port.calls == []


async def test_a_bug_in_one_probe_keeps_no_other_from_its_turn(desk: Desk) -> None:
    desk.present["VI_2"] = [SECOND]
    desk.port.answers = {"192.0.2.1/32": [RuntimeError("a bug")], "192.0.2.2/32": [STATION, STATION]}
    await desk.ask("VI_1", "VI_2")
    assert [each.vip for each in desk.told] == [SECOND]


async def test_the_end_waits_for_no_answer(desk: Desk) -> None:
    desk.port.hangs = True
    desk.probe.perform(ProbeVips(instance="VI_1"))
    await desk.until(lambda: desk.port.asking == 1)
    await desk.probe.close()
    assert (desk.port.closed, desk.told) == (True, [])
