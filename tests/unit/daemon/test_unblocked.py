"""A real daemon among those who do not answer: nothing that waits for them runs in the loop's thread."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.running_daemon import PATIENCE, RunningDaemon, wait_for
from tests.unit.ports.disks import Disk, hanging

#: Gives the daemon a /run of its own, with a journald that does not read what it is sent, and a user database that does
#: not answer: whoever opens the FIFO waits for somebody to write.
ENTER = """
mount -t tmpfs none /run
mkdir -p /run/systemd/journal
mount --bind "$0" /run/systemd/journal
for file in passwd group; do mount --bind "$0/directory" /etc/$file; done
exec "$@"
"""

#: One request by nobody, who is in no group that anybody knows.
ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as peer:
    peer.connect(sys.argv[1])
    peer.sendall(sys.argv[2].encode())
    print(peer.makefile().readline(), end="")
"""


class Besieged(RunningDaemon):
    """A daemon whom nobody answers: not journald, not systemd, not the user database, not the disk of its history."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.state_dir = directory / "disk"
        self.outside = directory / "outside"
        self.outside.mkdir()
        os.mkfifo(self.outside / "directory")
        self._unread = []
        for name in ("socket", "notify"):
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            listening.bind(str(self.outside / name))
            self._unread.append(listening)

    def words(self) -> list[str]:
        own = [word if word != "json" else "journal" for word in super().words()]
        return ["unshare", "--mount", "sh", "-ec", ENTER, str(self.outside), *own]

    def asked_by_nobody(self, verb: str) -> Any:
        request = json.dumps({"version": 1, "verb": verb, "instance": "VI_1"})
        told = subprocess.run(
            ["/usr/bin/python3", "-c", ASK, "control.sock", f"{request}\n"],
            capture_output=True, timeout=PATIENCE, check=True, user=65534, group=65534, extra_groups=[],
            cwd=self.run_dir,  # the directories above it are closed to nobody
        )  # fmt: skip
        return json.loads(told.stdout)

    def close(self) -> None:
        for listening in self._unread:
            listening.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with hanging(tmp_path / "disk", "") as disk:
        yield disk


@pytest.fixture
def besieged(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Besieged]:
    assert disk
    made = Besieged(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", str(made.outside / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "60000")  # 50 messages a second
    yield made
    made.stop()
    made.close()


def test_who_does_not_answer_stops_nothing(besieged: Besieged, disk: Disk) -> None:
    """Each answer would take for ever: what is followed at all was followed without one."""
    besieged.instance()
    for number in range(8):
        besieged.resource(f"r{number}")
    besieged.start()
    disk.asked()  # the process of the history waits for it, and cannot be killed
    (besieged.config.parent / "conf.d").mkdir()
    hanging_file = besieged.config.parent / "conf.d" / "hangs.toml"
    os.mkfifo(hanging_file)
    for _ in range(2):
        besieged.hook("MASTER")
        besieged.until("active")
        refused = besieged.asked_by_nobody("reset")
        assert "cannot look up the group failoverd" in refused["error"]
        besieged.hook("BACKUP")
        besieged.until("standby")
        besieged.reload()  # reads a file that nobody writes
    told = wait_for("it is noticed", lambda: (t := besieged.status()["log"])["trouble"] and t)
    assert told["trouble"].startswith("journald has taken no line for ")
    assert wait_for("it is noticed", lambda: besieged.status()["history"]["trouble"])
    besieged.hook("MASTER")
    besieged.until("active")
    besieged.stop(signal.SIGKILL)
    hanging_file.unlink()
    besieged.start()
    besieged.hook("BACKUP")
    besieged.until("standby")
    besieged.stop()  # ends, though nobody takes what it has to say


def test_a_disk_that_hangs_and_a_crash_leave_no_lock(tmp_path: Path, disk: Disk) -> None:
    node = RunningDaemon(tmp_path)
    node.state_dir = tmp_path / "disk"
    node.instance()
    node.resource("web")
    node.start()
    disk.asked()
    node.hook("MASTER")
    node.until("active")
    node.stop(signal.SIGKILL)
    node.start()
    node.hook("BACKUP")
    node.until("standby")
    node.stop()
