"""Each thing that the state wants of the world is done, whatever becomes of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from failoverd.core.words import OnFailure, Outcome, VrrpState
from failoverd.daemon import followed
from failoverd.daemon.track import TrackFiles
from failoverd.daemon.wants import Wants
from failoverd.records import Records
from tests.unit.core.world import World, config, resource


@pytest.fixture
def wanting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wants:
    monkeypatch.setattr(followed, "records", Records(tmp_path))
    return Wants(TrackFiles(tmp_path), void=fails, later=lambda _: None, maybe_active=frozenset())


def fails(_: object) -> None:
    raise ZeroDivisionError


def test_one_that_fails_keeps_no_other_back(wanting: Wants, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wants, "_words", fails)
    world = World(config=config(resource("disk", retries=0, on_failure=OnFailure.RELEASE), vips=()))
    world.say(VrrpState.MASTER)
    world.end_look(("VI_1", "disk"))
    before = world.state
    world.end_step(("VI_1", "disk"), Outcome.FAILED, works=False)
    assert world.instance.released
    wanting.fulfil(before, world.state)
    assert (tmp_path / "track" / "VI_1").read_text() == "1\n"


def test_nothing_is_written_where_nothing_changed(wanting: Wants, tmp_path: Path) -> None:
    world = World(config=config(resource("disk"), vips=()))
    world.say(VrrpState.MASTER)
    before = world.state
    world.end_look(("VI_1", "disk"))
    wanting.fulfil(before, world.state)
    assert list(tmp_path.iterdir()) == []
