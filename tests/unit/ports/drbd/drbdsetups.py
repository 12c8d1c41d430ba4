"""Recorded words of DRBD, and a drbdsetup that says them and fails on everything that it was not told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from failoverd.ports.drbd import events, look, status
from failoverd.ports.drbd.status import Resource
from tests.unit.drivers.scripted import Programs

RECORDINGS = Path(__file__).resolve().parents[3] / "recordings/drbd"
NINE = RECORDINGS / "drbd-9.2"
EIGHT = RECORDINGS / "drbd-8.4"

STATUSES = sorted(NINE.glob("*/*.status.json"))
DUMPS = sorted(path for path in RECORDINGS.glob("*/*/*.events2-now.txt") if ".cmd." not in path.name)
NAMES = ("vpn", "web", "web9")

STATUS = "status --json vpn"
EVENTS = "events2 --now vpn"

FOLLOWED = """\
if [ "$key" = drbdsetup_events2 ]; then
    script='cat ../dump 2>/dev/null && exec cat ../changes; exit 97'
fi"""


def bare(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose kernel has no DRBD, and of which nothing has been seen yet."""
    monkeypatch.setattr(look, "PROC", directory / "proc-drbd")
    monkeypatch.setattr(look, "MODULE", directory / "module")
    monkeypatch.setattr(look, "_owners", {})


def recorded(state: Path, node: str, name: str = "vpn") -> Resource | None:
    """The resource as recorded in a state."""
    told = state / f"{node}.status.json"
    if told.exists():
        return status.parse(told.read_text(), name)
    page = (state / f"{node}.proc-drbd.txt").read_text()
    return events.parse((state / f"{node}.events2-now.txt").read_text(), name, lambda: status.minors(page))


def up(state: Path, node: str, name: str = "vpn") -> Resource:
    """The same, of one that is up."""
    view = recorded(state, node, name)
    assert view is not None
    return view


def live(path: Path) -> list[str]:
    """The lines of a recorded stream, without their times."""
    return [line.partition(" ")[2] for line in path.read_text().splitlines()]


def nine(directory: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDrbd:
    """One with DRBD 9, and a drbdsetup."""
    bare(directory, monkeypatch)
    monkeypatch.setenv("PATH", f"{directory / 'bin'}:{os.environ['PATH']}")
    look.PROC.write_text("version: 9.2.18 (api:2/proto:118-124)\n")
    return FakeDrbd(directory / "bin")


def _saying(stdout: str = "", stderr: str = "", code: int = 0) -> str:
    return f"cat <<'END'\n{stdout}\nEND\ncat >&2 <<'END'\n{stderr}\nEND\nexit {code}"


class FakeDrbd(Programs):
    """A drbdsetup on PATH; its command lines are without its name."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "drbdsetup", before=FOLLOWED)
        os.mkfifo(directory / "changes")
        self._changes = -1

    def script(self, command: str, script: str) -> None:
        super().script(f"drbdsetup {command}", script)

    def forget(self, command: str) -> None:
        super().forget(f"drbdsetup {command}")

    def rescript(self, command: str, script: str) -> None:
        super().rescript(f"drbdsetup {command}", script)

    def answer(self, argv: str, stdout: str = "", stderr: str = "", code: int = 0) -> None:
        self.script(argv, _saying(stdout, stderr, code))

    def transcript(self, argv: str, path: Path) -> None:
        """Have it say what was recorded: ``$ command``, its output, its complaints after ``2>``, ``exit N``."""
        _, *lines, last = path.read_text().splitlines()
        complaints = [line.removeprefix("2> ") for line in lines if line.startswith("2> ")]
        output = [line for line in lines if not line.startswith("2> ")]
        self.answer(argv, "\n".join(output), "\n".join(complaints), int(last.removeprefix("exit ")))

    def state(self, state: Path, node: str, name: str = "vpn") -> None:
        """Have it look as recorded from now on."""
        told = state / f"{node}.status.json"
        if told.exists():
            self.rescript(f"status --json {name}", _saying(told.read_text()))
        else:
            self.rescript(f"events2 --now {name}", f"cat {state / f'{node}.events2-now.txt'}")

    @property
    def told(self) -> list[str]:
        return [line.removeprefix("drbdsetup ") for line in super().told]

    def begin(self, dump: list[str]) -> None:
        """The stream that is begun next has this dump, and goes on with what `change` says."""
        self._changes = os.open(self.directory / "changes", os.O_RDWR | os.O_NONBLOCK)
        (self.directory / "dump.new").write_text("".join(f"{line}\n" for line in dump))
        (self.directory / "dump.new").rename(self.directory / "dump")

    def change(self, *lines: str) -> None:
        os.write(self._changes, "".join(f"{line}\n" for line in lines).encode())

    def end(self) -> None:
        """The stream ends, and the next one with it, until another is begun."""
        (self.directory / "dump").unlink(missing_ok=True)
        if self._changes >= 0:
            os.close(self._changes)
            self._changes = -1


def eight(state: Path, node: str) -> None:
    """Make it a machine with DRBD 8.4, whose page looks as recorded."""
    look.PROC.write_text((state / f"{node}.proc-drbd.txt").read_text())
