"""DRBD: the resources exist here, nothing but failoverd promotes them, and they lose and find their peers in time."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterator, Mapping

from failoverd.core import votes
from failoverd.core.spec import ResourceSpec
from failoverd.daemon.config.nodes import carries
from failoverd.doctor import systemd
from failoverd.doctor.finding import Finding
from failoverd.doctor.site import FENCE_PEER, UNFENCE_PEER, Site
from failoverd.ports.drbd import configured
from failoverd.ports.drbd import look as drbd
from failoverd.ports.drbd.configured import Configured

#: Debian's unit that brings up all resources at boot, and waits for the peers.
_SERVICE = "drbd.service"
_WAITS = ("wfc-timeout", "degr-wfc-timeout", "outdated-wfc-timeout")
_OFF = ("off", "no", "disabled")
_STONITH = "resource-and-stonith"
#: The generation without auto-promote and quorum, whose `fencing` is in the section `disk`.
_OLD = 8
#: DRBD's defaults: seconds, and tenths of a second (drbd.conf(5)).
_PING_INT, _PING_TIMEOUT = "10", "5"
#: The first number of hosts of which a majority remains when one is lost.
_QUORUM_HOSTS = 3
#: Seconds between the loss of the other node and the begin of the wait for it.
_STALE_MARGIN_S = 10


async def look(site: Site) -> list[Finding]:
    """All findings about DRBD. Raises DriverError if drbdadm or systemd does not answer."""
    specs = list(site.resources("drbd"))
    if not specs:
        return []
    try:
        known = await configured.read()
    except configured.Rejected as error:
        return [_rejected(error)]
    units = {spec.options.resource: f"drbd@{spec.options.resource}.target" for spec in specs}
    boot = {unit: has["UnitFileState"] for unit, has in (await systemd.shown([_SERVICE, *units.values()])).items()}
    found: list[Finding] = []
    for spec in specs:
        it = known.get(spec.options.resource)
        if it is None or os.uname().nodename not in it.minors:
            found.append(_missing(spec, it, known))
            continue
        found += _roles(spec, it)
        found += _witnessed(site, spec, it)
        found += _fenced(site, spec, it)
        found += _patient(site, spec, it)
        found += _timing(spec, it)
        found += _boot(spec, it, boot, units[it.name])
    return found


def _about(spec: ResourceSpec) -> str:
    return f"{spec.instance}.{spec.name}"


def _rejected(error: configured.Rejected) -> Finding:
    return Finding(
        code="drbd-rejects",
        about="drbd",
        wrong=f"drbdadm complains about its files: {error.reason}",
        why="drbdadm does nothing with such files: no resource comes up at the next boot.",
        fix="drbdadm dump",
    )


def _missing(spec: ResourceSpec, it: Configured | None, known: Mapping[str, Configured]) -> Finding:
    name, node = spec.options.resource, os.uname().nodename
    near = difflib.get_close_matches(name, known, 1)
    return Finding(
        code="drbd-no-resource",
        about=_about(spec),
        wrong=f"DRBD's files have no resource {name}" if it is None else f"resource {name} has no `on {node}`",
        why="This node has no copy of the data, so failoverd refuses every promotion here.",
        where=it.at if it is not None else "",
        fix=f"    on {node} {{ … }}"
        if it is not None
        else f"grep -rw {near[0] if near else name} /etc/drbd.d    # or correct `resource` in failoverd.toml",
    )


def _block(section: str, *lines: str) -> str:
    return "\n".join([f"    {section} {{", *(f"        {line};" for line in lines), "    }"])


def _roles(spec: ResourceSpec, it: Configured) -> Iterator[Finding]:
    """Nothing but failoverd promotes it, and a node that cannot write gives it up."""
    if it.option("net", "allow-two-primaries", "no") not in _OFF:
        yield Finding(
            code="drbd-two-primaries",
            about=_about(spec),
            wrong=f"resource {it.name} has allow-two-primaries",
            why="DRBD then lets two nodes write at once, and a guest on both destroys its file system.",
            where=it.at,
            fix=_block("net", "allow-two-primaries no"),
        )
    if drbd.generation() == _OLD:  # it has none of the options below
        return
    if it.option("options", "auto-promote", "yes") not in _OFF:
        yield Finding(
            code="drbd-auto-promote",
            about=_about(spec),
            wrong=f"resource {it.name} has no `auto-promote no`",
            why="Any program that opens the device makes this node Primary, and the other node cannot promote.",
            where=it.at,
            fix=_block("options", "auto-promote no"),
        )
    if it.option("options", "quorum", "off") in _OFF:
        if len(it.minors) >= _QUORUM_HOSTS:
            yield Finding(
                code="drbd-quorum",
                about=_about(spec),
                wrong=f"resource {it.name} has {len(it.minors)} hosts and no quorum",
                why="A node that is cut off goes on writing: a split brain, and one side's data is lost.",
                where=it.at,
                fix=_block("options", "quorum majority", "on-no-quorum io-error"),
            )
    elif it.option("options", "on-no-quorum", "suspend-io") != "io-error":
        yield Finding(
            code="drbd-no-quorum",
            about=_about(spec),
            wrong=f"resource {it.name} suspends I/O without quorum",
            why="Its guest then hangs and cannot be stopped, and DRBD is StandAlone once the network is back.",
            where=it.at,
            fix=_block("options", "on-no-quorum io-error"),
        )


def _witnessed(site: Site, spec: ResourceSpec, it: Configured) -> Iterator[Finding]:
    """Something outside the nodes decides who may write."""
    core = site.configuration.core
    quorum = it.option("options", "quorum", "off") not in _OFF
    fenced = _fencing(it) == _STONITH or bool(core.fences)
    asked = core.quorum is not None and core.instances[spec.instance].quorum
    many = drbd.generation() != _OLD and len(it.minors) >= _QUORUM_HOSTS  # DRBD's own is better
    if quorum or fenced or asked or many or len(it.minors) == 1:
        return
    yield Finding(
        code="drbd-no-witness",
        about=_about(spec),
        wrong=f"resource {it.name} has neither a quorum nor fencing, and no witness is configured",
        why="A cut between its hosts leaves both MASTER, and neither can know whether the other one is dead. "
        "Both are promoted, and the writes of one of them are lost.",
        where=it.at,
        fix="    # in failoverd.toml; the address of a router, or of a station that only one side of a cut can reach\n"
        '    [quorum]\n    witnesses = ["icmp://192.0.2.254"]',
    )


def _patient(site: Site, spec: ResourceSpec, it: Configured) -> Iterator[Finding]:
    """A node that waits for a lease, or for `takeover_after`, must not take its data for stale because of that."""
    core = site.configuration.core
    instance, quorum = core.instances[spec.instance], core.quorum
    if quorum is None or not instance.quorum or it.option("options", "quorum", "off") not in _OFF:
        return
    if len(it.minors) == 1:
        return
    wait = max(quorum.takeover_after, votes.lease_time(instance, quorum) if quorum.leases else 0.0)
    if wait <= spec.options.stale_after:
        return
    yield Finding(
        code="drbd-stale-after",
        about=_about(spec),
        wrong=f"a node that takes over waits {wait:.0f} s for the other one, and refuses data that was not replicated "
        f"for {spec.options.stale_after:g} s",
        why="After each failure an operator would have to accept the data. With a longer time, what the other node "
        "wrote between a cut and its stop is lost without a question.",
        where=site.file_of(spec.instance),
        fix=f"    [instance.{spec.instance}.resource.{spec.name}]\n"
        f'    stale_after = "{math.ceil(wait) + _STALE_MARGIN_S}s"',
    )


def _fencing(it: Configured) -> str:
    """What DRBD does about a peer that it has lost; DRBD 8 has the option in another section."""
    return it.option("net", "fencing", it.option("disk", "fencing", "dont-care"))


def _fenced(site: Site, spec: ResourceSpec, it: Configured) -> Iterator[Finding]:
    """With [fence], DRBD waits for failoverd's answer before it writes without its peer."""
    others = [node for node in site.configuration.core.fences if not carries((node,), site.configuration.node)]
    if not others or len(it.minors) == 1:
        return
    if not site.configuration.core.instances[spec.instance].quorum:
        yield from _never_fenced(spec, it)
        return
    section = "disk" if drbd.generation() == _OLD else "net"
    quorum = it.option("options", "quorum", "off") not in _OFF
    handler = it.option("handlers", "fence-peer", "")
    if _fencing(it) != _STONITH and not quorum:
        yield Finding(
            code="drbd-fencing",
            about=_about(spec),
            wrong=f"[fence] is configured, and resource {it.name} has no `fencing {_STONITH}`",
            why="A Primary that is cut off goes on writing until it is powered off, and those writes are lost.",
            where=it.at,
            fix=f"{_block(section, f'fencing {_STONITH}')}\n{_handlers()}",
        )
    elif _fencing(it) != "dont-care" and handler != FENCE_PEER:
        has = f"has the fence-peer handler {handler}" if handler else "has no fence-peer handler"
        yield Finding(
            code="drbd-fence-peer",
            about=_about(spec),
            wrong=f"[fence] is configured, and resource {it.name} {has}",
            why="Nobody then answers DRBD that failoverd has fenced the peer: the I/O of a Primary stays frozen.",
            where=it.at,
            fix=_handlers(),
        )


