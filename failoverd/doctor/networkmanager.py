"""NetworkManager, which removes addresses that it does not know when it applies a connection: keepalived's VIPs too."""

from __future__ import annotations

from failoverd.doctor import systemd
from failoverd.doctor.finding import Finding
from failoverd.doctor.site import Site
from failoverd.ports import command
from failoverd.ports.errors import DriverError

_UNIT = "NetworkManager.service"
_CONF = "/etc/NetworkManager/conf.d/failoverd.conf"
_TIMEOUT_S = 5.0
#: NM_DEVICE_STATE_UNMANAGED, and the exit status of nmcli where there is no such interface.
_UNMANAGED, _ABSENT = "10", 10


async def look(site: Site) -> list[Finding]:
    """All findings about NetworkManager. Raises DriverError if it does not answer."""
    if not await systemd.active(_UNIT):
        return []
    managed = [interface for interface in site.interfaces if await _manages(interface)]
    return [_removes(site, managed)] if managed else []


async def _manages(interface: str) -> bool:
    """The state of an interface is printed as a number and a word."""
    argv = ("nmcli", "--get-values", "GENERAL.STATE", "device", "show", interface)
    done = await command.run(argv, timeout=_TIMEOUT_S)
    if done.returncode not in (0, _ABSENT):
        raise DriverError(f"nmcli: {command.last_line(done.stderr)}")
    return done.returncode == 0 and done.stdout.split()[:1] != [_UNMANAGED]


def _removes(site: Site, managed: list[str]) -> Finding:
    names = ", ".join(managed)
    return Finding(
        code="network-networkmanager",
        about=site.interfaces[managed[0]].name,
        wrong=f"NetworkManager manages {names}, and removes addresses that it does not know",
        why="When a connection is applied or activated again, the VIP is gone, and failoverd stops what needs it.",
        where=_CONF,
        fix="# Configure the interface by something else, such as interfaces(5). Then, because a reload would remove\n"
        "# every address of it: systemctl restart NetworkManager\n"
        f"[keyfile]\nunmanaged-devices={';'.join(f'interface-name:{each}' for each in managed)}",
    )
