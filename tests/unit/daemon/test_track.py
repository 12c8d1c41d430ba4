"""What keepalived reads in its track files."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from failoverd.daemon.track import TrackFiles


def test_what_is_given_away_is_remembered_by_the_files(tmp_path: Path) -> None:
    track = TrackFiles(tmp_path)
    assert track.released() == frozenset()
    track.prepare(["VI_1", "my group.1", "a/b"])
    assert (tmp_path / "track" / "VI_1").read_text() == "0\n"
    track.put("my group.1", release=True)
    track.put("a/b", release=True)
    assert TrackFiles(tmp_path).released() == {"my group.1", "a/b"}
    TrackFiles(tmp_path).prepare(["my group.1"])
    assert (tmp_path / "track" / "my group.1").read_text() == "1\n", "a start takes nothing back"
    track.put("my group.1", release=False)
    assert track.released() == {"a/b"}
    assert not [file.name for file in (tmp_path / "track").iterdir() if file.name.startswith(".")]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "track").write_text("no directory")
    with capture_logs() as lines:
        TrackFiles(tmp_path).put("VI_1", release=True)
    assert [line["event"] for line in lines] == ["keepalived cannot be told"]
