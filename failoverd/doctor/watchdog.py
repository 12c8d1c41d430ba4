"""The watchdog device of [quorum]: it is here, after a boot too, and nobody else has it.

It does not open the device, which would arm it.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from failoverd.doctor import systemd
from failoverd.doctor.finding import Finding
from failoverd.doctor.site import Site
from failoverd.ports import hardware_watchdog

#: As the kernel calls its own, which needs no hardware, and which nothing loads by itself.
_SOFTDOG = "Software Watchdog"
_LOADED = Path("/etc/modules-load.d")
_LOAD = "echo softdog >/etc/modules-load.d/softdog.conf; modprobe softdog"
_MANAGER = "/etc/systemd/system.conf.d/failoverd.conf"


async def look(site: Site) -> list[Finding]:
    """All findings about the watchdog. Raises DriverError if systemd does not answer."""
    quorum = site.configuration.core.quorum
    if quorum is None or quorum.watchdog is None:
        return []
    taken = await systemd.watchdog()
    return [*_device(quorum.watchdog), *([_taken(quorum.watchdog, taken)] if taken else [])]


def _device(path: str) -> Iterator[Finding]:
    unprotected = "Nothing resets this machine if its resources cannot be stopped, and another node starts them."
    try:
        found = Path(path).stat()
    except OSError:
        found = None
    if found is None or not stat.S_ISCHR(found.st_mode):
        yield Finding(
            code="watchdog-missing",
            about="watchdog",
            wrong=f"there is no device {path}",
            why=unprotected,
            fix=f"{_LOAD}    # or the driver of the hardware",
        )
        return
    shown = hardware_watchdog.shown(found.st_rdev)
    if shown.get("nowayout") == "1":
        yield Finding(
            code="watchdog-nowayout",
            about="watchdog",
            wrong=f"the driver of {path} was loaded with nowayout, so it cannot be disarmed",
            why=f"failoverd does not use it, as each stop of failoverd would reset the machine. {unprotected}",
            fix="grep -r nowayout /etc/modprobe.d /etc/default/grub    # remove it there, and reboot",
        )
    files = [*_LOADED.glob("*.conf"), Path("/etc/modules")]
    if shown.get("identity") == _SOFTDOG and not any("softdog" in _text(file) for file in files):
        yield Finding(
            code="watchdog-softdog",
            about="watchdog",
            wrong="softdog was loaded by hand, and is not loaded at boot",
            why=f"After a reboot there is no device {path}. {unprotected}",
            fix=_LOAD,
        )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _taken(path: str, timeout: str) -> Finding:
    return Finding(
        code="watchdog-systemd",
        about="watchdog",
        wrong=f"systemd has the watchdog itself (RuntimeWatchdogSec={timeout})",
        why=f"Only one program can have {path}: failoverd cannot arm it, so a node that cannot stop is not reset.",
        where=_MANAGER,
        fix="[Manager]\nRuntimeWatchdogSec=off",
    )
