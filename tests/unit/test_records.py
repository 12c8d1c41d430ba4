"""What is remembered: whole, of this boot, and never what is no longer true."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from failoverd.records import LockedError, Records
from failoverd.trouble import Troubles
from tests.unit import full


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with full.tmpfs(tmp_path / "small") as small:
        yield small
        shutil.rmtree(Records(small).spare, ignore_errors=True)


def texts(troubles: Troubles) -> list[str]:
    return [each.text for each in troubles.standing]


def test_a_record_is_read_by_the_next_daemon(records: Records, tmp_path: Path) -> None:
    assert records.read("last", dict) is None
    assert records.write("last", {"VI_1": ["MASTER", 3]})
    assert records.write("other", {})
    assert Records(tmp_path).read("last", dict) == {"VI_1": ["MASTER", 3]}
    assert sorted(records.names("*")) == ["last", "other"]
    assert records.names("l*") == ["last"]


def test_another_boot_s_record_is_nothing(records: Records, troubles: Troubles) -> None:
    records.write("last", {"a": 1})
    file = records.directory / "last"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"boot": "another"}))
    assert records.read("last", dict) is None
    assert texts(troubles) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", "{}", "\xff", '{"boot": 1', '{"a": ' + "[" * 100_000])
def test_a_damaged_record_is_nothing_and_is_said(records: Records, troubles: Troubles, text: str) -> None:
    records.write("last", {"a": 1})
    (records.directory / "last").write_text(text, encoding="latin-1")
    assert records.read("last", dict) is None
    assert "so failoverd ignores it" in texts(troubles)[0]
    assert records.write("last", {"a": 2})
    assert texts(troubles) == []


def test_a_link_is_not_followed(records: Records, tmp_path: Path) -> None:
    records.write("last", {"a": 1})
    (records.directory / "last").rename(tmp_path / "outside")
    (records.directory / "last").symlink_to(tmp_path / "outside")
    assert records.read("last", dict) is None
    assert records.write("last", {"a": 2})
    assert json.loads((tmp_path / "outside").read_text())["a"] == 1


def test_where_the_file_system_is_full_the_old_room_is_used(small: Path, troubles: Troubles) -> None:
    records = Records(small)
    records.write("last", {"state": "MASTER", "more": "x" * 100})
    records.write("notes", {"state": "old", "more": "x" * 100})
    full.fill(small)
    assert records.write("last", {"state": "BACKUP"})
    assert records.write("notes", {"state": "new"}, keep_old=True)
    assert records.read("last", dict) == {"state": "BACKUP"}
    assert records.read("notes", dict) == {"state": "new"}
    assert not [name for name in os.listdir(records.directory) if name.startswith(".")]  # noqa: PTH208
    assert texts(troubles) == []


def test_what_cannot_be_written_is_removed_or_kept_as_is_asked(small: Path, troubles: Troubles) -> None:
    records = Records(small)
    for record in ("last", "notes"):
        records.write(record, {"state": "old"})
    filler = full.fill(small)
    large = {"state": "new", "more": "x" * 5000}
    assert not records.write("last", large)
    assert not records.write("notes", large, keep_old=True)
    full.fill(small)
    assert not records.write("first", {"state": "new"})
    assert not (records.directory / "last").exists()
    assert records.read("last", dict) == large
    assert records.read("notes", dict) == {"state": "old"}
    assert records.read("first", dict) == {"state": "new"}
    said = [f"cannot write {small}/records/{name}: No space left on device" for name in ("last", "notes", "first")]
    assert [text.partition("; run: df ")[0] for text in texts(troubles)] == [
        said[0],
        f"{said[1]}, so its content is out of date",
        said[2],
    ]
    filler.unlink()
    records.look()
    assert records.read("last", dict) == large
    assert records.read("notes", dict) == {"state": "old"}, "who was told that it is not recorded did not act on it"
    assert len(texts(troubles)) == 1
    assert records.write("notes", large, keep_old=True)
    assert texts(troubles) == []


def test_what_cannot_even_be_removed_is_said(small: Path, troubles: Troubles) -> None:
    records = Records(small)
    records.write("last", {"state": "MASTER"})
    full.read_only(small)
    assert not records.write("last", {"state": "BACKUP"})
    assert "Read-only file system, so its content is out of date" in texts(troubles)[0]
    full.read_only(small, is_so=False)
    assert records.write("last", {"state": "BACKUP"})
    assert texts(troubles) == []


def refuses(_descriptor: int, _data: bytes) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_cannot_be_written_is_kept_elsewhere_for_the_next_daemon(small: Path) -> None:
    """What was there before is out of date, though it can be read, and may be written to again."""
    records = Records(small)
    records.write("last", {"state": "MASTER"})
    full.read_only(small)
    assert not records.write("last", {"state": "BACKUP"})
    assert not records.write("first", {"state": "new"})
    for is_so in (True, False):
        full.read_only(small, is_so=is_so)
        following = Records(small)
        assert following.read("last", dict) == {"state": "BACKUP"}
        assert following.names("*") == ["first", "last"]
    assert following.write("last", {"state": "FAULT"})
    assert Records(small).read("last", dict) == {"state": "FAULT"}
    following.remove("first")
    assert Records(small).names("*") == ["last"]
    assert not following.spare.exists()


def test_an_older_one_elsewhere_does_not_count(small: Path) -> None:
    """A daemon was killed between writing the record and removing what had been kept for it."""
    records = Records(small)
    full.read_only(small)
    records.write("last", {"state": "BACKUP"})
    kept = (records.spare / "last").read_bytes()
    full.read_only(small, is_so=False)
    records.write("last", {"state": "MASTER"})
    records.spare.mkdir(mode=0o700)
    (records.spare / "last").write_bytes(kept)
    assert Records(small).read("last", dict) == {"state": "MASTER"}


def test_where_nothing_can_be_written_nothing_older_is_left(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And this daemon still knows what it would have written."""
    records = Records(small)
    full.read_only(small)
    records.write("last", {"state": "MASTER"})
    full.read_only(small, is_so=False)
    (records.directory / "last").unlink(missing_ok=True)
    full.read_only(small)
    with monkeypatch.context() as patch:
        patch.setattr("failoverd.osutil.atomic_file._write", refuses)
        assert not records.write("last", {"state": "BACKUP"})
    assert records.read("last", dict) == {"state": "BACKUP"}
    assert Records(small).read("last", dict) is None


