"""The exec driver, with real commands."""

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest

from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.drivers import exec as driver
from failoverd.drivers import moved_by
from failoverd.osutil import processes
from failoverd.ports.errors import DriverError, NotStarted
from failoverd.records import Records

SPEC = ResourceSpec(instance="VI_1", name="thing", driver="exec")


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Records:
    made = Records(tmp_path / "run")
    made.directory.parent.mkdir()
    monkeypatch.setattr(driver, "records", made)
    return made


def thing(**options: Any) -> driver.Exec:
    """As a daemon has it that has just started."""
    all_options = {"activate": ("true",), "deactivate": ("true",), "observe": ("true",)} | options
    return driver.make(driver.Options(**all_options), SPEC)


async def level(**options: Any) -> tuple[Level, str]:
    """What a daemon that has just started sees, and says without the time."""
    seen = await thing(**options).observe()
    return seen.level, re.sub(r"\d\d:\d\d on \d{4}-\d\d-\d\d", "TIME", seen.detail)


@pytest.mark.parametrize(
    ("script", "expected", "detail"),
    [
        ("echo up since noon; echo more", Level.ACTIVE, "up since noon"),
        ("exit 3", Level.STANDBY, ""),
        ("echo >&2 no idea; exit 1", Level.UNKNOWN, "exit status 1: no idea"),
        ("exit 2", Level.UNKNOWN, "exit status 2"),
        ("kill -9 $$", Level.UNKNOWN, "exit status -9"),
    ],
)
async def test_observe(script: str, expected: Level, detail: str) -> None:
    seen = await thing(observe=("sh", "-c", script)).observe()
    assert (seen.level, seen.detail) == (expected, detail)


async def test_an_observation_that_cannot_be_made_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await thing(observe=("/nonexistent",)).observe()).level is Level.UNKNOWN
    monkeypatch.setattr(driver, "OBSERVE_TIMEOUT_S", 0.1)
    assert (await thing(observe=("sleep", "60")).observe()).level is Level.UNKNOWN


async def test_both_verbs(tmp_path: Path) -> None:
    flag = tmp_path / "up"
    one = thing(
        activate=("touch", str(flag)),
        deactivate=("rm", "-f", str(flag)),
        observe=("sh", "-c", f"test -e {flag} || exit 3"),
    )
    assert (await one.observe()).level is Level.STANDBY
    await one.activate()
    assert (await one.observe()).level is Level.ACTIVE
    await one.deactivate()
    assert (await one.observe()).level is Level.STANDBY


async def test_a_failure_has_the_last_words() -> None:
    with pytest.raises(DriverError, match="exit status 4: at last"):
        await thing(activate=("sh", "-c", "echo first >&2; echo at last >&2; exit 4")).activate()


async def test_no_words_are_fine_too() -> None:
    with pytest.raises(DriverError, match=r"false: exit status 1$"):
        await thing(deactivate=("false",)).deactivate()