def _never_fenced(spec: ResourceSpec, it: Configured) -> Iterator[Finding]:
    if _fencing(it) == _STONITH and it.option("handlers", "fence-peer", "") == FENCE_PEER:
        yield Finding(
            code="drbd-never-fenced",
            about=_about(spec),
            wrong=f"{spec.instance} has quorum = false, and resource {it.name} has `fencing {_STONITH}`",
            why="Nobody is fenced for this instance, so the I/O of a Primary stays frozen while a peer is silent.",
            where=it.at,
            fix="fencing dont-care;",
        )


def _handlers() -> str:
    return _block("handlers", f'fence-peer "{FENCE_PEER}"', f'unfence-peer "{UNFENCE_PEER}"')


def _timing(spec: ResourceSpec, it: Configured) -> Iterator[Finding]:
    """A silent peer is lost, and found again, before failoverd acts on it."""
    interval = float(it.option("net", "ping-int", _PING_INT))
    patience = float(it.option("net", "ping-timeout", _PING_TIMEOUT)) / 10
    alone = it.option("options", "quorum", "off") in _OFF
    if alone and patience >= spec.options.reconnect_grace:
        yield Finding(
            code="drbd-ping-timeout",
            about=_about(spec),
            wrong=f"ping-timeout is {patience:g} s, and reconnect_grace {spec.options.reconnect_grace:g} s",
            why="A Primary that is only silent for a moment cannot be back in time, and a second one is promoted.",
            where=it.at,
            fix=_block("net", "ping-timeout 10"),
        )
    if interval + patience >= spec.options.stale_after:
        yield Finding(
            code="drbd-ping-int",
            about=_about(spec),
            wrong=f"a lost peer is noticed after {interval + patience:g} s; "
            f"stale_after is {spec.options.stale_after:g} s",
            why="What the Primary writes in that time is missing here, and failoverd takes the data for current.",
            where=it.at,
            fix=_block("net", "ping-int 1", "ping-timeout 10"),
        )


def _boot(spec: ResourceSpec, it: Configured, boot: Mapping[str, str], target: str) -> Iterator[Finding]:
    """It comes up at boot, and nothing waits for the peers without end."""
    if boot[_SERVICE] not in systemd.ENABLED and boot[target] not in systemd.ENABLED:
        yield Finding(
            code="drbd-not-at-boot",
            about=_about(spec),
            wrong=f"nothing brings up resource {it.name} at boot",
            why="failoverd promotes a resource that is up, and does not bring it up.",
            fix=f"systemctl enable {target}",
        )
    endless = [name for name in _WAITS if it.option("startup", name, "0") == "0"]
    if boot[_SERVICE] in systemd.ENABLED and endless:
        yield Finding(
            code="drbd-wfc-timeout",
            about=_about(spec),
            wrong=f"drbd.service is enabled, and waits for the peers of {it.name} without end ({', '.join(endless)})",
            why="After a power cut a node that boots alone serves nothing.",
            where=it.at,
            fix=_block("startup", *(f"{name} 20" for name in endless)),
        )
