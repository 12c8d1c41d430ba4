"""A machine with a scripted DRBD, a clock of its own, and a memory that ends with the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from failoverd.drivers.drbd import driver, follow
from failoverd.drivers.drbd import memory as memories
from failoverd.records import records
from tests.unit.drivers.drbdstate.drbdsetups import FakeDrbd, nine


class Clock:
    """CLOCK_BOOTTIME as the test has it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(memories, "clock", clock)
    return clock


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where things are remembered."""
    monkeypatch.setattr(records, "directory", tmp_path / "memory")
    return tmp_path / "memory"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDrbd]:
    """A machine with DRBD 9, on which nobody waits for long."""
    monkeypatch.setattr(driver, "PAUSE", 0.01)
    monkeypatch.setattr(driver, "AGAIN", 0.1)
    monkeypatch.setattr(driver, "CLOSED", 0.05)
    monkeypatch.setattr(follow, "PAUSES", (0.02, 0.1))
    monkeypatch.setattr(follow, "ABSENT", 0.02)
    fake = nine(tmp_path, monkeypatch)
    yield fake
    fake.end()
