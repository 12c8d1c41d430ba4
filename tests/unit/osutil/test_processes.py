"""Processes as proc(5) shows them: real ones, and a /proc of our own where that cannot be."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from failoverd.osutil import processes
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


def test_what_a_process_is_and_who_its_ancestors_are(tmp_path: Path) -> None:
    program = tmp_path / "a (b) c"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as process:
        try:
            seen = wait_for("it runs the program", lambda: processes.look(process.pid), until=_runs(program), within=60)
            assert seen is not None
            assert (seen.pid, seen.parent, seen.frozen) == (process.pid, os.getpid(), False)
            assert (seen.uid, seen.network) == (os.geteuid(), processes.network("self"))
            assert next(processes.ancestors(process.pid)) == os.getpid()
            program.unlink()
            assert processes.program(process.pid) == program.name, "a file that was replaced is what it was"
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            assert processes.look(process.pid) is None, "a zombie has ended"
        finally:
            process.kill()
    assert processes.look(process.pid) is None
    assert processes.program(process.pid) == ""
    assert list(processes.ancestors(process.pid)) == []


@pytest.mark.parametrize(
    ("groups", "file", "says"),
    [
        ("0::/system.slice/k.service", "system.slice/k.service/cgroup.events", "populated 1\nfrozen {}\n"),
        ("0::/k", "unified/k/cgroup.events", "populated 1\nfrozen {}\n"),
        ("7:freezer:/k\n1:name=systemd:/s\n0::/", "freezer/k/freezer.state", "{}\n"),
    ],
)
def test_what_its_control_group_has_frozen_is_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, file: str, says: str
) -> None:
    """Its state is that of any process that sleeps."""
    proc, state = tmp_path / "proc", tmp_path / "cgroup" / file
    shutil.copytree(f"/proc/{os.getpid()}/net", proc / "7" / "net", ignore=lambda _, names: {*names} - {"dev"})
    for name in ("stat", "status"):
        (proc / "7" / name).write_bytes(Path(f"/proc/self/{name}").read_bytes())
    (proc / "7" / "cgroup").write_text(f"{groups}\n")
    monkeypatch.setattr(processes, "PROC", proc)
    monkeypatch.setattr(processes, "CGROUPS", tmp_path / "cgroup")
    found = []
    for word in (None, "0", "1", "THAWED", "FROZEN"):
        if word is not None:
            state.parent.mkdir(parents=True, exist_ok=True)
            state.write_text(says.format(word))
        process = processes.look(7)
        assert process is not None
        found.append(process.frozen)
    assert found == [False, False, "frozen" in says, False, "frozen" not in says]


def _runs(program: Path) -> Callable[[processes.Process | None], bool]:
    return lambda seen: seen is not None and seen.program == program.name


def test_where_the_program_is_not_shown_its_name_for_itself_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: str) -> str:
        raise PermissionError

    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "comm").write_text("keepalived\n")
    monkeypatch.setattr(processes, "PROC", tmp_path)
    monkeypatch.setattr(os, "readlink", denied)
    assert processes.program(7) == "keepalived"


def test_who_writes_into_a_fifo(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with (
        subprocess.Popen(["sh", "-c", 'exec 3<>"$0"; echo; read x', fifo], stdin=-1, stdout=-1) as writer,
        subprocess.Popen(["sh", "-c", 'exec 3<"$0"; echo; read x', fifo], stdin=-1, stdout=-1) as reader,
    ):
        for process in (writer, reader):
            assert process.stdout is not None
            process.stdout.readline()
        other = tmp_path / "other" / "fifo"
        other.parent.mkdir()
        os.mkfifo(other)
        assert processes.writers(fifo) == [writer.pid]
        assert processes.writers(other) == [], "another of the same name"
        writer.kill()
        reader.kill()
    assert not processes.writes(writer.pid, fifo)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_who_has_a_raw_socket(family: socket.AddressFamily) -> None:
    assert not processes.has_raw_socket(os.getpid(), 253)
    with socket.socket(family, socket.SOCK_RAW, 253):
        assert processes.has_raw_socket(os.getpid(), 253)
        assert not processes.has_raw_socket(os.getpid(), 254)
        assert not processes.has_raw_socket(os.getppid(), 253)


@pytest.mark.parametrize(
    ("mode", "writes", "reads"), [(os.O_RDONLY, False, True), (os.O_WRONLY, True, False), (os.O_RDWR, True, True)]
)
def test_who_writes_a_file_and_who_reads_it(tmp_path: Path, mode: int, writes: bool, reads: bool) -> None:
    file = tmp_path / "file"
    file.touch()
    descriptor = os.open(file, mode)
    with subprocess.Popen(["sleep", "60"], pass_fds=[descriptor]) as other:
        os.close(descriptor)
        try:
            wait_for("it is a sleep", lambda: processes.program(other.pid) == "sleep", within=20)
            assert (other.pid in processes.writers(file), other.pid in processes.readers(file)) == (writes, reads)
            assert processes.name(other.pid) == "sleep"
        finally:
            other.kill()
