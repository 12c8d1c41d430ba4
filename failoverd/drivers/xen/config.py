"""The configuration of a domain. xl parses the file, so failoverd reads it exactly as ``xl create`` does.

It must not start anything: ``xl -N`` only prints.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from failoverd.osutil import threads
from failoverd.ports import command
from failoverd.ports.coalesce import Shared
from failoverd.ports.errors import DriverError, Refused, TimedOut
from failoverd.ports.xl.domain import why
from failoverd.ports.xl.listing import XL_TIMEOUT_S

XL_CONF = Path("/etc/xen/xl.conf")

#: After these events xl must not restart the domain: failoverd counts restarts, and may be stopping the domain just
#: then. After a reboot, which the guest itself requests, xl may.
_NO_RESTART = ("on_poweroff", "on_crash", "on_watchdog")

#: The least memory that libxl adds to the guest's own, by type of domain.
_OVERHEAD_KIB = {"pv": 1024, "pvh": 2048, "hvm": 2048}


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk of a domain.

    `path`: the target, a device or an image; empty for a drive without a medium. `script`: the block script; None: xl's
    own. `elsewhere`: the backend is in another domain than Domain-0.
    """

    path: str
    script: str | None = None
    elsewhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A domain's configuration as xl has parsed it.

    `memory`: KiB that the domain needs at least. `actions`: xl's action after each event, such as ``on_crash``; the
    output of xl omits some that are ``destroy``.
    """

    name: str
    memory: int
    disks: tuple[Disk, ...] = ()
    actions: Mapping[str, str] = field(default_factory=dict)

    @property
    def obstacle(self) -> str:
        """The reason why failoverd never starts such a domain, with the remedy; empty if there is none."""
        for disk in self.disks:
            if disk.script is not None and "drbd" in disk.script:
                return f"disk drbd:{disk.path}: xl would change DRBD's roles by itself; write phy:/dev/drbdN instead"
        for event in _NO_RESTART:
            if "restart" in self.actions.get(event, ""):
                return f'{event}: xl would start {self.name} again, beside failoverd; write {event} = "destroy"'
        if "rename" in self.actions.get("on_reboot", ""):
            return 'on_reboot: xl would keep the old domain, and its disks; write on_reboot = "restart"'
        return ""


def parse(text: str) -> Config:
    """Parse the JSON that ``xl -N create FILE`` prints. ValueError: it has another format."""
    try:
        it: dict[str, Any] = json.loads(text)
        build = it["b_info"]
        kib = build.get("target_memkb", build.get("max_memkb", 0))
        return Config(
            name=str(it["c_info"]["name"]),
            memory=int(kib) + _OVERHEAD_KIB.get(it["c_info"].get("type"), 0),
            disks=tuple(map(_disk, it.get("disks", ()))),
            actions={key: str(value) for key, value in it.items() if key.startswith("on_")},
        )
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"unexpected output of `xl -N create`: {error!r}") from error


def _disk(it: Mapping[str, Any]) -> Disk:
    elsewhere = it.get("backend_domname") not in (None, "", "0", "Domain-0")
    return Disk(path=it.get("pdev_path") or "", script=it.get("script"), elsewhere=elsewhere)


class File:
    """The configuration file of one domain. xl parses it again only after a change."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._read: tuple[tuple[int, int, int], Config] | None = None

    async def read(self, timeout: float) -> Config:
        """The configuration, within `timeout` seconds for xl and a third of that for the disk.

        Refused: the file is missing, or xl rejects it. TimedOut: the disk or xl does not answer. DriverError: xl cannot
        reach Xen.
        """
        try:
            async with asyncio.timeout(timeout / 3):
                version = await threads.run(_version, self._path)
        except TimeoutError as error:
            raise TimedOut(f"{self._path}: its disk does not answer within {timeout / 3:.3g} s") from error
        if self._read is None or self._read[0] != version:
            self._read = version, await self._ask(timeout)
        return self._read[1]

    async def _ask(self, timeout: float) -> Config:
        done = await command.run(("xl", "-N", "create", self._path), timeout=timeout)
        if done.returncode != 0:
            said = why(done.stderr) or f"exit status {done.returncode}"
            # xl has failed before it read the file.
            if "cannot init xl context" in done.stderr:
                raise DriverError(f"xl: {said}")
            raise Refused(f"{self._path}: {said}")
        try:
            config = parse(done.stdout)
        except ValueError as error:
            raise Refused(f"{self._path}: {error}") from error
        if config.name.isdecimal():
            raise Refused(f"{self._path}: name = {config.name!r}: xl would take it for the number of a domain")
        return config


def _version(path: str) -> tuple[int, int, int]:
    try:
        with Path(path).open("rb") as file:
            found = os.fstat(file.fileno())
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; put the domain's configuration there") from error
    return found.st_ino, found.st_mtime_ns, found.st_size


_info = Shared("xl info", lambda: command.run(("xl", "info"), timeout=XL_TIMEOUT_S))


async def memory_missing(config: Config) -> str:
    """Needed and free memory as a message, if Xen has too little for the domain; empty if it has enough.

    Also empty if that is uncertain: xl info fails, or xl may shrink Domain-0.
    """
    done = await _info.read(XL_TIMEOUT_S)
    said = dict(re.findall(r"^(\w+) *: (.*)$", done.stdout, re.MULTILINE))
    free = said.get("free_memory", "")
    if done.returncode != 0 or not free.isdecimal():
        return ""
    try:
        async with asyncio.timeout(XL_TIMEOUT_S):
            if await threads.run(_balloons, said.get("xen_commandline", "")):
                return ""
    except TimeoutError:
        return ""
    needed = -(-config.memory // 1024)
    if int(free) >= needed:
        return ""
    return (
        f"{config.name} needs {needed} MiB and Xen has {free} free (xl info); stop another guest, "
        f"or give Domain-0 less (dom0_mem=)"
    )


def _balloons(commandline: str) -> bool:
    """Whether xl shrinks Domain-0 when a new domain needs memory: `autoballoon` in xl.conf, or a missing dom0_mem."""
    try:
        text = XL_CONF.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.findall(r"^\s*autoballoon\s*=\s*[\"']?(\w+)", text, re.MULTILINE)
    said = found[-1] if found else "auto"
    return "dom0_mem=" not in commandline if said == "auto" else said in {"1", "on"}