def test_that_the_other_place_is_somebody_else_s_is_said(small: Path, troubles: Troubles) -> None:
    records = Records(small)
    records.spare.mkdir()
    os.chown(records.spare, 65534, 65534)
    full.read_only(small)
    assert not records.write("last", {"state": "BACKUP"})
    assert f"nor into {records.spare}: it belongs to another user (rm -r {records.spare})" in texts(troubles)[0]
    records.spare.rmdir()


@pytest.mark.parametrize("whose", ["nobody's", "anybody's", "a link"])
def test_what_somebody_else_may_write_to_is_not_believed(small: Path, tmp_path: Path, whose: str) -> None:
    records = Records(small)
    records.write("last", {"state": "BACKUP"})
    real = tmp_path / "real" if whose == "a link" else records.spare
    real.mkdir(mode=0o700)
    (real / "last").write_bytes((records.directory / "last").read_bytes().replace(b"BACKUP", b"MASTER"))
    if whose == "a link":
        records.spare.symlink_to(real)
    elif whose == "nobody's":
        os.chown(real, 65534, 65534)
    else:
        real.chmod(0o777)
    full.read_only(small)
    assert not Records(small).write("first", {})
    assert Records(small).read("last", dict) == {"state": "BACKUP"}
    assert Records(small).names("*") == ["last"]
    records.spare.unlink() if whose == "a link" else shutil.rmtree(real)


def test_a_runtime_directory_that_is_gone_is_not_made(records: Records, tmp_path: Path, troubles: Troubles) -> None:
    records.move(tmp_path / "gone")
    assert not records.write("last", {})
    assert not (tmp_path / "gone").exists()
    assert "No such file or directory" in texts(troubles)[0]
    shutil.rmtree(records.spare)


def test_what_was_removed_is_written_again(records: Records, tmp_path: Path) -> None:
    records.write("last", {"a": 1})
    records.write("last", {"a": 2})
    records.write("other", {"b": 1})
    for file in records.directory.iterdir():
        file.unlink()
    records.directory.rmdir()
    records.restore()
    assert (Records(tmp_path).read("last", dict), Records(tmp_path).read("other", dict)) == ({"a": 2}, {"b": 1})


def test_one_daemon_at_a_time(records: Records, tmp_path: Path) -> None:
    records.take()
    with pytest.raises(LockedError, match=r"another failoverd holds .*/lock: systemctl stop failoverd"):
        Records(tmp_path).take()
    records.release()
    second = Records(tmp_path)
    second.take()
    second.release()
    with pytest.raises(LockedError, match="No such file or directory"):
        Records(tmp_path / "gone").take()
