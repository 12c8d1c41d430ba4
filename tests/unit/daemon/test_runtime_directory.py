"""The runtime directory is removed while the daemon runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from failoverd.daemon.runtime_directory import RuntimeDirectory, RuntimeDirectoryError
from failoverd.records import Records, spare
from tests.unit.daemon.running_daemon import PATIENCE, RunningDaemon, wait_for


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningDaemon]:
    made = RunningDaemon(tmp_path)
    made.instance()
    made.resource("disk")
    yield made
    made.end()
    shutil.rmtree(spare(made.run_dir), ignore_errors=True)


def ended(node: RunningDaemon) -> int:
    assert node.process is not None
    status = node.process.wait(PATIENCE)
    node.process = None
    return status


def remove(directory: Path) -> None:
    """Also while the daemon writes there."""
    wait_for("it is gone", lambda: subprocess.run(["rm", "-rf", directory], check=False).returncode == 0)


def replace(directory: Path) -> None:
    remove(directory)
    directory.mkdir()


def move(directory: Path) -> None:
    directory.rename(directory.with_name("elsewhere"))


def empty(directory: Path) -> None:
    for path in directory.iterdir():
        remove(path)


@pytest.mark.parametrize("do", [remove, replace, move, empty])
def test_it_ends_and_the_next_one_knows_all(node: RunningDaemon, do: Callable[[Path], None]) -> None:
    node.start()
    node.hook("MASTER")
    node.until("active")
    do(node.run_dir)
    assert ended(node) == os.EX_CANTCREAT
    assert "failoverd exits, because its runtime directory was changed" in node.log.read_text()
    node.start()
    assert node.until("active")["vrrp_state"] == "MASTER"
    node.hook("BACKUP")
    node.until("standby")
    node.fifo('INSTANCE "VI_1" MASTER 150')
    node.until("active")
    assert (node.run_dir / "track" / "VI_1").read_text() == "0\n"


@pytest.mark.parametrize("name", ["notify.sock", "control.sock", "lock"])
def test_what_others_must_find_is_not_done_without(node: RunningDaemon, name: str) -> None:
    node.start()
    (node.run_dir / name).unlink()
    assert ended(node) == os.EX_CANTCREAT
    node.start()


@pytest.mark.parametrize("name", ["keepalived.fifo", "spool", "track", "records"])
def test_what_can_be_made_again_is(node: RunningDaemon, name: str) -> None:
    node.look_often()
    node.start()
    node.hook("MASTER")
    node.until("active")
    path = node.run_dir / name
    path.unlink() if path.is_fifo() else shutil.rmtree(path)
    wait_for("it is there again", path.exists)
    if path.is_dir() and name != "spool":
        wait_for("all of it", lambda: any(path.iterdir()))
    node.hook("BACKUP")
    node.until("standby")


def test_systemd_s_sockets_without_a_file_are_not_waited_at(node: RunningDaemon) -> None:
    fifo = node.run_dir / "keepalived.fifo"
    node.run_dir.mkdir()
    os.mkfifo(fifo)
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(node.run_dir / "notify.sock"))
        listening.listen(64)
        keepalived = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        stack.callback(os.close, keepalived)
        node.listening = [listening, stack.enter_context(fifo.open("r+b", buffering=0))]
        node.start()
        node.hook("MASTER")
        node.until("active")
        remove(node.run_dir)
        assert ended(node) == os.EX_CANTCREAT
        os.write(keepalived, b'INSTANCE "VI_1" BACKUP 150\n')  # into the one that systemd holds
        for _ in range(2):
            node.start()
            node.until("standby")
            (sockets,) = (each for each in node.status()["troubles"] if each["about"] == "systemd-sockets")
            assert "systemctl restart failoverd.socket" in sockets["text"]
            node.stop()
        node.start()
        os.write(keepalived, b'INSTANCE "VI_1" MASTER 150\n')
        node.until("active")
        assert "fifo-moved" in [each["about"] for each in node.status()["troubles"]]
        node.hook("BACKUP")
        node.until("standby")


def test_what_was_there_has_to_stay(tmp_path: Path) -> None:
    for name in ("lock", "notify.sock"):
        (tmp_path / name).touch()
    records = Records(tmp_path)
    records.write("last", {})
    directory = RuntimeDirectory(tmp_path, records)
    directory.take()
    assert directory.check()
    directory.confirm()
    shutil.rmtree(records.directory)
    (tmp_path / "other").touch()
    (tmp_path / "other").rename(tmp_path / "lock")
    assert not directory.check()
    assert directory.lost == tmp_path / "lock"
    with pytest.raises(
        RuntimeDirectoryError, match="lock was removed while failoverd ran: systemctl restart failoverd"
    ):
        directory.confirm()
    assert Records(tmp_path).read("last", dict) == {}
