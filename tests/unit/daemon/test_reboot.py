"""The last resort: what replaces the kernel's trigger here is a file."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from failoverd.daemon import reboot


@pytest.fixture(autouse=True)
def long_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: 1000.0)


def test_it_syncs_and_then_reboots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trigger, order = tmp_path / "trigger", []
    trigger.write_text("")
    monkeypatch.setattr("os.sync", lambda: order.append(trigger.read_text()))
    thread = reboot.reboot("guest cannot be stopped", trigger=trigger)
    assert thread is not None
    thread.join(10)
    assert (order, trigger.read_text()) == ([""], "b")


def test_a_disk_that_hangs_does_not_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    monkeypatch.setattr("os.sync", hanging.wait)
    monkeypatch.setattr(reboot, "SYNC", 0.05)
    thread = reboot.reboot("guest cannot be stopped", trigger=tmp_path / "trigger")
    assert thread is not None
    thread.join(10)
    assert (tmp_path / "trigger").read_text() == "b"
    hanging.set()


def test_a_machine_that_has_just_booted_is_not_rebooted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: 299.0)
    with capture_logs() as lines:
        assert reboot.reboot("guest cannot be stopped", trigger=tmp_path / "trigger") is None
    assert not (tmp_path / "trigger").exists()
    assert "Cut its power" in lines[0]["event"]


def test_what_cannot_be_triggered_asks_for_the_power_to_be_cut(tmp_path: Path) -> None:
    with capture_logs() as lines:
        thread = reboot.reboot("guest cannot be stopped", trigger=tmp_path)
        assert thread is not None
        thread.join(10)
    assert "cut its power" in lines[-1]["event"]
