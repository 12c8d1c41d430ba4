"""What keepalived reads in its track files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from failoverd.daemon.track import TrackFiles
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


def test_what_somebody_changed_is_put_right_at_the_next_look(tmp_path: Path) -> None:
    track = TrackFiles(tmp_path)
    track.want({"VI_1": True, "VI_2": False})
    (tmp_path / "track" / "VI_1").write_text("0\n")
    (tmp_path / "track" / "VI_2").unlink()
    track.want({"VI_1": True, "VI_2": False})
    assert says(tmp_path) == "0\n", "nothing new was wanted"
    track.look()
    assert (says(tmp_path), says(tmp_path, "VI_2")) == ("1\n", "0\n")


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


def test_where_the_file_system_is_full_it_is_told_all_the_same(small: Path, troubles: Troubles) -> None:
    track = TrackFiles(small)
    track.want({"VI_1": False})
    full.fill(small)
    track.want({"VI_1": True})
    assert says(small) == "1\n"
    assert not troubles.standing


def test_what_cannot_be_written_is_said_and_tried_again(small: Path, troubles: Troubles) -> None:
    track = TrackFiles(small)
    track.want({"VI_1": False, "VI_2": True})
    full.read_only(small)
    track.want({"VI_1": True})
    assert sorted(each.text.partition(":")[0] for each in troubles.standing) == [
        "keepalived cannot be told that mastership is given away",
        "keepalived cannot be told to compete for mastership",
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
    assert [each.about for each in troubles.standing] == [f"track file {name}"]
