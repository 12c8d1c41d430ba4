"""What is told of a decision, and the numbers of transitions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from failoverd.core.effects import TransitionStarted
from failoverd.core.words import Target
from failoverd.daemon import reporting
from failoverd.daemon.history.store import Store
from failoverd.records import records


@pytest.fixture(autouse=True)
def runtime_dir(tmp_path: Path) -> Iterator[Path]:
    before = records.directory.parent
    made = tmp_path / "run"
    made.mkdir()
    records.move(made)
    yield made
    records.move(before)


def begun(store: Store, number: int) -> None:
    reporting.keep(store, TransitionStarted(transition=number, instance="VI_1", target=Target.ACTIVE, cause="MASTER"))
    reporting.remember(store, number)


async def test_the_first_number_of_a_boot_is_the_historys(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.start()
    assert await reporting.next_transition(store) == 1
    begun(store, 1)
    assert await store.close(deadline=30)
    for record in records.directory.iterdir():  # as after a reboot
        record.unlink()
    after = Store(tmp_path)
    after.start()
    assert await reporting.next_transition(after) == 2
    assert await after.close(deadline=30)


async def test_later_the_history_is_not_asked(tmp_path: Path) -> None:
    store = Store(tmp_path)  # its process does not run
    begun(store, 41)
    assert await reporting.next_transition(store) == 42


async def test_the_numbers_of_another_history_are_not_taken(tmp_path: Path) -> None:
    begun(Store(tmp_path), 41)
    other = Store(tmp_path / "other")
    other.start()
    assert await reporting.next_transition(other) == 1
    assert await other.close(deadline=30)
