"""The last resort: what cannot be stopped here ends with the machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from failoverd import log
from failoverd.daemon import boot
from failoverd.records import records

#: Seconds that other writers get to have their data on the disk. One of the disks may be what hangs.
SYNC = 10.0

#: A ``b`` written here reboots at once, without asking anybody (the kernel's sysrq.rst); root may, whatever
#: kernel.sysrq says.
TRIGGER = Path("/proc/sysrq-trigger")

_RECORD = "maybe-active"
_log = log.get("reboot")


def remember(resources: frozenset[tuple[str, str]]) -> None:
    """Let the next daemon know what may be active, by instance and name: it may have to reboot for it."""
    records.write(_RECORD, {"resources": sorted(resources)})


def recall() -> frozenset[tuple[str, str]]:
    """What an earlier daemon of this boot remembered; nothing, where it cannot be told."""
    found = records.read(_RECORD) or {"resources": ()}
    return frozenset((instance, resource) for instance, resource in found["resources"])


class Reboot:
    """A reboot of this machine, for as long as somebody wants it; `trigger` is a file.

    A machine that has only just booted is not rebooted yet: it would do nothing else for ever.
    """

    def __init__(self, trigger: Path = TRIGGER) -> None:
        self._trigger = trigger
        self._wanted = ""
        self._waits = False
        self.thread: threading.Thread | None = None

    def want(self, reason: str) -> None:
        """Reboot, in a thread of its own, so that nothing waits for a disk. Empty: no more, if it is not too late.

        To be said again for as long as it is so: what could not be done is tried again.
        """
        self._wanted = reason
        if not reason or (self.thread is not None and self.thread.is_alive()):
            return
        if boot.recent():
            if not self._waits:
                _log.critical("not rebooted: the machine has only just booted. Cut its power", reason=reason)
            self._waits = True
            return
        _log.critical("rebooting this machine", reason=reason, sync=SYNC)
        self.thread = self._begun(self._reboot, "reboot")

    def _reboot(self) -> None:
        syncing = self._begun(os.sync, "sync")
        if syncing is not None:
            syncing.join(SYNC)
        if not self._wanted:
            _log.warning("not rebooted: it has ended by itself")
            return
        try:
            self._trigger.write_text("b", encoding="ascii")
        except OSError as error:
            _log.critical("this machine cannot be rebooted: cut its power", file=str(self._trigger), why=str(error))

    @staticmethod
    def _begun(work: Callable[[], None], name: str) -> threading.Thread | None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            _log.critical("no thread can be started", name=name, why=str(error))
            return None
        return thread
