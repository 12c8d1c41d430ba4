"""A file is replaced as a whole, or keeps its content."""

import os
import stat
from pathlib import Path

import pytest

from failoverd.osutil import atomic_file
from tests.unit import full


def test_what_is_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda _descriptor, data: len(data))
        with pytest.raises(OSError, match="does not hold what was written"):
            atomic_file.write(tmp_path / "file", b"1\n")
    atomic_file.write(tmp_path / "file", b"1\n")
    assert atomic_file.read(tmp_path / "file") == b"1\n"


def test_the_mode_is_the_one_asked_for_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        atomic_file.write(tmp_path / "file", b"1\n", 0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "file").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="symbolic links"):
        atomic_file.read(tmp_path / "file")
    atomic_file.write(tmp_path / "file", b"ours")
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["file", "theirs"]


def test_a_check_finds_a_full_file_system_before_it_is_written_to(tmp_path: Path) -> None:
    with full.tmpfs(tmp_path / "small") as small:
        atomic_file.check(small / "new", 10)
        atomic_file.write(small / "old", b"1\n")
        filler = full.fill(small)
        with pytest.raises(OSError, match="No space left"):
            atomic_file.check(small / "new", 10)
        atomic_file.check(small / "old", 10)  # the blocks of the old content suffice
        atomic_file.write(small / "old", b"2\n")
        with pytest.raises(OSError, match="No space left"):
            atomic_file.check(small / "old", 10_000)
        filler.unlink()
        atomic_file.check(small / "new", 10)
        assert [path.name for path in small.iterdir()] == ["old"]  # a check leaves nothing


def test_a_check_finds_a_read_only_file_system(tmp_path: Path) -> None:
    with full.tmpfs(tmp_path / "small") as small:
        atomic_file.write(small / "old", b"1\n")
        full.read_only(small)
        with pytest.raises(OSError, match="Read-only"):
            atomic_file.check(small / "old", 2)
