"""Recorded words of Xen; an xl, a drbdsetup and a xenstore-watch that fail on everything that they were not told."""

from __future__ import annotations

import os
import re
from pathlib import Path

from failoverd.ports.drbd import look
from tests.unit.drivers.scripted import Programs
from tests.unit.ports.drbd.drbdsetups import NINE

RECORDINGS = Path(__file__).resolve().parents[3] / "recordings/xen/xl-4.17"

#: How all of DRBD's resources are asked for, and one.
EVENTS = "drbdsetup events2 --now"
STATUS = "drbdsetup status --json {}"

#: The domain of every recorded table is called web here, and has this UUID.
UUID = "2abfb27d-16ee-4220-8844-4b1a58d15981"

LISTING = """\
if [ "$key" = xl_list_-v ]; then
    script=$(cat ../table.sh)
fi"""


def recorded(name: str) -> tuple[str, str, int]:
    """What a command said: its output, its complaints, its exit status."""
    _, *lines, last = (RECORDINGS / f"{name}.txt").read_text().splitlines()
    errors = [line.removeprefix("2> ") for line in lines if line.startswith("2> ")]
    output = [line for line in lines if not line.startswith("2> ")]
    return "".join(f"{it}\n" for it in output), "".join(f"{it}\n" for it in errors), int(last.removeprefix("exit "))


def table(state: str, *, id: int = 7, name: str | None = None, uuid: str = UUID) -> str:
    """The recorded table of a state, its guest called web (or `name`, where it has one), with `id` and `uuid`."""
    output, _, _ = recorded(f"list-{state}")
    row = re.compile(r"^(?P<name>\S+) +[1-9]\d* (?P<middle>.*) [0-9a-f]{8}-[0-9a-f-]{27} ", re.MULTILINE)

    def renamed(found: re.Match[str]) -> str:
        its = "(null)" if found["name"] == "(null)" else name or "web"
        return f"{its:<40} {id:5} {found['middle']} {uuid} "

    return row.sub(renamed, output)


class FakeXen(Programs):
    """Xen's programs, and drbdsetup."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "xl", "drbdsetup", "ss", "xenstore-watch", before=LISTING)
        self.show(table("absent"))

    def answer(self, argv: str, stdout: str = "", stderr: str = "", code: int = 0, *, then: str | None = None) -> None:
        """Have it answer; and from `then` on, a table, be what xl lists."""
        after = (
            ""
            if then is None
            else f"cat >../table.new <<'END'\n{self.listing(then)}\nEND\nmv ../table.new ../table.sh\n"
        )
        script = f"cat <<'END'\n{stdout}\nEND\n" if stdout else ""
        self.script(argv, f"{after}{script}cat >&2 <<'END'\n{stderr}\nEND\nexit {code}")

    def transcript(self, argv: str, name: str, *, then: str | None = None) -> None:
        """Have it say what was recorded."""
        self.answer(argv, *recorded(name), then=then)

    def show(self, table: str) -> None:
        """From now on, this is what xl lists."""
        self.listed(self.listing(table))

    def listed(self, script: str) -> None:
        """From now on, listing runs this."""
        (self.directory / "table.new").write_text(script)
        (self.directory / "table.new").rename(self.directory / "table.sh")

    def drbd(self, state: Path, node: str = "left") -> None:
        """From now on DRBD is as recorded in a state: every resource of it."""
        dump = state / f"{node}.events2-now.txt"
        self._replace(EVENTS, dump)
        page = state / f"{node}.proc-drbd.txt"
        look.PROC.write_text(page.read_text() if page.exists() else "version: 9.2.18 (api:2/proto:118-124)\n")
        for name in sorted(set(re.findall(r"^exists resource name:(\S+)", dump.read_text(), re.MULTILINE))):
            if NINE in state.parents:
                self._replace(STATUS.format(name), state / f"{node}.status.json")
            else:
                self._replace(f"{EVENTS} {name}", dump)

    def _replace(self, command: str, said: Path) -> None:
        self.rescript(command, f"cat {said}")

    @property
    def deeds(self) -> list[str]:
        """The commands that change something."""
        xen = ("xl list", "xl -N", "xl info", "xenstore-watch")
        looks = (*xen, "drbdsetup events2 --now", "drbdsetup status", "drbdsetup show", "ss -Htan")
        return [line for line in self.told if not line.startswith(looks)]

    @staticmethod
    def listing(table: str) -> str:
        """A shell script that lists this table."""
        return f"cat <<'TABLE'\n{table.removesuffix(chr(10))}\nTABLE\nexit"


class FakeProcesses:
    """A /proc with the xl processes that the test put there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        (root / "self").mkdir()

    def xl(self, pid: int, *words: str, stdout: str = "pipe:[13035]", comm: str = "xl", uid: int = 0) -> Path:
        """There is one: its command line, what it writes to, and as whom it runs."""
        process = self.root / str(pid)
        (process / "fd").mkdir(parents=True)
        (process / "comm").write_text(f"{comm}\n")
        (process / "status").write_text(f"Name:\t{comm}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        (process / "cmdline").write_bytes(b"".join(os.fsencode(word) + b"\0" for word in words))
        (process / "fd/1").symlink_to(stdout)
        (process / "cwd").symlink_to("/")
        return process

    def keeper(self, pid: int, config: str, name: str = "web") -> Path:
        """The daemon that a finished ``xl create`` left behind."""
        return self.xl(pid, "/usr/lib/xen-4.17/bin/xl", "create", config, stdout=f"/var/log/xen/xl-{name}.log")
