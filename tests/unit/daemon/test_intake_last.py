"""The newest states, kept for the daemon's next life."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from failoverd.core.model import VrrpState
from failoverd.core.ordering import Newest
from failoverd.daemon.intake import lastevents
from failoverd.daemon.intake.errors import Complaints
from failoverd.daemon.intake.lastevents import LastEvents

MASTER = Newest(name="VI_1", state=VrrpState.MASTER, hook=(100, 7), fifo=101)
BACKUP = Newest(name="VI_1", state=VrrpState.BACKUP, hook=(200, 8), fifo=None)
OTHER = Newest(name='odd "name" grün', state=VrrpState.FAULT, hook=None, fifo=3)


def last_events(path: Path, boot: str = "now") -> LastEvents:
    return LastEvents(path, boot, Complaints(lambda: 0.0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last-events"


def kept(path: Path, boot: str = "now") -> list[Newest]:
    last = last_events(path, boot)
    found = last.restore()
    last.close()
    return found


def test_the_newest_of_each_is_restored(path: Path) -> None:
    last = last_events(path)
    assert last.restore() == []
    last.write([MASTER, OTHER])
    last.write([BACKUP])
    last.close()
    assert kept(path) == [BACKUP, OTHER]
    assert kept(path) == [BACKUP, OTHER]


def test_a_reboot_forgets(path: Path) -> None:
    last = last_events(path)
    last.restore()
    last.write([MASTER])
    last.close()
    assert kept(path, "later") == []


def test_every_truncation_of_the_file_restores_what_was_written_before(path: Path) -> None:
    last = last_events(path)
    last.restore()
    last.write([MASTER])
    first = path.stat().st_size
    last.write([BACKUP])
    last.close()
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        expected = [] if length < first - 1 else [MASTER] if length < len(whole) - 1 else [BACKUP]
        assert kept(path) == expected


@pytest.mark.parametrize("garbage", [b"\xff\xfe", b"[]", b"{}", b'{"boot": "now", "name": "x"}', b"1", b"\0" * 100])
def test_garbage_is_skipped(path: Path, garbage: bytes) -> None:
    last = last_events(path)
    last.restore()
    last.write([MASTER])
    last.close()
    path.write_bytes(garbage + b"\n" + path.read_bytes() + garbage)
    assert kept(path) == [MASTER]


def test_the_file_stays_small(path: Path) -> None:
    last = last_events(path)
    last.restore()
    for _ in range(3_000):
        last.write([MASTER, OTHER])
        assert path.stat().st_size <= lastevents.COMPACT
    last.write([BACKUP])
    last.close()
    assert kept(path) == [BACKUP, OTHER]


def test_trouble_is_never_fatal_and_passes(path: Path) -> None:
    path.mkdir()
    last = last_events(path)
    assert last.restore() == []
    last.write([MASTER])
    path.rmdir()
    last.write([OTHER])
    last.close()
    assert kept(path) == [MASTER, OTHER]


def test_a_short_write_does_not_garble_what_follows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = last_events(path)
    last.restore()
    last.write([OTHER])
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
        last.write([MASTER])
    last.write([BACKUP])
    last.close()
    assert kept(path) == [OTHER, BACKUP]
