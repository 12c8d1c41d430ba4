"""What keepalived.conf has of each instance and sync group: its members and its VIPs."""

from __future__ import annotations

from dataclasses import dataclass

from failoverd.core.spec import Vip
from failoverd.daemon.config import addresses
from failoverd.doctor.keepalived_conf import Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A vrrp_instance or vrrp_sync_group. `members`: of a group; of an instance, itself."""

    name: str
    statement: Statement
    members: tuple[Statement, ...]
    absent: tuple[str, ...] = ()

    @property
    def is_group(self) -> bool:
        """Whether it is a vrrp_sync_group."""
        return self.statement.words[0] == "vrrp_sync_group"


def instances(top: Statement) -> dict[str, Instance]:
    """All instances and groups of keepalived.conf by name."""
    single = {each.name: each for each in top.all("vrrp_instance")}
    found = {name: Instance(name=name, statement=each, members=(each,)) for name, each in single.items()}
    for group in top.all("vrrp_sync_group"):
        names = [word for entry in group.items("group") for word in entry.words]
        members = tuple(single[name] for name in names if name in single)
        found[group.name] = Instance(name=group.name, statement=group, members=members)
    return found


def vips(top: Statement, instance: Instance) -> tuple[list[Vip], list[Vip]]:
    """The VIPs of an instance that are in its adverts, and those that are not (``virtual_ipaddress_excluded``).

    An entry that is not a valid VIP is omitted: keepalived reports it.
    """
    every: tuple[list[Vip], list[Vip]] = ([], [])
    for member in instance.members:
        for found, keyword in zip(every, ("virtual_ipaddress", "virtual_ipaddress_excluded"), strict=True):
            for entry in member.items(keyword):
                try:
                    interface = _interface(top, member, six=":" in entry.words[0])
                    found.append(addresses.vip(" ".join(entry.words), interface))
                except ValueError:
                    continue
    return every


def _interface(top: Statement, member: Statement, *, six: bool) -> str:
    """The interface on which VIPs without ``dev`` are."""
    vmac = member.last("use_vmac")
    if vmac is not None:
        vrid = member.last("virtual_router_id")
        default = f"vrrp{'6' if six else ''}.{vrid.name if vrid is not None else '?'}"
        return next((word for word in vmac.words[1:] if not word.startswith("netlink")), default)
    for statement in (member.last("interface"), *(each.last("default_interface") for each in top.all("global_defs"))):
        if statement is not None:
            return statement.name
    return "eth0"
