"""The newest states, kept for the daemon's next life."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from failoverd.core.ordering import Newest
from failoverd.core.words import VrrpState
from failoverd.daemon.intake.errors import Rejections
from failoverd.daemon.intake.last_events import LastEvents
from failoverd.records import Records

MASTER = Newest(name="VI_1", state=VrrpState.MASTER, hook=(100, 7), fifo=101)
BACKUP = Newest(name="VI_1", state=VrrpState.BACKUP, hook=(200, 8), fifo=None)
VOID = Newest(name="VI_2", state=None, hook=None, fifo=5, since=9)
OTHER = Newest(name='odd "name" grün', state=VrrpState.FAULT, hook=None, fifo=3)


def last_events(runtime_dir: Path) -> LastEvents:
    return LastEvents(Records(runtime_dir), Rejections(lambda: 0.0))


def test_the_newest_of_each_is_restored(tmp_path: Path) -> None:
    last = last_events(tmp_path)
    assert last.restore() == []
    assert last.write([MASTER, OTHER, VOID])
    assert last.write([BACKUP])
    following = last_events(tmp_path)
    assert following.restore() == [BACKUP, OTHER, VOID]
    following.write([MASTER])
    assert last_events(tmp_path).restore() == [MASTER, OTHER, VOID]


@pytest.mark.parametrize(
    "entry", [None, 1, "MASTER", [], ["MASTER"], ["MASTRE", None, None, None], ["MASTER", [1], None, None]]
)
def test_what_is_not_understood_is_not_believed(tmp_path: Path, entry: Any) -> None:
    last_events(tmp_path).write([MASTER, OTHER])
    file = tmp_path / "records" / "last-events"
    content = json.loads(file.read_text())
    content["told"]["VI_1"] = entry
    file.write_text(json.dumps(content))
    assert last_events(tmp_path).restore() == [OTHER]


@pytest.mark.parametrize("told", [None, [], 1])
def test_nothing_that_is_understood_is_nothing(tmp_path: Path, told: Any) -> None:
    Records(tmp_path).write("last-events", {"told": told})
    assert last_events(tmp_path).restore() == []


def test_what_could_not_be_recorded_is_recorded_with_the_next(tmp_path: Path) -> None:
    last = last_events(tmp_path)
    (tmp_path / "records").write_text("no directory")
    assert not last.write([MASTER])
    assert not last.write([])
    (tmp_path / "records").unlink()
    assert last.write([OTHER])
    assert last_events(tmp_path).restore() == [MASTER, OTHER]
