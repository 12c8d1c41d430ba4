"""Who may hand events over."""

from __future__ import annotations

import socket
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from failoverd.daemon import access

USERS = {"keepalived_script": SimpleNamespace(pw_gid=4001), "hooks": SimpleNamespace(pw_gid=4002)}


@pytest.fixture
def runtime_dir(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "notify.sock"))
    return tmp_path


def owners(runtime_dir: Path) -> list[tuple[int, int, str]]:
    found = [(runtime_dir / name).stat() for name in ("notify.sock", "spool")]
    return [(each.st_uid, each.st_gid, oct(stat.S_IMODE(each.st_mode))) for each in found]


@pytest.mark.parametrize(
    ("configured", "there", "gid"),
    [
        (None, {"keepalived_script"}, 4001),  # keepalived's own default
        (None, set(), 0),
        ("hooks", {"keepalived_script", "hooks"}, 4002),
    ],
)
def test_the_script_user_may_tell(
    runtime_dir: Path, monkeypatch: pytest.MonkeyPatch, configured: str | None, there: set[str], gid: int
) -> None:
    monkeypatch.setattr("failoverd.daemon.access.pwd.getpwnam", {name: USERS[name] for name in there}.__getitem__)
    access.admit(runtime_dir, configured)
    assert owners(runtime_dir) == [(0, gid, "0o660"), (0, gid, "0o770")]


def test_a_script_user_that_is_not_there_is_named(runtime_dir: Path) -> None:
    with capture_logs() as lines:
        access.admit(runtime_dir, "nobody-of-that-name")
    assert lines[0]["script_user"] == "nobody-of-that-name"
    assert owners(runtime_dir) == [(0, 0, "0o660"), (0, 0, "0o770")]


def test_what_is_not_there_is_no_obstacle(tmp_path: Path) -> None:
    with capture_logs() as lines:
        access.admit(tmp_path, None)
    assert [line["file"] for line in lines] == ["notify.sock", "spool"]
