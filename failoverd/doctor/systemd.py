"""The properties of units, from systemctl."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from failoverd.ports import command
from failoverd.ports.errors import DriverError

_TIMEOUT_S = 5.0
_PROPERTIES = (
    "LoadState",
    "ActiveState",
    "UnitFileState",
    "Type",
    "RemainAfterExit",
    "StartLimitAction",
    "FailureAction",
    "TriggeredBy",
)

#: failoverd.service on D-Bus. systemctl does not print what is there of its credentials.
_UNIT, _SERVICE = "/org/freedesktop/systemd1/unit/failoverd_2eservice", "org.freedesktop.systemd1.Service"

#: Values of RuntimeWatchdogUSec with which systemd does not open the device: off, and as the firmware has it.
_NO_WATCHDOG = frozenset({"", "0", "infinity"})

#: Values of UnitFileState with which a unit starts at boot.
ENABLED = frozenset({"enabled", "enabled-runtime"})


async def shown(units: Sequence[str]) -> dict[str, Mapping[str, str]]:
    """The properties of each unit by its name; a missing one is empty. DriverError: systemd does not answer."""
    if not units:
        return {}
    argv = ("systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", *units)
    done = await command.run(argv, timeout=_TIMEOUT_S)
    blocks = [dict(line.split("=", 1) for line in it.splitlines() if "=" in line) for it in done.stdout.split("\n\n")]
    if done.returncode != 0 or len(blocks) != len(units):
        raise DriverError(f"systemctl show: {command.last_line(done.stderr) or 'it does not answer for every unit'}")
    empty = dict.fromkeys(_PROPERTIES, "")
    return {unit: empty | block for unit, block in zip(units, blocks, strict=True)}


async def watchdog() -> str:
    """How often systemd itself feeds the watchdog device (RuntimeWatchdogSec=); empty: it leaves it alone.

    Raises DriverError: it does not answer.
    """
    argv = ("systemctl", "show", "--value", "--property=RuntimeWatchdogUSec")
    done = await command.run(argv, timeout=_TIMEOUT_S)
    if done.returncode != 0:
        raise DriverError(f"systemctl show: {command.last_line(done.stderr) or 'it does not answer'}")
    value = done.stdout.strip()
    return "" if value in _NO_WATCHDOG else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Where failoverd.service has a credential from. `path`: None: systemd's store, where it may be missing."""

    path: Path | None
    encrypted: bool


async def credentials() -> dict[str, Credential]:
    """The credentials of failoverd.service by their names. DriverError: systemd does not answer."""
    argv = ("busctl", "--json=short", "get-property", "org.freedesktop.systemd1", _UNIT, _SERVICE)
    done = await command.run((*argv, "LoadCredential", "LoadCredentialEncrypted"), timeout=_TIMEOUT_S)
    try:
        plain, encrypted = (json.loads(line)["data"] for line in done.stdout.splitlines())
    except ValueError:
        raise DriverError(f"busctl: {command.last_line(done.stderr) or 'it does not answer'}") from None
    return {
        name: Credential(path=Path(source) if source.startswith("/") else None, encrypted=given is encrypted)
        for given in (plain, encrypted)
        for name, source in given
    }


async def active(unit: str) -> bool:
    """Whether the unit runs; false as well if systemd does not answer, which units.py reports."""
    try:
        return (await shown([unit]))[unit]["ActiveState"] == "active"
    except DriverError:
        return False
