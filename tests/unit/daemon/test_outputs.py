"""Each thing that the state wants of the world is done, whatever becomes of the others."""

from __future__ import annotations

import math
from pathlib import Path
from unittest.mock import Mock

import pytest

from failoverd.core.requests import HandoverWanted, OnlineWanted, StandbyWanted
from failoverd.core.words import OnFailure, Outcome, VrrpState
from failoverd.daemon.active_files import ActiveFiles
from failoverd.daemon.keepalived.track import TrackFiles
from failoverd.daemon.outputs import Outputs
from failoverd.daemon.persistence import followed
from failoverd.daemon.persistence.wishes import Wishes
from failoverd.records import Records
from tests.unit.core.world import World, config, resource


@pytest.fixture
def wanting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outputs:
    monkeypatch.setattr(followed, "records", Records(tmp_path))
    return Outputs(
        TrackFiles(tmp_path),
        ActiveFiles(tmp_path),
        Mock(spec=Wishes),
        discard=fails,
        later=lambda _: None,
        maybe_active=frozenset(),
    )


def fails(_: object) -> None:
    raise ZeroDivisionError


def test_one_that_fails_keeps_no_other_back(wanting: Outputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outputs, "_discarded_states", fails)
    world = World(config=config(resource("disk", retries=0, on_failure=OnFailure.RELEASE), vips=()))
    world.say(VrrpState.MASTER)
    world.end_look(("VI_1", "disk"))
    before = world.state
    world.end_step(("VI_1", "disk"), Outcome.FAILED, works=False)
    assert world.instance.released
    wanting.fulfil(before, world.state)
    assert (tmp_path / "track" / "VI_1").read_text() == "1\n"


def test_nothing_is_written_where_nothing_changed(wanting: Outputs, tmp_path: Path) -> None:
    world = World(config=config(resource("disk"), vips=()))
    world.say(VrrpState.MASTER)
    before = world.state
    world.end_look(("VI_1", "disk"))
    wanting.fulfil(before, world.state)
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_is_killed_on_the_way_to_standby_has_recorded_the_wish(
    wanting: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, order = World(config=config(vips=())), []
    monkeypatch.setattr(wanting._wishes, "want", lambda wished: order.append(("record", set(wished.standby))))
    monkeypatch.setattr(wanting._track, "want", lambda released: order.append(("track files", released["VI_1"])))
    before = world.state
    world.send(StandbyWanted(instance="VI_1", by="root"))
    wanting.fulfil(before, world.state)
    assert order[:2] == [("record", {"VI_1"}), ("track files", True)]

    order.clear()
    before = world.state
    world.send(OnlineWanted(instance="VI_1", cause="root has ended the standby"))
    wanting.fulfil(before, world.state)
    assert order == [("track files", False), ("record", set())]


def test_a_handover_is_told_to_keepalived(wanting: Outputs, tmp_path: Path) -> None:
    world = World(config=config(vips=()))
    world.say(VrrpState.MASTER)
    before = world.state
    world.send(HandoverWanted(instance="VI_1", by="root", id="left.1", until=math.inf))
    wanting.fulfil(before, world.state)
    assert (tmp_path / "track" / "VI_1").read_text() == "1\n"
