"""The last resort: what cannot be stopped here ends with the machine."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from failoverd import log
from failoverd.daemon import boot

#: Seconds that other writers get to have their data on the disk. One of the disks may be what hangs.
SYNC = 10.0

#: A ``b`` written here reboots at once, without asking anybody (the kernel's sysrq.rst); root may, whatever
#: kernel.sysrq says.
TRIGGER = Path("/proc/sysrq-trigger")

_log = log.get("reboot")


def reboot(reason: str, *, trigger: Path = TRIGGER) -> threading.Thread | None:
    """Reboot this machine, in a thread of its own: nothing waits for a disk.

    None where it has only just booted: it would do nothing else for ever.
    """
    if boot.recent():
        uptime = boot.uptime()
        _log.critical("not rebooted: the machine has only just booted. Cut its power", reason=reason, uptime=uptime)
        return None
    _log.critical("rebooting this machine", reason=reason, sync=SYNC)
    thread = threading.Thread(target=_reboot, args=(trigger,), name="reboot", daemon=True)
    thread.start()
    return thread


def _reboot(trigger: Path) -> None:
    syncing = threading.Thread(target=os.sync, name="sync", daemon=True)
    syncing.start()
    syncing.join(SYNC)
    try:
        trigger.write_text("b", encoding="ascii")
    except OSError as error:
        _log.critical("this machine cannot be rebooted: cut its power", file=str(trigger), why=str(error))
