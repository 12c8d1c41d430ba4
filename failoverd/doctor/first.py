"""A first failoverd.toml, from what this machine has. It is a guess: each doubtful line has a comment.

It must not change anything: failoverctl writes the file.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from failoverd.core.spec import Vip
from failoverd.doctor import bird, frr, keepalived_conf, keepalived_instances, xen
from failoverd.doctor.keepalived_conf import Statement
from failoverd.doctor.site import Keepalived
from failoverd.drivers.bird import Options as BirdOptions
from failoverd.drivers.bird import control_socket
from failoverd.drivers.xen.config import File
from failoverd.osutil import threads
from failoverd.ports.drbd import configured
from failoverd.ports.drbd.configured import Configured
from failoverd.ports.errors import DriverError, NotStarted
from failoverd.ports.xl.listing import XL_TIMEOUT_S

XEN = Path("/etc/xen")
#: The metric of the MASTER, where it is better than the one of a standby.
_ACTIVE = 10

_HEAD = """\
# failoverd's configuration, written by `failoverctl init` from what this machine has. The same file on every node.
# Read it, correct it, then: failoverctl doctor && systemctl reload failoverd
# All keys: failoverd.toml(5).
"""
_UNIT = """\
# A systemd unit that may run on the MASTER only:
# [instance.{instance}.resource.service]
# driver = "unit"
# unit = "nginx.service"        # do not enable it
"""
_QUORUM = """\
# What decides which node may write while the nodes cannot reach each other? A station that only one side can reach:
# [quorum]
# witnesses = ["icmp://192.0.2.254"]
"""
_SEVERAL = "# There are several instances. Move each resource below to the instance that it must follow.\n"


class Nothing(Exception):
    """There is no instance to follow. One line with the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A guest of Xen. `replicas`: the DRBD resources that are its disks."""

    name: str
    file: Path
    replicas: tuple[str, ...]


@dataclass(slots=True)
class _Machine:
    """What this machine has. `notes`: what could not be found out, one line each."""

    replicas: Mapping[str, Configured]
    guests: list[Guest]
    notes: list[str]


async def configuration(used: Keepalived) -> str:
    """The text of a failoverd.toml. Raises Nothing, or OSError if keepalived.conf cannot be read."""
    try:
        top, _ = await threads.run(keepalived_conf.read, used.conf, used.name)
    except keepalived_conf.Unreadable as error:
        raise Nothing(f"cannot read keepalived.conf: {error}") from error
    found = keepalived_instances.instances(top)
    grouped = {each.name for it in found.values() if it.is_group for each in it.members}
    followed = [it for name, it in found.items() if name not in grouped]
    if not followed:
        raise Nothing(f"{used.conf} has no vrrp_instance; set up keepalived first")
    machine = await _machine()
    parts = [
        _HEAD,
        *(f"# {' '.join(note.split())}\n" for note in machine.notes),
        *(_instance(top, it) for it in followed),
    ]
    if len(followed) > 1:
        parts.append(_SEVERAL)
    if machine.replicas:
        parts.append(_QUORUM)
    owner = followed[0]
    interfaces = {vip.interface for it in followed for some in keepalived_instances.vips(top, it) for vip in some}
    parts += [*_replicas(owner.name, machine), *_guests(owner.name, machine)]
    parts += [*await _bird(owner.name, machine), *await threads.run(_frr, owner.name, interfaces)]
    return "\n".join([*parts, _UNIT.format(instance=_key(owner.name))])


async def _machine() -> _Machine:
    notes: list[str] = []
    try:
        replicas: Mapping[str, Configured] = await configured.read()
    except NotStarted:  # there is no drbdadm
        replicas = {}
    except DriverError as error:
        replicas = {}
        notes.append(f"No DRBD resources: {error.reason}")
    names = {minor: each.name for each in replicas.values() for minors in each.minors.values() for minor in minors}
    guests = []
    for file in await threads.run(lambda: sorted(XEN.glob("*.cfg"))):
        try:
            it = await File(str(file)).read(XL_TIMEOUT_S)
            minors = await threads.run(xen.minors, it)
        except DriverError as error:
            notes.append(f"Without {file}: {error.reason}")
            continue
        disks = tuple(sorted({names[minor] for minor in minors if minor in names}))
        if disks:
            guests.append(Guest(name=it.name, file=file, replicas=disks))
        else:
            notes.append(f"Without {file}: none of its disks is on DRBD, so no other node can start the guest.")
    return _Machine(replicas, guests, notes)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _table(instance: str, resource: str, *lines: str) -> str:
    return "\n".join([f"[instance.{_key(instance)}.resource.{_key(resource)}]", *filter(None, lines), ""])


def _instance(top: Statement, it: keepalived_instances.Instance) -> str:
    sent, excluded = keepalived_instances.vips(top, it)
    kind = "vrrp_sync_group" if it.is_group else "vrrp_instance"
    lines = [
        f"[instance.{_key(it.name)}]    # the {kind} at {it.statement.at}",
        f"vips = {_array([_vip(each) for each in (*sent, *excluded)])}",
        f"members = {_array([each.name for each in it.members])}" if it.is_group else "",
    ]
    if it.members and all(each.last("nopreempt") is not None for each in it.members):
        lines.append("preempt = false    # nopreempt; it must be in keepalived.conf of every node")
    return "\n".join([*filter(None, lines), ""])


def _vip(vip: Vip) -> str:
    return f"{vip.address} dev {vip.interface}"


def _array(texts: list[str] | tuple[str, ...]) -> str:
    return json.dumps(list(texts), ensure_ascii=False)


def _nodes(machine: _Machine, replicas: tuple[str, ...]) -> str:
    """The key `nodes`, where not every host of DRBD has all these resources."""
    every = {host for each in machine.replicas.values() for host in each.minors}
    hosts = set.intersection(*(set(machine.replicas[name].minors) for name in replicas))
    return f"nodes = {_array(sorted(hosts))}" if hosts != every else ""


def _replicas(instance: str, machine: _Machine) -> Iterator[str]:
    for name, each in machine.replicas.items():
        yield _table(
            instance,
            f"{name}-disk",
            'driver = "drbd"',
            f"resource = {json.dumps(name)}    # {each.at}",
            _nodes(machine, (name,)),
            'on_refused = "release"    # stale data here: let another node be MASTER, if it can',
        )


def _guests(instance: str, machine: _Machine) -> Iterator[str]:
    for guest in machine.guests:
        yield _table(
            instance,
            guest.name,
            'driver = "xen"',
            f"config = {json.dumps(str(guest.file))}",
            f"needs = {_array([f'{name}-disk' for name in guest.replicas])}",
            _nodes(machine, guest.replicas),
            'stop_timeout = "90s"    # how long its own shutdown may take; then it is destroyed',
        )


async def _bird(instance: str, machine: _Machine) -> list[str]:
    """A metric, where bird.conf includes a file with one constant; else a hint. None where there is no bird.conf."""
    try:
        text = await threads.run(bird.read, bird.BIRD_CONF)
        constants = await threads.run(_constants, text.includes)
    except OSError:
        return []
    if len(constants) != 1:
        return ["# bird: to announce a better metric on the MASTER, see `Driver bird` in failoverd.toml(5).\n"]
    ((symbol, (file, standby)),) = constants.items()
    prefix = _first(_prefix(line) for _, line in text.lines)
    protocol = await _session() if prefix else None
    guests = [guest.name for guest in machine.guests if not _nodes(machine, guest.replicas)]
    return [
        _table(
            instance,
            "prefix",
            'driver = "bird"',
            f"symbol = {json.dumps(symbol)}",
            f"include = {json.dumps(file)}" if file != BirdOptions.__dataclass_fields__["include"].default else "",
            f"active = {_better(standby)}    # CHOOSE: the metric of the MASTER",
            f"standby = {standby}",
            f"protocol = {json.dumps(protocol)}\nprefix = {json.dumps(prefix)}" if protocol else "",
            f"needs = {_array(guests)}    # announced when they run" if guests else "",
        )
    ]


def _constants(includes: tuple[str, ...]) -> dict[str, tuple[str, int]]:
    """The constants of files that have nothing else, as failoverd writes them; each with its file and its value."""
    found: dict[str, tuple[str, int]] = {}
    for file in (Path(each) for each in includes if Path(each).is_file()):
        lines = [line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        matches = [re.fullmatch(r"\s*define (\w+) = (\d+);\s*", line) for line in lines if not line.startswith("#")]
        found |= {it[1]: (str(file), int(it[2])) for it in matches if it is not None and None not in matches}
    return found


def _prefix(line: str) -> str:
    route = re.search(r"\broute\s+(\S+/\d+)", line)
    try:
        return str(ipaddress.ip_network(route[1])) if route is not None else ""
    except ValueError:
        return ""


def _first(texts: Iterator[str]) -> str:
    return next(filter(None, texts), "")


async def _session() -> str | None:
    """The only BGP session of the bird that runs; None: there is none, or several."""
    try:
        async with control_socket.session(control_socket.DEFAULT_SOCKET) as asked:
            reply = await asked.ask("show protocols")
    except DriverError:
        return None
    rows = [text.split() for code, text in reply.lines if code == control_socket.PROTOCOL]
    names = [row[0] for row in rows if row[1:2] == ["BGP"]]
    return names[0] if len(names) == 1 else None


def _better(standby: int) -> int:
    return standby // 3 if standby > 1 else standby + 1


def _frr(instance: str, interfaces: set[str]) -> list[str]:
    """The OSPF costs of the VIPs' interfaces in FRR's saved configuration, where all are the same."""
    try:
        text = frr.FRR_CONF.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    costs = {name: frr.number(text, f"interface {name}", "ip ospf cost") for name in sorted(interfaces)}
    values = set(costs.values())
    if len(values) != 1 or None in values:
        return ["# FRR: to announce a better metric on the MASTER, see `Driver quagga` in failoverd.toml(5).\n"]
    (standby,) = values
    return [
        _table(
            instance,
            "ospf",
            'driver = "quagga"',
            'mode = "metric"',
            f"interfaces = {_array(list(costs))}",
            f"active = {_ACTIVE}    # CHOOSE: the cost on the MASTER",
            f"standby = {standby}    # as in {frr.FRR_CONF}",
        )
    ]
