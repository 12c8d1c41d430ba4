"""A pseudo-terminal with failoverctl in it: its screen, its keys, and its end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

GOLDEN = Path(__file__).with_name("golden")

#: Seconds until a screen that does not come is an error.
PATIENCE = 30.0

#: Runs a program with the signals as a shell at a terminal has them: nohup(1) and jobs in the background ignore some.
UNTOUCHED = ("env", "--default-signal=INT,TERM,HUP,TSTP")

#: What no program writes.
_MARK = "\x1b[0;0;0;0m"

_SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


class Terminal:
    """failoverctl with `words`, on a terminal of its own of `columns` and `rows`.

    `inside` makes of a command the one that runs it in another place.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        columns: int,
        rows: int = 40,
        inside: Callable[[list[str]], list[str]] = list,
        **environment: str,
    ) -> None:
        self._ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(its)
        self._its = its
        kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *UNTOUCHED, *inside([sys.executable, "-m", "failoverd.ctl", *words])],
            stdin=its, stdout=its, stderr=its, env=kept | {"TERM": "xterm"} | environment,
        )  # fmt: skip
        self.written = ""

    def read(self, within: float = 0.0) -> bool:
        """Read what it has written; whether there was anything within so many seconds."""
        ready, _, _ = select.select([self._ours], [], [], within)
        if not ready:
            return False
        try:
            self.written += os.read(self._ours, 65536).decode()
        except OSError:
            return False
        return True

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it is true of what is shown."""
        give_up = time.monotonic() + PATIENCE
        while not condition():
            self.read(0.05)
            assert time.monotonic() < give_up, f"waited in vain; the screen is:\n{self.screen}"

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self) -> int:
        """Wait for the end, and return the exit status.

        The kernel passes on what was written a moment later; so a mark follows it.
        """
        self.until(lambda: self.process.poll() is not None)
        os.write(self._its, _MARK.encode())
        self.until(lambda: _MARK in self.written)
        self.written = self.written.replace(_MARK, "")
        return self.process.wait()

    def close(self) -> None:
        """At the end of a test: SIGTERM, because a killed process writes no coverage data."""
        self.process.terminate()
        with suppress(AssertionError):
            self.end()
        self.process.kill()
        self.process.wait()
        for descriptor in (self._ours, self._its):
            os.close(descriptor)

    @property
    def attributes(self) -> object:
        """The settings of the terminal, as tcgetattr(3) has them."""
        return termios.tcgetattr(self._its)

    @property
    def alternate(self) -> bool:
        """Whether the alternate screen is shown."""
        return self.written.rfind("\x1b[?1049h") > self.written.rfind("\x1b[?1049l")

    @property
    def cursor(self) -> bool:
        """Whether the cursor is shown."""
        return self.written.rfind("\x1b[?25h") >= self.written.rfind("\x1b[?25l")

    @property
    def screen(self) -> str:
        """What is shown, without colours and without trailing space."""
        lines, row, column, at = [""], 0, 0, 0
        text = self.written
        while at < len(text):
            found = _SEQUENCE.match(text, at)
            if found is not None:
                at = found.end()
                if found[2] == "H":
                    row = column = 0
                elif found[2] == "K":
                    lines[row] = lines[row][:column]
                elif found[2] == "J" or found[1] in ("?1049h", "?1049"):
                    lines, row, column = [""], 0, 0
                continue
            char, at = text[at], at + 1
            if char == "\r":
                column = 0
            elif char == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            else:
                line = lines[row].ljust(column)
                lines[row] = line[:column] + char + line[column + 1 :]
                column += 1
        return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def golden(name: str, terminal: Terminal, normal: Callable[[str], str] = str) -> None:
    """Wait until the screen is that of the golden file; FAILOVERD_GOLDEN=write makes it, of a screen that rests.

    `normal` replaces what differs in every run.
    """
    file = GOLDEN / name
    if os.environ.get("FAILOVERD_GOLDEN") == "write":
        while terminal.read(0.5):
            pass
        file.write_text(normal(terminal.screen), encoding="utf-8")
    expected = file.read_text(encoding="utf-8")
    terminal.until(lambda: normal(terminal.screen) == expected)
