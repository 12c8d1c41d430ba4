"""What keepalived reads in its track files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from failoverd.daemon.keepalived.track import TrackFiles
from failoverd.trouble import Troubles
from tests.unit import full


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with full.tmpfs(tmp_path / "small") as small:
        yield small


def says(directory: Path, name: str = "VI_1") -> str:
    return (directory / "track" / name).read_text()


def test_what_is_given_away_is_remembered_by_the_files(tmp_path: Path) -> None:
    track = TrackFiles(tmp_path)
    assert track.released() == frozenset()
    track.want({"VI_1": False, "my group.1": False, "a/b": False})
    assert says(tmp_path) == "0\n"
    track.want({"VI_1": False, "my group.1": True, "a/b": True})
    following = TrackFiles(tmp_path)
    assert following.released() == {"my group.1", "a/b"}
    following.want({"VI_1": False, "my group.1": True, "a/b": False})
    assert following.released() == {"my group.1"}
    assert (tmp_path / "track" / "my group.1").stat().st_mode & 0o777 == 0o644
    assert not [file.name for file in (tmp_path / "track").iterdir() if file.name.startswith(".")]


def test_a_change_by_another_program_is_restored_at_the_next_look(tmp_path: Path, troubles: Troubles) -> None:
    track = TrackFiles(tmp_path)
    track.want({"VI_1": True, "VI_2": False})
    (tmp_path / "track" / "VI_1").write_text("0\n")
    (tmp_path / "track" / "VI_2").unlink()
    track.want({"VI_1": True, "VI_2": False})
    assert says(tmp_path) == "0\n", "nothing new was wanted"
    track.look()
    assert (says(tmp_path), says(tmp_path, "VI_2")) == ("1\n", "0\n")
    assert [each.about for each in troubles.standing] == ["track-file-changed VI_1"]


async def test_a_write_by_another_program_is_restored_and_reported_at_once(tmp_path: Path, troubles: Troubles) -> None:
    track = TrackFiles(tmp_path)
    track.want({"VI_1": False, "a/b": True})
    track.start()
    file = tmp_path / "track" / "VI_1"
    try:
        for _ in range(2):  # whether it is overwritten or renamed, and as often as somebody does it
            file.write_text("1\n")
            await until(lambda: says(tmp_path) == "0\n")
            (tmp_path / "draft").write_text("2")
            (tmp_path / "draft").rename(file)
            await until(lambda: says(tmp_path) == "0\n")
        told = f"another program wrote 1 into {file}, and failoverd restored it"
        assert [each.text.partition(";")[0] for each in troubles.standing] == [told]
        (tmp_path / "track" / "a%2fb").write_text("0")
        await until(lambda: says(tmp_path, "a%2fb") == "1\n")
        assert "another program wrote 0 into" in troubles.standing[-1].text
    finally:
        track.close()


async def test_a_write_by_failoverd_itself_is_not_reported(tmp_path: Path, troubles: Troubles) -> None:
    track = TrackFiles(tmp_path)
    track.start()
    try:
        for release in (False, True, False):
            track.want({"VI_1": release})
            await asyncio.sleep(0)
            track.look()
        following = TrackFiles(tmp_path)
        following.want({"VI_1": True})
        assert not troubles.standing
    finally:
        track.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def test_the_directory_may_be_removed(tmp_path: Path) -> None:
    track = TrackFiles(tmp_path)
    track.want({"VI_1": True})
    (tmp_path / "track" / "VI_1").unlink()
    (tmp_path / "track").rmdir()
    track.look()
    assert says(tmp_path) == "1\n"


def test_what_is_no_longer_followed_is_not_kept_from_mastership(tmp_path: Path) -> None:
    track = TrackFiles(tmp_path)
    track.want({"VI_1": True, "VI_2": True})
    track.want({"VI_2": True})
    assert (says(tmp_path), says(tmp_path, "VI_2")) == ("0\n", "1\n")
    assert track.released() == {"VI_2"}, "as it is known when VI_1 comes back"
    TrackFiles(tmp_path).want({"VI_1": False})
    assert says(tmp_path, "VI_2") == "0\n", "nor by an earlier daemon"


@pytest.mark.parametrize(
    ("text", "released"),
    [("1\n", True), ("5", True), (" -3 x", True), ("0", False), ("", False), ("one", False), ("00\n", False)],
)
def test_a_file_says_what_keepalived_reads_in_it(tmp_path: Path, text: str, released: bool) -> None:
    (tmp_path / "track").mkdir()
    (tmp_path / "track" / "VI_1").write_text(text)
    assert TrackFiles(tmp_path).released() == ({"VI_1"} if released else frozenset())


def test_a_full_file_system_does_not_prevent_a_release(small: Path, troubles: Troubles) -> None:
    track = TrackFiles(small)
    track.want({"VI_1": False})
    full.fill(small)
    track.want({"VI_1": True})
    assert says(small) == "1\n"
    assert not troubles.standing


def test_a_failed_write_is_reported_and_retried(small: Path, troubles: Troubles) -> None:
    track = TrackFiles(small)
    track.want({"VI_1": False, "VI_2": True})
    full.read_only(small)
    track.want({"VI_1": True})
    unwritten = f"cannot write the track file {small}/track/VI_"
    assert [each.text.partition("; run: ")[0] for each in troubles.standing] == [
        f"{unwritten}2 (Read-only file system), so keepalived does not compete for mastership",
        f"{unwritten}1 (Read-only file system), so keepalived keeps mastership",
    ]
    track.look()
    assert len(troubles.standing) == 2
    full.read_only(small, is_so=False)
    track.look()
    assert (says(small), says(small, "VI_2")) == ("1\n", "0\n")
    assert not troubles.standing


@pytest.mark.parametrize("name", ["V" * 300, "..", "."])
def test_a_name_that_can_be_no_file_is_trouble_and_no_more(tmp_path: Path, troubles: Troubles, name: str) -> None:
    track = TrackFiles(tmp_path)
    track.want({name: True, "VI_1": True})
    assert says(tmp_path) == "1\n"
    assert [each.about for each in troubles.standing] == [f"track-file {name}"]
