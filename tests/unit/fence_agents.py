"""Fence agents that do what a test wants, by the calling convention of the real ones: fencing.py of fence-agents."""

from __future__ import annotations

from pathlib import Path

RECORDINGS = Path(__file__).parents[1] / "recordings/fence/fence-agents-4.12.1"

#: What an honest agent does.
OFF = 'echo off >"$state"; echo "Success: Powered OFF"'
STATUS = """[ "$(cat "$state")" = on ] && { echo "Status: ON"; exit 0; }; echo "Status: OFF"; exit 2"""

_SCRIPT = """#!/bin/sh
state={folder}/state
given=$(cat)
action=$(printf '%s\\n' "$given" | sed -n 's/^action=//p')
echo "$action" >>{folder}/actions
[ "$action" != metadata ] || exec cat {metadata}
printf '%s\\n' "$given" >>{folder}/given
echo "$0 $*" >>{folder}/argv
case $action in
off) {off} ;;
status) {status} ;;
*) echo reboot >>{folder}/actions ;;
esac
"""


class ScriptedAgent:
    """An agent in `folder`, and its machine, which is on."""

    def __init__(self, folder: Path, *, off: str = OFF, status: str = STATUS, like: str = "fence_dummy") -> None:
        self.folder = folder
        self.path = folder / "fence_scripted"
        self.turn_on()
        self.path.write_text(_SCRIPT.format(folder=folder, off=off, status=status, metadata=RECORDINGS / f"{like}.xml"))
        self.path.chmod(0o755)

    def turn_on(self) -> None:
        (self.folder / "state").write_text("on\n")

    @property
    def is_on(self) -> bool:
        return (self.folder / "state").read_text() == "on\n"

    @property
    def actions(self) -> list[str]:
        """All that it was asked to do."""
        return self._lines("actions")

    @property
    def given(self) -> list[str]:
        """All lines of its standard input, but for the metadata."""
        return self._lines("given")

    @property
    def argv(self) -> list[str]:
        return self._lines("argv")

    def _lines(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []
