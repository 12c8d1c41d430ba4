"""Places for those who connect, and who is kept out."""

from __future__ import annotations

import pytest

from failoverd.daemon import access, names
from failoverd.daemon.access import Peer
from failoverd.daemon.places import Places

ROOT = Peer(uid=0, gids=frozenset({0}), pid=1)
NOBODY = Peer(uid=65534, gids=frozenset({65534}), pid=2)


def stranger(uid: int) -> Peer:
    return Peer(uid=uid, gids=frozenset(), pid=uid)


def test_one_stranger_has_only_so_many() -> None:
    places = Places(clients=10, kept=2, each=3)
    for _ in range(3):
        assert places.take(NOBODY) is None
    assert places.take(NOBODY) == "at most 3 at once for one user who is no operator"
    assert places.take(stranger(1)) is None
    places.leave(NOBODY)
    assert places.take(NOBODY) is None


def test_strangers_together_leave_room_for_who_may_act(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(names.group._known, access.OPERATORS, (0.0, 4242))
    operator = Peer(uid=1000, gids=frozenset({4242}), pid=3)
    places = Places(clients=10, kept=2, each=3)
    for uid in range(1, 9):
        assert places.take(stranger(uid)) is None
    assert places.take(stranger(9)) == "at most 10 at once; try again"
    assert places.take(ROOT) is None
    assert places.take(operator) is None
    assert places.take(ROOT) == "at most 10 at once; try again"
    places.leave(operator)
    assert places.take(ROOT) is None


def test_who_has_left_is_forgotten() -> None:
    places = Places()
    for uid in range(1, 1000):
        assert places.take(stranger(uid)) is None
        places.leave(stranger(uid))
    assert not places._taken