@pytest.mark.parametrize("words", ["ping: socket: Operation not permitted", "Address family not supported by protocol"])
async def test_a_refusal_of_the_sandbox_is_named(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    fails = ("sh", "-c", f"echo {words} >&2; echo so it failed >&2; exit 2")
    one = thing(activate=fails, observe=fails)
    hint = (
        "; perhaps refused by failoverd.service's sandbox (man 8 failoverd lists what it refuses, and how to open it)"
    )
    for confined in (True, False):
        monkeypatch.setattr(processes, "confined", lambda said=confined: said)
        with pytest.raises(DriverError) as raised:
            await one.activate()
        assert raised.value.reason.endswith("exit status 2: so it failed" + (hint if confined else ""))
        assert (hint in (await one.observe()).detail) is confined


async def test_cancelling_ends_the_command() -> None:
    task = asyncio.create_task(thing(activate=("sleep", "600")).activate())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_commands() -> None:
    one = thing(activate=("/usr/bin/tool", "an argument"))
    assert one.commands(Verb.ACTIVATE) == ("/usr/bin/tool 'an argument'",)
    assert one.commands(Verb.DEACTIVATE) == ("true",)


@pytest.mark.parametrize("argv", ["touch /x", (), ("",)])
def test_what_is_no_list_is_refused(argv: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="activate: a list of words"):
        thing(activate=argv)


# ---------------------------------------------------------------- what cannot be seen, or not be given back


async def test_without_observe_what_was_done_last_counts_over_a_restart_too() -> None:
    unseen: dict[str, Any] = {"observe": ()}
    assert await level(**unseen) == (Level.UNKNOWN, "not observable, and no step since the boot")
    await thing(**unseen).activate()
    assert await level(**unseen) == (Level.ACTIVE, "done at TIME, not observable")
    await thing(**unseen).deactivate()
    assert await level(**unseen) == (Level.STANDBY, "done at TIME, not observable")


async def test_without_observe_what_failed_may_be_half_done() -> None:
    fails: dict[str, Any] = {"observe": (), "activate": ("false",)}
    with pytest.raises(DriverError):
        await thing(**fails).activate()
    assert await level(**fails) == (Level.UNKNOWN, "not observable; activate failed at TIME")


async def test_without_observe_what_other_commands_did_counts_for_nothing() -> None:
    await thing(observe=()).activate()
    assert (await level(observe=(), activate=("echo",)))[0] is Level.UNKNOWN


async def test_what_cannot_be_given_back_is_standby_when_it_is_let_go(tmp_path: Path) -> None:
    """Here it is seen to be active until the other node has taken it; an outage of who is asked is nothing to it."""
    claim: dict[str, Any] = {"deactivate": (), "observe": ("sh", "-c", f"exit $(cat {tmp_path}/status)")}
    for status in (0, 1, 3):
        (tmp_path / "status").write_text(str(status))
        assert await level(**claim) == (Level.STANDBY, "not activated since the boot")
    await thing(**claim).activate()
    for status, seen in ((0, Level.ACTIVE), (1, Level.UNKNOWN), (3, Level.STANDBY)):
        (tmp_path / "status").write_text(str(status))
        assert (await level(**claim))[0] is seen
    await thing(**claim).deactivate()
    assert thing(**claim).commands(Verb.DEACTIVATE) == ()
    for status in (0, 1, 3):
        (tmp_path / "status").write_text(str(status))
        assert await level(**claim) == (Level.STANDBY, "deactivated at TIME, the other node takes it")


async def test_an_action_that_can_neither_be_seen_nor_undone() -> None:
    action: dict[str, Any] = {"deactivate": (), "observe": ()}
    assert (await level(**action))[0] is Level.STANDBY
    await thing(**action).activate()
    assert await level(**action) == (Level.ACTIVE, "done at TIME, not observable")
    await thing(**action).deactivate()
    assert (await level(**action))[0] is Level.STANDBY


async def test_what_can_be_seen_and_undone_is_not_remembered(records: Records) -> None:
    await thing().activate()
    assert records.names("*") == []


@pytest.mark.parametrize(
    ("options", "other", "one_thing"),
    [
        ({"observe": ()}, {"deactivate": ("false",)}, True),
        ({"observe": ()}, {"user": "nobody"}, False),
        ({"observe": ()}, {"activate": ("false",)}, False),
        ({"deactivate": ()}, {"activate": ("false",)}, True),
        ({}, {"activate": ("false",)}, False),
    ],
)
def test_what_is_remembered_of_two_is_not_the_same(
    options: dict[str, Any], other: dict[str, Any], *, one_thing: bool
) -> None:
    """Else what one has done would be taken for what the other has."""
    words: dict[str, Any] = {"activate": ("true",), "deactivate": ("true",), "observe": ("true",)} | options
    one, two = driver.Options(**words), driver.Options(**words | other)
    assert bool(set(one.owns) & set(two.owns)) is one_thing
    assert one.owns == () or "what is remembered of `" in one.owns[0]


def test_two_that_cannot_be_seen_are_two() -> None:
    one, other = (driver.Options(activate=(word,), deactivate=()) for word in ("page", "claim"))
    assert moved_by(one) != moved_by(other)


# ---------------------------------------------------------------- as another user

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@needs_root
async def test_every_command_is_run_as_the_user_with_his_groups() -> None:
    script = ("sh", "-c", 'test "$(id -un) $(id -gn) $(id -Gn)" = "nobody nogroup nogroup"')
    one = thing(user="nobody", activate=script, deactivate=script, observe=script)
    await one.activate()
    await one.deactivate()
    assert (await one.observe()).level is Level.ACTIVE
    assert one.commands(Verb.ACTIVATE)[0].startswith("chroot --userspec=nobody: / sh -c ")


@needs_root
@pytest.mark.parametrize(("user", "program"), [("nobody-of-that-name", "true"), ("nobody", "/nonexistent")])
async def test_what_cannot_be_started_as_the_user_says_nothing_of_the_resource(user: str, program: str) -> None:
    one = thing(user=user, activate=(program,), observe=(program,))
    with pytest.raises(NotStarted, match="chroot: "):
        await one.activate()
    assert (await one.observe()).level is Level.UNKNOWN


@needs_root
async def test_a_status_of_the_commands_own_is_no_failed_start() -> None:
    with pytest.raises(DriverError, match="exit status 126") as raised:
        await thing(user="nobody", activate=("sh", "-c", "exit 126")).activate()
    assert not isinstance(raised.value, NotStarted)
