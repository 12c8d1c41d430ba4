"""What is remembered: whole, of this boot, and never what is no longer true."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from failoverd.records import LockedError, Records, get, put
from failoverd.trouble import Troubles
from tests.unit import full


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with full.tmpfs(tmp_path / "small") as small:
        yield small


def texts(troubles: Troubles) -> list[str]:
    return [each.text for each in troubles.standing]


def test_a_record_is_read_by_the_next_daemon(records: Records, tmp_path: Path) -> None:
    assert records.read("last") is None
    assert records.write("last", {"VI_1": ["MASTER", 3]})
    assert records.write("other", {})
    assert Records(tmp_path).read("last") == {"VI_1": ["MASTER", 3]}
    assert sorted(records.names("*")) == ["last", "other"]
    assert records.names("l*") == ["last"]


def test_another_boot_s_record_is_nothing(records: Records, troubles: Troubles) -> None:
    records.write("last", {"a": 1})
    file = records.directory / "last"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"boot": "another"}))
    assert records.read("last") is None
    assert texts(troubles) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", "{}", "\xff", '{"boot": 1'])
def test_a_damaged_record_is_nothing_and_is_said(records: Records, troubles: Troubles, text: str) -> None:
    records.write("last", {"a": 1})
    (records.directory / "last").write_text(text, encoding="latin-1")
    assert records.read("last") is None
    assert "cannot be read and is not believed" in texts(troubles)[0]
    assert records.write("last", {"a": 2})
    assert texts(troubles) == []


def test_a_link_is_not_followed(records: Records, tmp_path: Path) -> None:
    records.write("last", {"a": 1})
    (records.directory / "last").rename(tmp_path / "outside")
    (records.directory / "last").symlink_to(tmp_path / "outside")
    assert records.read("last") is None
    assert records.write("last", {"a": 2})
    assert json.loads((tmp_path / "outside").read_text())["a"] == 1


def test_where_the_file_system_is_full_the_old_room_is_used(small: Path, troubles: Troubles) -> None:
    records = Records(small)
    records.write("last", {"state": "MASTER", "more": "x" * 100})
    records.write("notes", {"state": "old", "more": "x" * 100})
    full.fill(small)
    assert records.write("last", {"state": "BACKUP"})
    assert records.write("notes", {"state": "new"}, keep_old=True)
    assert records.read("last") == {"state": "BACKUP"}
    assert records.read("notes") == {"state": "new"}
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
    assert records.read("last") is None
    assert records.read("notes") == {"state": "old"}
    assert records.read("first") is None
    said = [f"{small}/records/{name} cannot be written: No space left on device" for name in ("last", "notes", "first")]
    assert [text.partition(". Is")[0] for text in texts(troubles)] == [
        said[0],
        f"{said[1]}, and what it says is out of date",
        said[2],
    ]
    filler.unlink()
    records.look()
    assert records.read("last") == large
    assert records.read("notes") == {"state": "old"}, "who was told that it is not recorded did not act on it"
    assert len(texts(troubles)) == 1
    assert records.write("notes", large, keep_old=True)
    assert texts(troubles) == []


def test_what_cannot_even_be_removed_is_said(small: Path, troubles: Troubles) -> None:
    records = Records(small)
    records.write("last", {"state": "MASTER"})
    full.read_only(small)
    assert not records.write("last", {"state": "BACKUP"})
    assert "Read-only file system, and what it says is out of date" in texts(troubles)[0]
    full.read_only(small, is_so=False)
    assert records.write("last", {"state": "BACKUP"})
    assert texts(troubles) == []


def test_a_runtime_directory_that_is_gone_is_not_made(records: Records, tmp_path: Path, troubles: Troubles) -> None:
    records.move(tmp_path / "gone")
    assert not records.write("last", {})
    assert not (tmp_path / "gone").exists()
    assert "No such file or directory" in texts(troubles)[0]


def test_what_was_removed_is_written_again(records: Records, tmp_path: Path) -> None:
    records.write("last", {"a": 1})
    records.write("last", {"a": 2})
    records.write("other", {"b": 1})
    for file in records.directory.iterdir():
        file.unlink()
    records.directory.rmdir()
    records.restore()
    assert (Records(tmp_path).read("last"), Records(tmp_path).read("other")) == ({"a": 2}, {"b": 1})


def test_what_is_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda _descriptor, data: len(data))
        with pytest.raises(OSError, match="does not hold what was written"):
            put(tmp_path / "file", b"1\n")
    put(tmp_path / "file", b"1\n")
    assert get(tmp_path / "file") == b"1\n"


def test_one_daemon_at_a_time(records: Records, tmp_path: Path) -> None:
    records.take()
    with pytest.raises(LockedError, match=r"another failoverd holds .*/lock: stop it"):
        Records(tmp_path).take()
    records.release()
    second = Records(tmp_path)
    second.take()
    second.release()
    with pytest.raises(LockedError, match="No such file or directory"):
        Records(tmp_path / "gone").take()
