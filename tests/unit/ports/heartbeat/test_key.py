"""The key that all nodes share: nobody else may read it, and it is long enough."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from failoverd.ports.heartbeat import key
from failoverd.ports.heartbeat.key import KeyUnusable

KEY = "0123456789" * 4


def file_of(tmp_path: Path, content: str = KEY + "\n", mode: int = 0o600) -> Path:
    file = tmp_path / "heartbeat.key"
    file.write_text(content)
    file.chmod(mode)
    return file


def test_the_key_is_the_line_of_the_file(tmp_path: Path) -> None:
    assert key.read(str(file_of(tmp_path))) == KEY.encode()


def test_the_command_of_the_manual_makes_one(tmp_path: Path) -> None:
    file = tmp_path / "made by hand.key"
    with pytest.raises(KeyUnusable, match="is missing; make one, and copy it to every node: ") as raised:
        key.read(str(file))
    command = raised.value.remedy
    subprocess.run(["sh", "-c", f"umask 022; {command}"], check=True)
    assert len(key.read(str(file))) == 44


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o777])
def test_a_key_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    file = file_of(tmp_path, mode=mode)
    with pytest.raises(KeyUnusable) as raised:
        key.read(str(file))
    assert str(raised.value) == f"others may use the key {file}; run: chmod 600 {file}"
    subprocess.run(["sh", "-c", raised.value.remedy], check=True)
    assert key.read(str(file)) == KEY.encode()


def test_a_key_of_another_user_is_refused(tmp_path: Path) -> None:
    file = file_of(tmp_path)
    os.chown(file, 12345, 12345)
    with pytest.raises(KeyUnusable, match="belongs to another user; run: chown root: "):
        key.read(str(file))


@pytest.mark.parametrize("content", ["", "\n", "short\n", "x" * 31 + "\n" * 20])
def test_a_short_key_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(KeyUnusable, match="bytes, and 32 are needed; make one, and copy it to every node: "):
        key.read(str(file_of(tmp_path, content)))


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "fifo"
    os.mkfifo(file, 0o600)
    with pytest.raises(KeyUnusable, match="is not a regular file"):
        key.read(str(file))


def test_a_credential_of_systemd_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(KeyUnusable, match=r"LoadCredential=heartbeat\.key in .* /etc/credstore/heartbeat\.key"):
        key.read("heartbeat.key")
    file_of(tmp_path, "short", mode=0o400)
    with pytest.raises(KeyUnusable, match=r"base64 > /etc/credstore/heartbeat\.key\) && systemctl restart failoverd$"):
        key.read("heartbeat.key")
    file_of(tmp_path, mode=0o400)
    assert key.read("heartbeat.key") == KEY.encode()
