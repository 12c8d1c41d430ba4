"""What a domain is configured to be. xl itself reads its file, so that there is one parser of it and no opinions.

What this must not do: start anything (``xl -N`` only prints), or judge more than xl would.
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

from failoverd import threads
from failoverd.drivers import DriverError, Refused, TimedOut, command
from failoverd.drivers.shared import Shared
from failoverd.drivers.xen.domain import why

#: Seconds that one xl which only looks may take; it answers in 50 ms.
PATIENCE = 10.0

XL_CONF = Path("/etc/xen/xl.conf")

#: Events after which xl must not start the domain again by itself, beside failoverd, which counts, and may be stopping
#: it. A reboot is the guest's own wish: after that it may.
_OURS = ("on_poweroff", "on_crash", "on_watchdog")

#: KiB that Xen needs beside what the guest gets, as libxl counts, at the least.
_BESIDE = {"pv": 1024, "pvh": 2048, "hvm": 2048}


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk of a domain: what is behind it, and the block script that xl would run for it, if not its own.

    `path`: empty where there is none, as in a drive without a medium. `elsewhere`: another domain than this serves it.
    """

    path: str
    script: str | None = None
    elsewhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What xl makes of a file. `memory`: KiB without which the domain cannot be built.

    `actions`: what xl does by itself after an event, as ``on_crash``; what is ``destroy`` by default may be left out.
    """

    name: str
    memory: int
    disks: tuple[Disk, ...] = ()
    actions: Mapping[str, str] = field(default_factory=dict)

    @property
    def objection(self) -> str:
        """Why failoverd does not start such a domain, with the remedy; empty when it does."""
        for disk in self.disks:
            if disk.script is not None and "drbd" in disk.script:
                return f"disk drbd:{disk.path}: xl would change DRBD's roles by itself; write phy:/dev/drbdN instead"
        for event in _OURS:
            if "restart" in self.actions.get(event, ""):
                return f'{event}: xl would start {self.name} again, beside failoverd; write {event} = "destroy"'
        if "rename" in self.actions.get("on_reboot", ""):
            return 'on_reboot: xl would keep the old domain, and its disks; write on_reboot = "restart"'
        return ""


def parse(text: str) -> Config:
    """From the JSON of ``xl -N create FILE``. ValueError when it is something else."""
    try:
        it: dict[str, Any] = json.loads(text)
        build = it["b_info"]
        kib = build.get("target_memkb", build.get("max_memkb", 0))
        return Config(
            name=str(it["c_info"]["name"]),
            memory=int(kib) + _BESIDE.get(it["c_info"].get("type"), 0),
            disks=tuple(map(_disk, it.get("disks", ()))),
            actions={key: str(value) for key, value in it.items() if key.startswith("on_")},
        )
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not what `xl -N create` prints: {error!r}") from error


def _disk(it: Mapping[str, Any]) -> Disk:
    elsewhere = it.get("backend_domname") not in (None, "", "0", "Domain-0")
    return Disk(path=it.get("pdev_path") or "", script=it.get("script"), elsewhere=elsewhere)


class File:
    """The configuration file of one domain, read again only when it has changed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._read: tuple[tuple[int, int, int], Config] | None = None

    async def read(self, timeout: float) -> Config:
        """What it says. Refused when xl does not understand it; another DriverError when xl cannot be asked."""
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
            # It failed before it came to read anything.
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


#: What Xen says of the machine.
_info = Shared("xl info", lambda: command.run(("xl", "info"), timeout=PATIENCE))


async def memory_missing(config: Config) -> str:
    """Why there is too little memory for the domain, with the numbers; empty when that is not known for certain."""
    done = await _info.read(PATIENCE)
    said = dict(re.findall(r"^(\w+) *: (.*)$", done.stdout, re.MULTILINE))
    free = said.get("free_memory", "")
    if done.returncode != 0 or not free.isdecimal():
        return ""
    try:
        async with asyncio.timeout(PATIENCE):
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
    """Whether xl itself makes Domain-0 smaller for a domain that needs memory: as xl.conf says, or without dom0_mem."""
    try:
        text = XL_CONF.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.findall(r"^\s*autoballoon\s*=\s*[\"']?(\w+)", text, re.MULTILINE)
    said = found[-1] if found else "auto"
    return "dom0_mem=" not in commandline if said == "auto" else said in {"1", "on"}
