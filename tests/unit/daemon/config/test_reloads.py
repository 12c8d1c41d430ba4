"""A configuration is taken as a whole or not at all, whatever fails on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from structlog.testing import capture_logs

from failoverd.core import machine
from failoverd.core.effects import Observe
from failoverd.core.events import Reloaded, ResourceChanged
from failoverd.daemon import config, outputs, vip
from failoverd.daemon.config import reloads
from failoverd.daemon.config.settings import Settings
from failoverd.daemon.wiring import Daemon
from failoverd.drivers import exec as exec_driver
from failoverd.trouble import Troubles


def table(name: str, thing: Path) -> str:
    look = f"test -e {thing} || exit 3"
    return f"""
[instance.{name}]
vips = ["192.0.2.1/32"]
interface = "lo"
[instance.{name}.resource.disk]
driver = "exec"
activate = ["touch", "{thing}"]
deactivate = ["rm", "-f", "{thing}"]
observe = ["sh", "-c", "{look}"]
"""


class Node:
    """A service in this process, and what it has in force."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "failoverd.toml"
        self.thing = directory / "thing"
        self.file.write_text(table("VI_1", self.thing))
        (directory / "run").mkdir()
        settings = Settings(config=self.file, node="left", runtime_dir=directory / "run", state_dir=directory / "state")
        self.daemon = Daemon(settings, config.load(self.file, "left"))

    def in_force(self) -> dict[str, Any]:
        daemon = self.daemon
        return {
            "configuration": list(daemon.configuration.instances),
            "core": list(daemon.core.state.instances),
            "drivers": sorted({spec.instance for spec in daemon.executor._drivers}),
            "intake": sorted(daemon.inputs.intake.followed),
            "vips": len(daemon.inputs.vips._places),
        }

    async def reload(self) -> list[str]:
        """What SIGHUP does; what is logged then."""
        os.kill(os.getpid(), signal.SIGHUP)
        with capture_logs() as lines:
            async with asyncio.timeout(60):
                while not [line for line in lines if line["part"] in ("reload", "service")]:
                    await asyncio.sleep(0.01)
        return [line["event"] for line in lines]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path)
    running = asyncio.create_task(made.daemon.run())
    async with asyncio.timeout(60):
        while "VI_1" not in made.daemon.core.state.instances:
            assert not running.done()
            await asyncio.sleep(0.01)
    yield made
    made.daemon._end.set()
    await asyncio.wait_for(running, 20)


