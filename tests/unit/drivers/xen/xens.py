"""Recorded words of Xen; an xl, a drbdsetup and a xenstore-watch that fail on everything that they were not told."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path

RECORDINGS = Path(__file__).resolve().parents[3] / "recordings/xen/xl-4.17"
DRBD = Path(__file__).resolve().parents[3] / "recordings/drbd"

#: The domain of every recorded table is called web here, and has this UUID.
UUID = "2abfb27d-16ee-4220-8844-4b1a58d15981"

PROGRAM = r"""#!/bin/sh
cd "${0%/*}/said" || exit 98
set -- "${0##*/}" "$@"
echo "$*" >>../told
key=$(printf %s "$*" | tr ' /' '__')
if [ "$key" = xl_list_-v ]; then
    . ../table.sh
fi
for answer in "$key".*.sh; do break; done
if [ ! -e "$answer" ]; then
    echo "nobody expected: $*" >&2
    exit 99
fi
set -- "$key".*.sh
script=$(cat "$1")
[ $# -eq 1 ] || rm "$1"
eval "$script"
"""


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


async def until(true: Callable[[], object]) -> None:
    """Wait for it. TimeoutError when it does not come."""
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


class FakeXen:
    """Programs on PATH. What each says is scripted for its command line; the last of several answers stays."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._said = directory / "said"
        self._said.mkdir(parents=True)
        self._number = 0
        for program in ("xl", "drbdsetup", "xenstore-watch"):
            (directory / program).write_text(PROGRAM)
            (directory / program).chmod(0o755)
        self.show(table("absent"))

    def script(self, argv: str, script: str) -> None:
        """Have it run `script`."""
        self._number += 1
        key = argv.replace(" ", "_").replace("/", "_")
        (self._said / f"{key}.{self._number:04}.sh").write_text(script)

    def forget(self, argv: str) -> None:
        """What was scripted for it is no more."""
        for answer in self._said.glob(argv.replace(" ", "_").replace("/", "_") + ".*.sh"):
            answer.unlink()

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

    @property
    def told(self) -> list[str]:
        """The command lines that they were given, in order."""
        path = self.directory / "told"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def deeds(self) -> list[str]:
        """The commands that change something."""
        looks = ("xl list", "xl -N", "xl info", "drbdsetup events2 --now", "xenstore-watch")
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

    def xl(self, pid: int, *words: str, stdout: str = "pipe:[13035]", comm: str = "xl") -> Path:
        """There is one: its command line, and what it writes to."""
        process = self.root / str(pid)
        (process / "fd").mkdir(parents=True)
        (process / "comm").write_text(f"{comm}\n")
        (process / "cmdline").write_bytes(b"".join(os.fsencode(word) + b"\0" for word in words))
        (process / "fd/1").symlink_to(stdout)
        (process / "cwd").symlink_to("/")
        return process

    def keeper(self, pid: int, config: str, name: str = "web") -> Path:
        """The daemon that a finished ``xl create`` left behind."""
        return self.xl(pid, "/usr/lib/xen-4.17/bin/xl", "create", config, stdout=f"/var/log/xen/xl-{name}.log")
