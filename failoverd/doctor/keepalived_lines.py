"""The lines of keepalived.conf that belong to a failoverd.toml."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from failoverd.core.spec import InstanceSpec, Vip
from failoverd.daemon.config import Configuration
from failoverd.doctor.site import HOOK

NOTIFY = f'notify "{HOOK}"'


def fifo(runtime_dir: Path) -> str:
    """The global line for failoverd's FIFO."""
    return f"vrrp_notify_fifo {runtime_dir}/keepalived.fifo"


def track_path(runtime_dir: Path, instance: str) -> str:
    """The track file of that instance."""
    return f"{runtime_dir}/track/{instance.replace('/', '%2f')}"


def quoted(name: str) -> str:
    """A name as keepalived.conf has it: in quotes where it has a space."""
    return f'"{name}"' if " " in name else name


def track_file(runtime_dir: Path, instance: str) -> str:
    """The global block that declares its track file."""
    name, path = quoted(instance), quoted(track_path(runtime_dir, instance))
    return f"track_file {name} {{\n    file {path}\n    weight 0\n}}"


def tracked(instance: str) -> str:
    """The block, inside an instance or a group, that uses it."""
    return f"    track_file {{\n        {quoted(instance)}\n    }}"


_HEAD = """\
# The lines of keepalived.conf that failoverd needs. Everything else stays yours: addresses of peers, authentication,
# track_interface, track_script. Replace the lines marked CHOOSE, which failoverd.toml does not have.
"""
_GLOBAL = """\
global_defs {{
    # This node's name. Without it keepalived asks DNS, and no start or reload ends before DNS has answered.
    router_id {node}
    # The hook must reach failoverd's socket and spool. Above the FIFO, whose owner it is too.
    script_user {user}
    # keepalived writes every change into this FIFO, in order.
    {fifo}
    # keepalived never runs a script as root that another user could have changed.
    enable_script_security
    # failoverd asks for the state after a restart, instead of waiting for the next change.
    enable_dbus
    # Without it a mistake in this file ends keepalived at its next reload, and the VIPs with it.
    reload_check_config
    # After a double MASTER the node that stays MASTER receives an advert of the other, and failoverd records it.
    vrrp_higher_prio_send_advert true
}}
"""
_TRACK_FILE = "# failoverd writes 1 into this file to release mastership, and 0 to take it back.\n"
_REPORTS = """\
    # The hook keeps a change in its spool while failoverd does not run.
    {notify}
"""


def globals_block(configuration: Configuration, runtime_dir: Path) -> str:
    """The block ``global_defs`` with all lines that failoverd needs in it."""
    user = configuration.script_user or "root"
    return _GLOBAL.format(node=configuration.node, user=user, fifo=fifo(runtime_dir))


def whole(configuration: Configuration, runtime_dir: Path) -> str:
    """All of them, as a keepalived.conf that keepalived accepts. Identifiers and priorities are placeholders."""
    parts = [_HEAD, globals_block(configuration, runtime_dir)]
    router_id = 51
    for name, instance in configuration.core.instances.items():
        parts.append(f"{_TRACK_FILE}{track_file(runtime_dir, name)}\n")
        members = configuration.members.get(name, ())
        parts += (
            _group(instance, members, router_id) if members else [_instance(name, instance, instance.vips, router_id)]
        )
        router_id += len(members) or 1
    return "\n".join(parts)


def _ending(name: str) -> str:
    """What an instance, or a group for all its members, reports and tracks."""
    return f"{tracked(name)}\n{_REPORTS.format(notify=NOTIFY)}}}\n"


def _group(instance: InstanceSpec, members: Sequence[str], router_id: int) -> Iterator[str]:
    """A sync group, then its members.

    failoverd.toml does not say which VIP is whose: each member has one, and the last has the rest.
    """
    names = "\n".join(f"        {quoted(each)}" for each in members)
    yield f"vrrp_sync_group {quoted(instance.name)} {{\n    group {{\n{names}\n    }}\n{_ending(instance.name)}"
    for number, member in enumerate(members):
        some = instance.vips[number:] if number == len(members) - 1 else instance.vips[number : number + 1]
        yield _instance(member, instance, some, router_id + number, of_group=True)


def _instance(name: str, instance: InstanceSpec, vips: Sequence[Vip], router_id: int, *, of_group: bool = False) -> str:
    lines = [
        f"vrrp_instance {quoted(name)} {{",
        "    # On every node: nopreempt is ignored with `state MASTER`." if not instance.preempt else "",
        "    state BACKUP",
        "    # A node that comes back does not take mastership." if not instance.preempt else "",
        "    nopreempt" if not instance.preempt else "",
        f"    interface {vips[0].interface if vips else 'eth0    # CHOOSE'}",
        f"    virtual_router_id {router_id}    # CHOOSE: 1 to 255, the same on every node, once in this network",
        "    priority 100    # CHOOSE: 1 to 254, another one on every node",
    ]
    six = [":" in each.address for each in vips]
    same = [each for each, is_six in zip(vips, six, strict=True) if is_six is six[0]]
    for keyword, some in (
        ("virtual_ipaddress", same),
        ("virtual_ipaddress_excluded", [each for each in vips if each not in same]),  # an advert has one family
    ):
        if some:
            addresses = (f"        {each.address} dev {each.interface}" for each in some)
            lines += [f"    {keyword} {{", *addresses, "    }"]
    start = "\n".join(line for line in lines if line)
    return f"{start}\n}}\n" if of_group else f"{start}\n{_ending(name)}"
