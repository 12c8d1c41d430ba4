"""Reads the configuration of DRBD's resources, as drbdadm itself understands its files; the module need not be loaded.

It must not change anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from failoverd.ports import command
from failoverd.ports.errors import DriverError

#: For one call of drbdadm, which takes 130 ms on a slow machine.
DRBDADM_TIMEOUT_S = 5.0

_DUMP = ("drbdadm", "dump-xml")
#: A line of drbdadm on a machine without DRBD's module, which does not concern its files.
_NO_MODULE = "modinfo:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """A resource in DRBD's files.

    `at`: FILE:LINE. `minors`: those of its devices, by host. `options`: by section, then by name.
    """

    name: str
    at: str
    minors: Mapping[str, frozenset[int]]
    options: Mapping[str, Mapping[str, str]]

    def option(self, section: str, name: str, default: str) -> str:
        """The value of an option, or DRBD's default."""
        return self.options.get(section, {}).get(name, default)


class Rejected(DriverError):
    """drbdadm does not accept its files."""


async def read() -> dict[str, Configured]:
    """Every resource by name, whether or not this host has it. Raises Rejected, or DriverError if drbdadm hangs."""
    done = await command.run(_DUMP, timeout=DRBDADM_TIMEOUT_S)
    if done.returncode != 0:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip() and not line.startswith(_NO_MODULE)]
        raise Rejected(f"drbdadm dump-xml: {' '.join(said) or f'exit status {done.returncode}'}")
    return parse(done.stdout)


def parse(text: str) -> dict[str, Configured]:
    """The resources in the output of ``drbdadm dump-xml``. Raises DriverError if it has another format."""
    try:
        found = [_resource(each) for each in ET.fromstring(text).iter("resource")]  # noqa: S314  # drbdadm wrote it
    except (ET.ParseError, ValueError) as error:
        raise DriverError(f"drbdadm dump-xml: unexpected output ({error})") from error
    return {each.name: each for each in found}


def _resource(element: ET.Element) -> Configured:
    return Configured(
        name=element.get("name", ""),
        at=element.get("conf-file-line", ""),
        minors={
            host.get("name", ""): frozenset(int(device.get("minor", "")) for device in host.iter("device"))
            for host in element.findall("host")
        },
        options={
            section.get("name", ""): {each.get("name", ""): each.get("value", "") for each in section.iter("option")}
            for section in element.findall("section")
        },
    )
