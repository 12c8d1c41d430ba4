"""A small file of the state directory, through a process of its own."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from failoverd.daemon.persistence import state_file

_ROOT = Path(__file__).parents[4]


async def test_the_content_comes_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "state" / "f"
    await state_file.write(file, "ü\r\n\n".encode())
    assert await state_file.read(file, 10.0) == "ü\r\n\n"
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_missing_file_is_that(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await state_file.read(tmp_path / "f", 10.0)


async def test_another_error_has_its_number(tmp_path: Path) -> None:
    (tmp_path / "f").symlink_to("elsewhere")
    with pytest.raises(OSError, match="Too many levels of symbolic links") as caught:
        await state_file.read(tmp_path / "f", 10.0)
    assert caught.value.errno == errno.ELOOP


async def test_a_process_that_dies_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_file, "_PROGRAM", ("sh", "-c", "kill -9 $$"))
    with pytest.raises(OSError, match="ended with"):
        await state_file.write(tmp_path / "f", b"")


async def test_a_program_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_file, "_PROGRAM", ("/no/python3",))
    with pytest.raises(OSError, match="/no/python3"):
        await state_file.read(tmp_path / "f", 10.0)


def test_its_process_imports_little() -> None:
    program = "import sys, failoverd.daemon.persistence.process; print(*sys.modules)"
    # -S: a virtual environment imports more.
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], cwd=_ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    assert not {"asyncio", "dataclasses", "json", "typing"} & set(done.stdout.split())
