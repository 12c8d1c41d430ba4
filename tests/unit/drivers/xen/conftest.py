"""A machine with Xen on which nothing happens that the test did not say."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from failoverd.core.spec import ResourceSpec
from failoverd.drivers.xen import Options, config, events, files, guest, make
from failoverd.drivers.xen.guest import Guest
from failoverd.ports import graceful_stop
from failoverd.records import records
from tests.unit.drivers.xen.xens import FakeProcesses, FakeXen, recorded
from tests.unit.ports.drbd.drbdsetups import bare

_WEB = recorded("dryrun-web")[0]

#: A web.cfg whose disks are there and no DRBD devices, as `xl -N create` tells it; and one whose disks are.
PLAIN = _WEB.replace("/dev/vdb", "/dev/null").replace("/dev/vdc", "/dev/zero")
ON_DRBD = _WEB.replace("/dev/vdb", "/dev/drbd0").replace("/dev/vdc", "/dev/drbd1")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeXen:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(guest, "CHECK_INTERVAL_S", 0.01)
    monkeypatch.setattr(guest, "LONGEST_CHECK_INTERVAL_S", 0.05)
    monkeypatch.setattr(guest, "SETTLING_TIMEOUT_S", 0.1)
    monkeypatch.setattr(config, "XL_CONF", tmp_path / "xl.conf")
    monkeypatch.setattr(events, "_files", {})
    monkeypatch.setattr(events, "_again", set())
    monkeypatch.setattr(files, "DIRECTORIES", (str(tmp_path),))
    monkeypatch.setattr(records, "directory", tmp_path / "memory")
    monkeypatch.setattr(records, "spare", tmp_path / "spare")
    bare(tmp_path, monkeypatch)
    fake = FakeXen(tmp_path / "bin")
    fake.transcript("xl info", "info")
    return fake


@pytest.fixture(autouse=True)
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProcesses:
    processes = FakeProcesses(tmp_path / "proc")
    monkeypatch.setattr("failoverd.osutil.processes.PROC", processes.root)
    return processes


@pytest.fixture
def cfg(tmp_path: Path, fake: FakeXen) -> str:
    """The configuration file of web, which xl understands."""
    path = tmp_path / "web.cfg"
    path.write_text("name = 'web'\n")
    fake.answer(f"xl -N create {path}", PLAIN)
    return str(path)


@pytest.fixture
def web(cfg: str) -> Guest:
    """The driver of web. Its times are such that no test waits for one that does not want to."""
    return make(
        Options(config=cfg), ResourceSpec(instance="VI_1", name="web", driver="xen", timeout=40.0, stop_timeout=20.0)
    )


class Clock:
    """The clock of a stop: it stands still, and goes on by 600 s as soon as the next of `steps` is true."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], bool]] = []
        self._now = 0.0

    def monotonic(self) -> float:
        if self.steps and self.steps[0]():
            del self.steps[0]
            self._now += 600.0
        return self._now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (guest, graceful_stop):
        monkeypatch.setattr(module, "time", made)
    return made


def quick(cfg: str, *, timeout: float = 0.6, stop_timeout: float = 0.4) -> Guest:
    """The driver of web, for what is not to succeed."""
    return make(
        Options(config=cfg),
        ResourceSpec(instance="VI_1", name="web", driver="xen", timeout=timeout, stop_timeout=stop_timeout),
    )
