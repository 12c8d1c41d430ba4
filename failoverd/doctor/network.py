"""systemd-networkd, which removes addresses that it does not know when it starts: keepalived's VIPs among them."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from failoverd.core.spec import InstanceSpec
from failoverd.doctor import systemd
from failoverd.doctor.finding import Finding
from failoverd.doctor.site import Site
from failoverd.osutil import threads
from failoverd.ports import command

_UNIT = "systemd-networkd.service"
_TIMEOUT_S = 5.0
_FOLDERS = tuple(Path(each) / "systemd/network" for each in ("/usr/lib", "/run", "/etc"))
#: Values of KeepConfiguration= with which it keeps them (systemd.network(5)).
_KEEPS = frozenset({"yes", "true", "1", "on", "static"})


async def look(site: Site) -> list[Finding]:
    """All findings about networkd. Raises DriverError if networkd does not answer."""
    if not await systemd.active(_UNIT):
        return []
    found = []
    for interface, instance in site.interfaces.items():
        done = await command.run(("networkctl", "--no-pager", "status", interface), timeout=_TIMEOUT_S)
        managed = re.search(r"^\s*Network File: (/\S+)$", done.stdout, re.MULTILINE)
        if managed is not None and await threads.run(_keeps, Path(managed[1])) not in _KEEPS:
            found.append(_removes(instance, interface, managed[1]))
    return found


def _keeps(file: Path) -> str:
    """KeepConfiguration= of a .network file with its drop-ins; empty: it is not set."""
    folders = [folder / f"{file.name}.d" for folder in _FOLDERS]
    drop_ins = {each.name: each for folder in folders if folder.is_dir() for each in sorted(folder.glob("*.conf"))}
    value = ""
    for each in (file, *(drop_ins[name] for name in sorted(drop_ins))):
        parsed = configparser.RawConfigParser(strict=False, allow_no_value=True, interpolation=None)
        parsed.read(each)
        value = parsed.get("Network", "KeepConfiguration", fallback=value)
    return (value or "").lower()


def _removes(instance: InstanceSpec, interface: str, file: str) -> Finding:
    return Finding(
        code="network-networkd",
        about=instance.name,
        wrong=f"systemd-networkd manages {interface}, and removes addresses that it does not know",
        why="A restart or an upgrade of systemd-networkd removes the VIP, and failoverd stops what needs it.",
        where=f"/etc/systemd/network/{Path(file).name}.d/failoverd.conf",
        fix="[Network]\nKeepConfiguration=static",
    )
