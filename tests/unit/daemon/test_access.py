"""Who may hand events over."""

from __future__ import annotations

import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from failoverd.daemon import access, names
from failoverd.daemon.access import Peer

USERS = {"keepalived_script": SimpleNamespace(pw_gid=4001), "hooks": SimpleNamespace(pw_gid=4002)}


@pytest.fixture
def runtime_dir(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "notify.sock"))
    return tmp_path


async def admit(runtime_dir: Path, user: str | None) -> None:
    admission = access.Admission(runtime_dir)
    admission.begin(user)
    assert admission._granting is not None
    await admission._granting


def owners(runtime_dir: Path) -> list[tuple[int, int, str]]:
    found = [(runtime_dir / name).stat() for name in ("notify.sock", "spool")]
    return [(each.st_uid, each.st_gid, oct(stat.S_IMODE(each.st_mode))) for each in found]


@pytest.mark.parametrize(
    ("configured", "there", "gid"),
    [
        (None, {"keepalived_script"}, 4001),  # keepalived's own default
        (None, set(), 0),
        ("hooks", {"keepalived_script", "hooks"}, 4002),
    ],
)
async def test_the_script_user_may_tell(
    runtime_dir: Path, monkeypatch: pytest.MonkeyPatch, configured: str | None, there: set[str], gid: int
) -> None:
    monkeypatch.setattr("failoverd.daemon.names.pwd.getpwnam", {name: USERS[name] for name in there}.__getitem__)
    await admit(runtime_dir, configured)
    assert owners(runtime_dir) == [(0, gid, "0o660"), (0, gid, "0o770")]


async def test_a_script_user_that_is_not_there_is_named(runtime_dir: Path) -> None:
    with capture_logs() as lines:
        await admit(runtime_dir, "nobody-of-that-name")
    assert lines[0]["script_user"] == "nobody-of-that-name"
    assert owners(runtime_dir) == [(0, 0, "0o660"), (0, 0, "0o770")]


async def test_what_is_not_there_is_no_obstacle(tmp_path: Path) -> None:
    with capture_logs() as lines:
        await admit(tmp_path, None)
    assert [line["file"] for line in lines] == ["notify.sock", "spool"]


class Silent:
    """A directory service that does not answer before it is told to, and counts who waits for it."""

    def __init__(self, answers: dict[object, SimpleNamespace]) -> None:
        self.answers = answers
        self.asked: list[object] = []
        self.speak = threading.Event()

    def __call__(self, key: object) -> SimpleNamespace:
        self.asked.append(key)
        assert self.speak.wait(30)
        return self.answers[key]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Silent]:
    made = Silent({access.OPERATORS: SimpleNamespace(gr_gid=4242), 1000: SimpleNamespace(pw_name="anna")})
    monkeypatch.setattr("failoverd.daemon.names.grp.getgrnam", made)
    monkeypatch.setattr("failoverd.daemon.names.pwd.getpwuid", made)
    monkeypatch.setattr("failoverd.daemon.names.pwd.getpwnam", made)
    monkeypatch.setattr(names, "PATIENCE", 0.01)
    yield made
    made.speak.set()


ANNA = Peer(uid=1000, gids=frozenset({1000, 4242}), pid=1)


async def test_a_directory_that_is_silent_is_not_waited_for(silent: Silent) -> None:
    assert str(await ANNA.named()) == "uid 1000"
    with pytest.raises(TimeoutError):
        await ANNA.may_act()
    assert not ANNA.known_to_act
    root = Peer(uid=0, gids=frozenset(), pid=1)
    assert (str(await root.named()), await root.may_act(), root.known_to_act) == ("root", True, True)
    silent.speak.set()
    while str(await ANNA.named()) != "anna":
        pass
    while not ANNA.known_to_act:
        assert await ANNA.may_act()
    assert silent.asked == [1000, access.OPERATORS], "once for all who ask"


async def test_what_was_known_counts_while_the_directory_is_silent(
    silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent.speak.set()
    assert await names.group.get(access.OPERATORS, patience=None) == 4242
    silent.speak.clear()
    monkeypatch.setattr(names, "FRESH", -1.0)
    assert await ANNA.may_act()
    assert len(silent.asked) == 2, "it was asked again"


async def test_who_has_no_name_and_no_group_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(key: object) -> None:
        raise KeyError(key)

    monkeypatch.setattr("failoverd.daemon.names.grp.getgrnam", unknown)
    monkeypatch.setattr("failoverd.daemon.names.pwd.getpwuid", unknown)
    assert str(await ANNA.named()) == "uid 1000"
    assert not await ANNA.may_act()
    assert await Peer(uid=0, gids=frozenset(), pid=1).may_act()


async def test_only_so_many_names_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failoverd.daemon.names.pwd.getpwuid", lambda uid: SimpleNamespace(pw_name=f"u{uid}"))
    monkeypatch.setattr(names, "KEPT", 3)
    for uid in range(10):
        assert await names.user_name.get(uid, patience=None) == f"u{uid}"
    assert set(names.user_name._known) == {7, 8, 9}
