"""Processes by what they are called: real ones."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from failoverd import processes
from tests.lab.waiting import wait_for


def test_all_that_is_called_so_and_nothing_else() -> None:
    with subprocess.Popen(["sleep", "60"]) as first, subprocess.Popen(["sleep", "60"]) as second:
        try:
            # A program has its new name only some time after it was started.
            found = wait_for(
                "both are called sleep",
                lambda: processes.called("sleep"),
                until=lambda pids: {first.pid, second.pid} <= set(pids),
                within=20,
            )
            assert found == sorted(found)
            assert os.getpid() not in found
            assert not {first.pid, second.pid} & set(processes.called("slee"))
        finally:
            first.kill()
            second.kill()
    assert first.pid not in processes.called("sleep")


def test_what_ends_meanwhile_is_not_there_and_what_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    for pid in (7, 70, 8):
        (tmp_path / str(pid)).mkdir()
    for pid in (7, 70):
        (tmp_path / str(pid) / "comm").write_text("xl\n")
    assert processes.called("xl") == [7, 70]
    (tmp_path / "8" / "comm").mkdir()
    with pytest.raises(IsADirectoryError):
        processes.called("xl")
