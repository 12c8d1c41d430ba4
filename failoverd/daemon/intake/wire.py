"""Parse the lines of hooks and of keepalived's FIFO. No I/O here.

`hooks/notify` defines the hook's line: tab separated, with a version. keepalived's ``notify_fifo()`` in
``vrrp_notify.c`` defines the FIFO's: ``INSTANCE "VI_1" MASTER 150``, with the name in quotes and otherwise as it was
configured. A FIFO of keepalived's ``notify_fifo`` also gets the health checks of LVS: ``VS [192.0.2.1]:tcp:80 UP``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: The longest line, its newline included. A longer one is no event.
MAX_LINE_BYTES = 4096

_NAME = rb"[^\x00-\x1f\x7f]{1,1024}"
_FIFO = re.compile(rb'(INSTANCE|GROUP) "(' + _NAME + rb')" ([A-Z_]{1,64})(?: (\d{1,9}))?')
_REJECTED_ARGUMENTS = re.compile(rb"!\t\d{1,9}\t([^\x00-\x1f\x7f]{0,200})")
_LVS = re.compile(rb"[VR]S [^\x00-\x1f\x7f]{1,2048} (?:UP|DOWN)")
_HOOK = re.compile(
    rb"1\t([0-9a-f-]{36})\t(\d{1,18})\t(\d{1,9})\t(INSTANCE|GROUP)\t(" + _NAME + rb")\t([A-Z_]{1,64})\t(\d{0,9})"
)


class Report(NamedTuple):
    """One report of keepalived. `kind`: INSTANCE or GROUP. `state`: a keepalived state or MASTER_RX_LOWER_PRI.

    `priority`: None when the line has none.
    """

    kind: str
    name: str
    state: str
    priority: int | None


class HookReport(NamedTuple):
    """A hook's report and its fork time: clock ticks since the boot `boot`, and pid."""

    report: Report
    boot: str
    ticks: int
    pid: int


def _report(kind: bytes, name: bytes, state: bytes, priority: bytes | None) -> Report:
    # No configured name is other than UTF-8; this one must only do no harm in the log and in the history.
    return Report(
        kind.decode(), name.decode(errors="backslashreplace"), state.decode(), int(priority) if priority else None
    )


def parse_fifo(line: bytes) -> Report | None:
    """Parse a line of the FIFO, without its newline; None: it is malformed."""
    found = _FIFO.fullmatch(line)
    return _report(*found.groups()) if found else None


def of_lvs(line: bytes) -> bool:
    """Whether the FIFO's line reports a virtual or real server of LVS, which failoverd ignores."""
    return _LVS.fullmatch(line) is not None


def parse_hook(line: bytes) -> HookReport | None:
    """Parse a hook's line, without its newline; None: it is malformed."""
    found = _HOOK.fullmatch(line)
    if not found:
        return None
    boot, ticks, pid, *report = found.groups()
    return HookReport(_report(*report), boot.decode(), int(ticks), int(pid))


def parse_rejected_arguments(line: bytes) -> str | None:
    """The invalid arguments that a hook reports in `line`; None: it is another line."""
    found = _REJECTED_ARGUMENTS.fullmatch(line)
    return found[1].decode(errors="backslashreplace") if found else None


class Framer:
    """Joins pieces of any size to lines. Keeps at most `MAX_LINE_BYTES`; `overlong`: the number of dropped lines."""

    def __init__(self) -> None:
        self.overlong = 0
        self._partial = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next piece; return the lines that it completes, without their newlines."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        if self._skipping and lines:
            del lines[0]
            self._skipping = False
        if lines and len(max(lines, key=len)) >= MAX_LINE_BYTES:
            self.overlong += sum(len(line) >= MAX_LINE_BYTES for line in lines)
            lines = [line for line in lines if len(line) < MAX_LINE_BYTES]
        if self._skipping:
            self._partial = b""
        elif len(self._partial) >= MAX_LINE_BYTES:
            self.overlong += 1
            self._partial = b""
            self._skipping = True
        return lines
