"""The last resort: what replaces the kernel's trigger here is a file."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from failoverd.daemon import reboot
from failoverd.daemon.reboot import Reboot
from failoverd.records import records


@pytest.fixture(autouse=True)
def long_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: 1000.0)


def rebooted(trigger: Path) -> Reboot:
    wanted = Reboot(trigger)
    wanted.want("guest cannot be stopped")
    assert wanted.thread is not None
    wanted.thread.join(60)
    return wanted


def test_it_syncs_and_then_reboots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trigger, order = tmp_path / "trigger", []
    trigger.write_text("")
    monkeypatch.setattr("os.sync", lambda: order.append(trigger.read_text()))
    rebooted(trigger)
    assert (order, trigger.read_text()) == ([""], "b")


def test_what_could_not_be_triggered_is_triggered_later(tmp_path: Path) -> None:
    wanted = rebooted(tmp_path / "not there" / "trigger")
    (tmp_path / "not there").mkdir()
    wanted.want("guest cannot be stopped")
    assert wanted.thread is not None
    wanted.thread.join(60)
    assert (tmp_path / "not there" / "trigger").read_text() == "b"


def test_without_a_thread_it_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Reboot(tmp_path / "trigger")

    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as scarce:
        scarce.setattr(threading.Thread, "start", full)
        wanted.want("guest cannot be stopped")
    wanted.want("guest cannot be stopped")
    assert wanted.thread is not None
    wanted.thread.join(60)
    assert (tmp_path / "trigger").read_text() == "b"


def test_what_ends_meanwhile_is_no_reason_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    monkeypatch.setattr("os.sync", hanging.wait)
    wanted = Reboot(tmp_path / "trigger")
    wanted.want("guest cannot be stopped")
    wanted.want("")
    hanging.set()
    assert wanted.thread is not None
    wanted.thread.join(60)
    assert not (tmp_path / "trigger").exists()


def test_a_disk_that_hangs_does_not_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    monkeypatch.setattr("os.sync", hanging.wait)
    monkeypatch.setattr(reboot, "SYNC_TIMEOUT_S", 0.05)
    rebooted(tmp_path / "trigger")
    assert (tmp_path / "trigger").read_text() == "b"
    hanging.set()


def test_a_machine_that_has_just_booted_is_not_rebooted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: 299.0)
    with capture_logs() as lines:
        wanted = Reboot(tmp_path / "trigger")
        wanted.want("guest cannot be stopped")
        wanted.want("guest cannot be stopped")
    assert not (tmp_path / "trigger").exists()
    assert ["cut its power" in line["event"] for line in lines] == [True]
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: 301.0)
    wanted.want("guest cannot be stopped")
    assert wanted.thread is not None
    wanted.thread.join(60)
    assert (tmp_path / "trigger").read_text() == "b"


def test_what_cannot_be_triggered_asks_for_the_power_to_be_cut(tmp_path: Path) -> None:
    with capture_logs() as lines:
        rebooted(tmp_path)
    assert "cut its power" in lines[-1]["event"]


def test_what_may_be_active_is_known_to_the_next_daemon(tmp_path: Path) -> None:
    records.move(tmp_path)
    assert reboot.recall() == frozenset()
    reboot.remember(frozenset({("VI_1", "guest")}))
    assert reboot.recall() == {("VI_1", "guest")}
    (tmp_path / "records" / "maybe-active").write_text('{"boot": "another", "resources": [["VI_1", "guest"]]}')
    assert reboot.recall() == frozenset(), "another boot ended it"
