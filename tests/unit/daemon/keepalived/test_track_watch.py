"""Whether a process watches a directory, with real inotify watches."""

from __future__ import annotations

import os
from pathlib import Path

from failoverd.daemon.keepalived.track_watch import watched
from failoverd.osutil.inotify import WRITTEN, Inotify


def test_a_watch_is_found_and_one_on_another_directory_does_not_count(tmp_path: Path) -> None:
    track, other = tmp_path / "track", tmp_path / "other"
    track.mkdir()
    other.mkdir()
    watching = Inotify()
    watching.watch(other, WRITTEN)
    assert watched(track, [os.getpid()]) is False
    watching.watch(track, WRITTEN)
    assert watched(track, [os.getpid()]) is True
    watching.close()
    assert watched(track, [os.getpid()]) is False


def test_a_directory_that_was_made_again_is_not_watched(tmp_path: Path) -> None:
    track = tmp_path / "track"
    track.mkdir()
    watching = Inotify()
    watching.watch(track, WRITTEN)
    track.rename(tmp_path / "old")
    track.mkdir()
    assert watched(track, [os.getpid()]) is False
    watching.close()


def test_without_a_process_or_a_directory_it_is_unknown(tmp_path: Path) -> None:
    assert watched(tmp_path, []) is None
    assert watched(tmp_path / "none", [os.getpid()]) is None
    assert watched(tmp_path, [2**22 + 1]) is None
