"""The doctor: what will not work when it matters, found before it does.

One module for each program reads its files, asks it, and compares both with failoverd.toml. It changes nothing, and has
a deadline: a program that hangs is a finding. Every finding names what is wrong, why it matters, and the line
to change. On a correct node there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from failoverd.daemon import config
from failoverd.daemon.config import ConfigError
from failoverd.doctor import (
    bird,
    credentials,
    drbd,
    fence,
    first,
    frr,
    heartbeat,
    keepalived,
    keepalived_lines,
    network,
    networkmanager,
    units,
    watchdog,
    witness,
    xen,
)
from failoverd.doctor import site as sites
from failoverd.doctor.finding import Finding
from failoverd.doctor.first import Nothing
from failoverd.doctor.site import Site
from failoverd.ports.errors import DriverError

__all__ = ["ConfigError", "Finding", "Nothing", "Site", "examine", "first_configuration", "keepalived_config", "site"]

#: Seconds that the examination of one program may take: the sum of the deadlines of its commands, and the disk.
LOOK_TIMEOUT_S = 20.0

Look = Callable[[Site], Awaitable[list[Finding]]]

#: Each program, its examination, and the command that shows its state; in the order of the findings.
_LOOKS: dict[str, tuple[Look, str]] = {
    "keepalived": (keepalived.look, "systemctl status keepalived"),
    "systemd": (units.look, "systemctl status"),
    "drbd": (drbd.look, "drbdadm status"),
    "xen": (xen.look, "xl list"),
    "watchdog": (watchdog.look, "ls -l /dev/watchdog*"),
    "credentials": (credentials.look, "systemctl cat failoverd"),
    "fence": (fence.look, "failoverctl config check"),
    "quorum": (witness.look, "failoverctl config check"),
    "heartbeat": (heartbeat.look, "failoverctl config check"),
    "bird": (bird.look, "systemctl status bird"),
    "frr": (frr.look, "systemctl status frr"),
    "networkd": (network.look, "systemctl status systemd-networkd"),
    "networkmanager": (networkmanager.look, "systemctl status NetworkManager"),
}


def site(file: Path, runtime_dir: Path, keepalived_conf: Path | None = None) -> Site:
    """The node on which this runs, with the configuration `file`. Raises ConfigError.

    `keepalived_conf`: None: that of the keepalived that runs, or of its service.
    """
    return Site(configuration=config.load(file), keepalived=_used(keepalived_conf), runtime_dir=runtime_dir)


def _used(keepalived_conf: Path | None) -> sites.Keepalived:
    used = sites.keepalived()
    return used if keepalived_conf is None else replace(used, conf=keepalived_conf, pid=None)


def keepalived_config(file: Path, runtime_dir: Path) -> str:
    """The lines of keepalived.conf that belong to the configuration `file`. Raises ConfigError."""
    return keepalived_lines.whole(config.load(file), runtime_dir)


async def first_configuration(keepalived_conf: Path | None = None) -> str:
    """The text of a first failoverd.toml for this machine. `keepalived_conf` as in `site`.

    Raises Nothing if there is no instance to follow; OSError if keepalived.conf cannot be read.
    """
    return await first.configuration(_used(keepalived_conf))


async def examine(site: Site) -> list[Finding]:
    """All findings on this node. All programs are examined in parallel; each has its deadline."""
    found = await asyncio.gather(*(_look(about, look, site, shows) for about, (look, shows) in _LOOKS.items()))
    return [finding for findings in found for finding in findings]


async def _look(about: str, look: Look, site: Site, shows: str) -> list[Finding]:
    try:
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            return await look(site)
    except TimeoutError:
        return [_unseen(about, f"it did not answer within {LOOK_TIMEOUT_S:g} s, or a disk did not", shows)]
    except DriverError as error:
        return [_unseen(about, error.reason, shows)]
    except OSError as error:
        named = f"{error.filename}: " if error.filename is not None else ""
        return [_unseen(about, f"{named}{error.strerror or error}", shows)]


def _unseen(about: str, reason: str, shows: str) -> Finding:
    return Finding(
        code=f"{about}-unseen",
        about=about,
        wrong=f"cannot examine {about}: {reason}",
        why="What failoverd needs of it could not be checked.",
        fix=shows,
    )
