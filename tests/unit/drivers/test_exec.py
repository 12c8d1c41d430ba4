"""The exec driver, with real commands."""

import asyncio
from pathlib import Path

import pytest

from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.drivers import DriverError
from failoverd.drivers import exec as driver

SPEC = ResourceSpec(instance="VI_1", name="thing", driver="exec")


def thing(**argvs: tuple[str, ...]) -> driver.Exec:
    all_argvs = {"activate": ("true",), "deactivate": ("true",), "observe": ("true",)} | argvs
    return driver.make(driver.Options(**all_argvs), SPEC)


@pytest.mark.parametrize(
    ("script", "level", "detail"),
    [
        ("echo up since noon; echo more", Level.ACTIVE, "up since noon"),
        ("exit 3", Level.STANDBY, ""),
        ("echo >&2 no idea; exit 1", Level.UNKNOWN, "exit status 1: no idea"),
        ("exit 2", Level.UNKNOWN, "exit status 2"),
        ("kill -9 $$", Level.UNKNOWN, "exit status -9"),
    ],
)
async def test_observe(script: str, level: Level, detail: str) -> None:
    seen = await thing(observe=("sh", "-c", script)).observe()
    assert (seen.level, seen.detail) == (level, detail)


async def test_an_observation_that_cannot_be_made_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await thing(observe=("/nonexistent",)).observe()).level is Level.UNKNOWN
    monkeypatch.setattr(driver, "PATIENCE", 0.1)
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
