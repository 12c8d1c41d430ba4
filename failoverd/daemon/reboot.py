"""Reboot the machine, as the escalation of a resource that cannot be stopped. This module must not decide when."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from failoverd import log
from failoverd.osutil import boot
from failoverd.records import records, text

#: Seconds for writing other programs' data to disk. One of the disks may be the cause, and hang.
SYNC_TIMEOUT_S = 10.0

#: A ``b`` written here reboots at once (the kernel's sysrq.rst); root may write it, whatever kernel.sysrq is.
SYSRQ_TRIGGER = Path("/proc/sysrq-trigger")

_RECORD = "maybe-active"
_log = log.get("reboot")


def remember(resources: frozenset[tuple[str, str]]) -> None:
    """Record the resources that may be active, by instance and name: the next daemon may have to reboot for them."""
    records.write(_RECORD, {"resources": sorted(resources)})


def recall() -> frozenset[tuple[str, str]]:
    """The resources that an earlier daemon of this boot recorded.

    Empty, if it recorded none or the record is unreadable.
    """
    return records.read(_RECORD, _understand) or frozenset()


def _understand(fields: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((text(instance), text(resource)) for instance, resource in fields["resources"])


class Reboot:
    """Reboots this machine while a reason stands. `trigger`: the file that reboots it.

    A machine that has just booted is not rebooted, so that reboots cannot repeat without end.
    """

    def __init__(self, trigger: Path = SYSRQ_TRIGGER) -> None:
        self._trigger = trigger
        self._wanted = ""
        self._held_back = False
        self.thread: threading.Thread | None = None

    def want(self, reason: str) -> None:
        """Reboot, in a thread, because the disk may hang. An empty `reason` cancels it, if it is not too late.

        Call it again for as long as the reason stands: it retries a reboot that failed.
        """
        self._wanted = reason
        if not reason or (self.thread is not None and self.thread.is_alive()):
            return
        if boot.recent():
            if not self._held_back:
                _log.critical("not rebooting, because the machine has just booted: cut its power", reason=reason)
            self._held_back = True
            return
        _log.critical("rebooting this machine", reason=reason, sync=SYNC_TIMEOUT_S)
        self.thread = self._started(self._reboot, "reboot")

    def _reboot(self) -> None:
        syncing = self._started(os.sync, "sync")
        if syncing is not None:
            syncing.join(SYNC_TIMEOUT_S)
        if not self._wanted:
            _log.warning("not rebooting, because the reason has ended")
            return
        try:
            self._trigger.write_text("b", encoding="ascii")
        except OSError as error:
            _log.critical("cannot reboot this machine: cut its power", file=str(self._trigger), why=str(error))

    @staticmethod
    def _started(work: Callable[[], None], name: str) -> threading.Thread | None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            _log.critical("cannot start a thread", name=name, why=str(error))
            return None
        return thread
