"""The places on the control socket, and the clients that get none."""

from __future__ import annotations

import pytest

from failoverd.daemon import access, users
from failoverd.daemon.access import Peer
from failoverd.daemon.control.connection_limits import ConnectionLimits

ROOT = Peer(uid=0, gids=frozenset({0}), pid=1)
NOBODY = Peer(uid=65534, gids=frozenset({65534}), pid=2)


def stranger(uid: int) -> Peer:
    return Peer(uid=uid, gids=frozenset(), pid=uid)


def test_one_stranger_has_a_limit() -> None:
    places = ConnectionLimits(clients=10, reserved=2, per_stranger=3)
    for _ in range(3):
        assert places.take(NOBODY) is None
    assert places.take(NOBODY) == "at most 3 at once for a user who is not an operator"
    assert places.take(stranger(1)) is None
    places.leave(NOBODY)
    assert places.take(NOBODY) is None


def test_strangers_together_leave_room_for_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(users.group._known, access.OPERATORS, (0.0, 4242))
    operator = Peer(uid=1000, gids=frozenset({4242}), pid=3)
    places = ConnectionLimits(clients=10, reserved=2, per_stranger=3)
    for uid in range(1, 9):
        assert places.take(stranger(uid)) is None
    assert places.take(stranger(9)) == "at most 10 at once; try again"
    assert places.take(ROOT) is None
    assert places.take(operator) is None
    assert places.take(ROOT) == "at most 10 at once; try again"
    places.leave(operator)
    assert places.take(ROOT) is None


def test_watchers_take_no_place_of_a_request() -> None:
    places = ConnectionLimits(clients=3, reserved=1, watchers=2, watchers_per_user=2)
    for _ in range(2):
        assert places.take(ROOT) is None
        assert places.watch(ROOT) is None
    for _ in range(3):
        assert places.take(ROOT) is None
    assert places.take(ROOT) == "at most 3 at once; try again"


def test_one_user_has_a_limit_of_watchers() -> None:
    places = ConnectionLimits(watchers=3, reserved=0, watchers_per_user=2)
    for _ in range(2):
        assert places.watch(ROOT) is None
    instead = "end some of them, or use: failoverctl status"
    assert places.watch(ROOT) == f"at most 2 at once for one user; {instead}"
    assert places.watch(stranger(1)) is None
    assert places.watch(stranger(2)) == f"at most 3 at once; {instead}"
    places.unwatch(ROOT)
    assert places.watch(ROOT) is None


def test_strangers_leave_room_for_watchers_who_are_operators() -> None:
    places = ConnectionLimits(watchers=3, reserved=1)
    for uid in (1, 2):
        assert places.watch(stranger(uid)) is None
    assert places.watch(stranger(3)) is not None
    assert places.watch(ROOT) is None


def test_a_client_that_has_left_is_forgotten() -> None:
    places = ConnectionLimits()
    for uid in range(1, 1000):
        assert places.take(stranger(uid)) is None
        assert places.watch(stranger(uid)) is None
        places.unwatch(stranger(uid))
        places.leave(stranger(uid))
    assert not places._taken
    assert not places._watching
