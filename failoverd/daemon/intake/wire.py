"""What hooks and keepalived's FIFO write, as bytes and as values. No I/O here.

The hook's line is `hooks/notify`'s: tab separated, versioned. The FIFO's is keepalived's ``notify_fifo()`` in
``vrrp_notify.c``: ``INSTANCE "VI_1" MASTER 150``, the name in quotes and otherwise as it was configured. Where it is
``notify_fifo``'s, what its health checks say of LVS is among them: ``VS [192.0.2.1]:tcp:80 UP``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: Bytes of a line, its newline included. What is longer is not ours.
MAX_LINE = 4096

_NAME = rb"[^\x00-\x1f\x7f]{1,1024}"
_FIFO = re.compile(rb'(INSTANCE|GROUP) "(' + _NAME + rb')" ([A-Z_]{1,64})(?: (\d{1,9}))?')
_COMPLAINT = re.compile(rb"!\t\d{1,9}\t([^\x00-\x1f\x7f]{0,200})")
_LVS = re.compile(rb"[VR]S [^\x00-\x1f\x7f]{1,2048} (?:UP|DOWN)")
_HOOK = re.compile(
    rb"1\t([0-9a-f-]{36})\t(\d{1,18})\t(\d{1,9})\t(INSTANCE|GROUP)\t(" + _NAME + rb")\t([A-Z_]{1,64})\t(\d{0,9})"
)


class Said(NamedTuple):
    """What keepalived said. `word` is a VRRP state or another of its words; `priority` None when it was not given."""

    kind: str
    name: str
    word: str
    priority: int | None


class Handed(NamedTuple):
    """What a hook handed over, and when it was forked: ticks since the boot `boot`, and pid."""

    said: Said
    boot: str
    ticks: int
    pid: int


def _said(kind: bytes, name: bytes, word: bytes, priority: bytes | None) -> Said:
    # A name that is not UTF-8 is nobody's in the configuration; it must only not hurt where it is written down.
    return Said(
        kind.decode(), name.decode(errors="backslashreplace"), word.decode(), int(priority) if priority else None
    )


def parse_fifo(line: bytes) -> Said | None:
    """A line of the FIFO without its newline; None when it is not one."""
    found = _FIFO.fullmatch(line)
    return _said(*found.groups()) if found else None


def of_lvs(line: bytes) -> bool:
    """Whether the FIFO's line tells of a virtual or real server of LVS, which is nobody's business here."""
    return _LVS.fullmatch(line) is not None


def parse_hook(line: bytes) -> Handed | None:
    """A hook's line without its newline; None when it is not one."""
    found = _HOOK.fullmatch(line)
    if not found:
        return None
    boot, ticks, pid, *said = found.groups()
    return Handed(_said(*said), boot.decode(), int(ticks), int(pid))


def parse_complaint(line: bytes) -> str | None:
    """The words with which somebody ran a hook, and which were wrong; None when the line is no hook's complaint."""
    found = _COMPLAINT.fullmatch(line)
    return found[1].decode(errors="backslashreplace") if found else None


class Framer:
    """Lines out of pieces of any size. Keeps at most one line's bytes; `overlong` counts the lines dropped for that."""

    def __init__(self) -> None:
        self.overlong = 0
        self._partial = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their newlines."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        if self._skipping and lines:
            del lines[0]
            self._skipping = False
        if lines and len(max(lines, key=len)) >= MAX_LINE:
            self.overlong += sum(len(line) >= MAX_LINE for line in lines)
            lines = [line for line in lines if len(line) < MAX_LINE]
        if self._skipping:
            self._partial = b""
        elif len(self._partial) >= MAX_LINE:
            self.overlong += 1
            self._partial = b""
            self._skipping = True
        return lines
