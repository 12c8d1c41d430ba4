"""A real daemon among those who do not answer: nothing that waits for them runs in the loop's thread."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.daemon.living import Living, wait_for

#: Gives the daemon a /run of its own, in which journald does not read what it is sent.
ENTER = """
mount -t tmpfs none /run
mkdir -p /run/systemd/journal
mount --bind "$0" /run/systemd/journal
exec "$@"
"""


class Ignored(Living):
    """A daemon whose journald takes no line, and whose systemd takes no message."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.outside = directory / "outside"
        self.outside.mkdir()
        self._unread = []
        for name in ("socket", "notify"):
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            listening.bind(str(self.outside / name))
            self._unread.append(listening)

    def words(self) -> list[str]:
        own = [word if word != "json" else "journal" for word in super().words()]
        return ["unshare", "--mount", "sh", "-ec", ENTER, str(self.outside), *own]

    def close(self) -> None:
        for listening in self._unread:
            listening.close()


@pytest.fixture
def ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ignored]:
    made = Ignored(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", str(made.outside / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "60000")  # 50 messages a second
    yield made
    made.stop()
    made.close()


def test_who_does_not_listen_stops_nothing(ignored: Ignored) -> None:
    ignored.instance()
    for number in range(8):
        ignored.resource(f"r{number}")
    ignored.start()
    for _ in range(3):
        ignored.hook("MASTER")
        ignored.until("active")
        ignored.hook("BACKUP")
        ignored.until("standby")
    told = wait_for("it is noticed", lambda: (t := ignored.status()["log"])["trouble"] and t)
    assert told["trouble"].startswith("journald has taken no line for ")
    ignored.stop()  # ends, though nobody takes what it has to say