def fails(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("injected")


_advance = machine.advance


def core_fails(state: object, event: object, now: float) -> Any:
    if isinstance(event, Reloaded):
        fails()
    return _advance(state, event, now)  # type: ignore[arg-type]


STAGES = {
    "the file": (config, "load", fails),
    "a driver": (exec_driver, "make", fails),
    "a VIP": (vip, "places", fails),
    "the core": (machine, "advance", core_fails),
}


@pytest.mark.parametrize("stage", STAGES)
async def test_a_reload_that_fails_leaves_all_as_it_was(
    monkeypatch: pytest.MonkeyPatch, node: Node, stage: str
) -> None:
    before = node.in_force()
    assert before == {"configuration": ["VI_1"], "core": ["VI_1"], "drivers": ["VI_1"], "intake": ["VI_1"], "vips": 1}
    state = node.daemon.core.state
    node.file.write_text(table("VI_2", node.thing))
    with monkeypatch.context() as broken:
        broken.setattr(*STAGES[stage])
        await node.reload()
    assert node.in_force() == before
    assert node.daemon.core.state.instances["VI_1"].spec is state.instances["VI_1"].spec


@pytest.mark.parametrize("part", ["outputs.tell_keepalived", "inputs.keepalived.follow", "inputs.vips.watch"])
async def test_what_fails_after_the_core_keeps_nothing_else_back(
    monkeypatch: pytest.MonkeyPatch, node: Node, part: str
) -> None:
    node.file.write_text(table("VI_2", node.thing))
    owner: Any = node.daemon
    *path, name = part.split(".")
    for each in path:
        owner = getattr(owner, each)
    with monkeypatch.context() as broken:
        broken.setattr(owner, name, fails)
        await node.reload()
    assert {key: there for key, there in node.in_force().items() if key != "vips"} == {
        key: ["VI_2"] for key in ("configuration", "core", "drivers", "intake")
    }


async def test_what_is_asked_for_is_done_though_the_world_cannot_be_as_wanted(
    monkeypatch: pytest.MonkeyPatch, node: Node
) -> None:
    performed: list[object] = []
    with monkeypatch.context() as broken:
        broken.setattr(outputs.Outputs, "_discarded_states", fails)
        broken.setattr(node.daemon.outputs, "_discard", fails)
        broken.setattr(node.daemon.executor, "perform", performed.append)
        node.daemon.core.dispatch(ResourceChanged(instance="VI_1", resource="disk"))
    assert [type(effect) for effect in performed] == [Observe]


async def test_a_reload_is_taken(node: Node) -> None:
    node.file.write_text(table("VI_2", node.thing))
    await node.reload()
    assert node.in_force()["core"] == ["VI_2"]


async def test_what_was_not_taken_is_shown_until_it_is_mended(node: Node, troubles: Troubles) -> None:
    node.file.write_text("[instance.VI_1]\nvipz = 1\n")
    await node.reload()
    (trouble,) = troubles.standing
    assert (
        f'still using the previous configuration: {node.file}: instance.VI_1.vipz: unknown key; did you mean "vips"?'
        in (trouble.text)
    )
    assert trouble.text.endswith("; run: failoverd --check && systemctl reload failoverd")
    node.file.write_text(table("VI_2", node.thing))
    await node.reload()
    assert not troubles.standing


async def test_a_file_that_hangs_for_long_is_said_and_the_next_reload_is_taken(
    monkeypatch: pytest.MonkeyPatch, node: Node, troubles: Troubles
) -> None:
    gate = threading.Event()
    load = config.load

    def hanging(file: Path, name: str | None) -> config.Configuration:
        read = load(file, name)
        assert gate.wait(20)
        return read

    with monkeypatch.context() as broken:
        broken.setattr(config, "load", hanging)
        broken.setattr(reloads, "READ_TIMEOUT_S", 0.1)
        node.file.write_text(table("VI_2", node.thing))
        node.daemon.reloads.begin()
        async with asyncio.timeout(60):
            while not troubles.standing:
                await asyncio.sleep(0.01)
    (trouble,) = troubles.standing
    assert "systemctl reload failoverd" in trouble.text
    node.file.write_text(table("VI_3", node.thing))
    await node.reload()
    assert node.in_force()["core"] == ["VI_3"]
    assert not troubles.standing
    gate.set()
    async with asyncio.timeout(60):
        while [thread for thread in threading.enumerate() if thread.name == "waiting"]:
            await asyncio.sleep(0.01)
    assert node.in_force()["core"] == ["VI_3"], "what came too late is not taken"


async def test_a_file_that_hangs_stops_nothing(monkeypatch: pytest.MonkeyPatch, node: Node) -> None:
    """What is asked for meanwhile is read once more after that, and the last of it counts."""
    gate = threading.Event()
    reads: list[Path] = []
    load = config.load

    def hanging(file: Path, name: str | None) -> config.Configuration:
        reads.append(file)
        read = load(file, name)
        assert gate.wait(20)
        return read

    monkeypatch.setattr(config, "load", hanging)
    node.file.write_text(table("VI_2", node.thing))
    node.daemon.reloads.begin()
    async with asyncio.timeout(60):
        while not reads:
            await asyncio.sleep(0.01)
    assert node.in_force()["core"] == ["VI_1"]
    node.file.write_text(table("VI_3", node.thing))
    for _ in range(3):
        node.daemon.reloads.begin()
    gate.set()
    async with asyncio.timeout(60):
        while node.in_force()["core"] != ["VI_3"]:
            await asyncio.sleep(0.01)
    assert len(reads) == 2
