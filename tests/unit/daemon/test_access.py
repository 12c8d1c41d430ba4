"""Who may hand events over."""

from __future__ import annotations

import asyncio
import os
import pwd
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from failoverd.daemon import access, users
from failoverd.daemon.access import Peer
from failoverd.trouble import Troubles

USERS = {
    name: pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/false"))
    for name, uid, gid in (("keepalived_script", 4101, 4001), ("hooks", 4102, 4002))
}


@pytest.fixture
def spools(tmp_path: Path) -> tuple[Path, ...]:
    made = (tmp_path / "spool", tmp_path / "second")
    for each in made:
        each.mkdir(mode=0o700)
    return made


async def admit(spools: tuple[Path, ...], user: str | None) -> access.Admission:
    admission = access.Admission(spools)
    admission.begin(user)
    assert admission._granting is not None
    await admission._granting
    return admission


def owners(spools: tuple[Path, ...]) -> set[tuple[int, int, str]]:
    found = [spool.stat() for spool in spools]
    return {(each.st_uid, each.st_gid, oct(stat.S_IMODE(each.st_mode))) for each in found}


@pytest.mark.parametrize(
    ("configured", "there", "ids"),
    [
        (None, {"keepalived_script"}, (4101, 4001)),  # keepalived's own default
        (None, set(), (0, 0)),
        ("hooks", {"keepalived_script", "hooks"}, (4102, 4002)),
    ],
)
async def test_the_script_user_may_tell(
    spools: tuple[Path, ...],
    monkeypatch: pytest.MonkeyPatch,
    configured: str | None,
    there: set[str],
    ids: tuple[int, int],
) -> None:
    monkeypatch.setattr("failoverd.daemon.users.pwd.getpwnam", {name: USERS[name] for name in there}.__getitem__)
    admission = await admit(spools, configured)
    assert owners(spools) == {(*ids, "0o770")}
    assert {each for each in (0, 4101, 4102, 65534) if admission.admits(each)} == {0, ids[0]}


async def test_a_script_user_that_is_not_there_is_trouble(spools: tuple[Path, ...], troubles: Troubles) -> None:
    admission = await admit(spools, "nobody-of-that-name")
    assert [each.about for each in troubles.standing] == ["script-user"]
    assert "script user nobody-of-that-name does not exist" in troubles.standing[0].text
    assert owners(spools) == {(0, 0, "0o770")}
    assert not admission.admits(65534)
    await admit(spools, None)
    assert troubles.standing == ()


async def test_until_it_is_known_who_could_may_tell(spools: tuple[Path, ...], silent: Silent) -> None:
    os.chown(spools[0], 4101, 4001)
    admission = access.Admission(spools)
    assert not admission.admits(4101)
    admission.begin("hooks")
    assert [admission.admits(uid) for uid in (0, 4101, 4102)] == [True, True, False]
    silent.answers["hooks"] = USERS["hooks"]
    silent.speak.set()
    assert admission._granting is not None
    await admission._granting
    assert [admission.admits(uid) for uid in (0, 4101, 4102)] == [True, False, True]


async def test_what_is_not_there_is_no_obstacle(tmp_path: Path) -> None:
    with capture_logs() as lines:
        await admit((tmp_path / "spool",), None)
    assert [line["directory"] for line in lines] == [str(tmp_path / "spool")]


async def test_what_a_stranger_has_made_is_not_given_away(spools: tuple[Path, ...]) -> None:
    os.chown(spools[1], 65534, 65534)
    with capture_logs() as lines:
        await admit(spools, None)
    assert [(line["directory"], "belongs to another user" in line["reason"]) for line in lines] == [
        (str(spools[1]), True)
    ]
    found = spools[1].stat()
    assert (found.st_uid, oct(stat.S_IMODE(found.st_mode))) == (65534, "0o700")


async def test_a_directory_that_is_made_anew_is_given_too(
    spools: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("failoverd.daemon.users.pwd.getpwnam", USERS.__getitem__)
    admission = await admit(spools, "hooks")
    for each in spools:
        each.rmdir()
        each.mkdir(mode=0o700)
    admission.check()
    assert owners(spools) == {(4102, 4002, "0o770")}


async def test_a_link_is_not_followed(spools: tuple[Path, ...], tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir(mode=0o700)
    spools[1].rmdir()
    spools[1].symlink_to(tmp_path / "outside")
    await admit(spools, None)
    assert oct((tmp_path / "outside").stat().st_mode)[-3:] == "700"


class Silent:
    """A directory service that does not answer before it is told to, and counts who waits for it."""

    def __init__(self, answers: dict[object, Any]) -> None:
        self.answers = answers
        self.asked: list[object] = []
        self.speak = threading.Event()

    def __call__(self, key: object) -> Any:
        self.asked.append(key)
        assert self.speak.wait(30)
        return self.answers[key]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Silent]:
    made = Silent({access.OPERATORS: SimpleNamespace(gr_gid=4242), 1000: SimpleNamespace(pw_name="anna")})
    monkeypatch.setattr("failoverd.daemon.users.grp.getgrnam", made)
    monkeypatch.setattr("failoverd.daemon.users.pwd.getpwuid", made)
    monkeypatch.setattr("failoverd.daemon.users.pwd.getpwnam", made)
    monkeypatch.setattr(users, "ANSWER_TIMEOUT_S", 0.01)
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
    assert await users.group.get(access.OPERATORS, timeout=None) == 4242
    silent.speak.clear()
    monkeypatch.setattr(users, "FRESH_S", -1.0)
    assert await ANNA.may_act()
    async with asyncio.timeout(60):
        while len(silent.asked) < 2:  # it is asked again
            await asyncio.sleep(0.001)


async def test_who_has_no_name_and_no_group_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(key: object) -> None:
        raise KeyError(key)

    monkeypatch.setattr("failoverd.daemon.users.grp.getgrnam", unknown)
    monkeypatch.setattr("failoverd.daemon.users.pwd.getpwuid", unknown)
    assert str(await ANNA.named()) == "uid 1000"
    assert not await ANNA.may_act()
    assert await Peer(uid=0, gids=frozenset(), pid=1).may_act()


async def test_only_so_many_names_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failoverd.daemon.users.pwd.getpwuid", lambda uid: SimpleNamespace(pw_name=f"u{uid}"))
    monkeypatch.setattr(users, "MAX_KEPT_ANSWERS", 3)
    for uid in range(10):
        assert await users.user_name.get(uid, timeout=None) == f"u{uid}"
    assert set(users.user_name._known) == {7, 8, 9}
