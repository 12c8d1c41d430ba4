"""A machine with a scripted DRBD, a clock of its own, and a record that ends with the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from failoverd.drivers.drbd import driver, follow, staleness
from failoverd.records import records
from tests.unit.ports.drbd.drbdsetups import FakeDrbd, nine


class Clock:
    """CLOCK_BOOTTIME as the test has it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(staleness, "clock", clock)
    return clock


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where things are remembered."""
    monkeypatch.setattr(records, "directory", tmp_path / "record")
    monkeypatch.setattr(records, "spare", tmp_path / "spare")
    return tmp_path / "record"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDrbd]:
    """A machine with DRBD 9, on which nobody waits for long."""
    monkeypatch.setattr(driver, "PROMOTION_RETRY_S", 0.01)
    monkeypatch.setattr(driver, "RECHECK_INTERVAL_S", 0.1)
    monkeypatch.setattr(driver, "DEMOTION_RETRY_S", 0.05)
    monkeypatch.setattr(follow, "RESTART_PAUSES_S", (0.02, 0.1))
    monkeypatch.setattr(follow, "MODULE_CHECK_INTERVAL_S", 0.02)
    fake = nine(tmp_path, monkeypatch)
    yield fake
    fake.end()
