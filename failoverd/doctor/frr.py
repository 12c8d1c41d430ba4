"""FRR in metric mode: the daemon runs on every node, and its saved configuration has the standby metric."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level
from failoverd.doctor import systemd
from failoverd.doctor.finding import Finding
from failoverd.doctor.site import Site
from failoverd.drivers import quagga
from failoverd.osutil import threads

FRR_CONF = Path("/etc/frr/frr.conf")
DAEMONS = Path("/etc/frr/daemons")
_UNIT = "frr.service"


async def look(site: Site) -> list[Finding]:
    """All findings about FRR. OSError: a file of it cannot be read. Raises DriverError if systemd does not answer."""
    specs = [each for each in site.resources("quagga") if each.options.mode == "metric"]
    if not specs:
        return []
    state = (await systemd.shown([_UNIT]))[_UNIT]["UnitFileState"]
    found = [_not_enabled(specs[0])] if state not in systemd.ENABLED else []
    for spec in specs:
        found += await threads.run(lambda s=spec: [*_daemon(s), *_saved(s)])
        seen = await quagga.make(spec.options, spec).observe()
        if seen.level in {Level.FAILED, Level.UNKNOWN}:
            found.append(_unusable(spec, seen.detail))
    return found


def _about(spec: ResourceSpec) -> str:
    return f"{spec.instance}.{spec.name}"


def _not_enabled(spec: ResourceSpec) -> Finding:
    return Finding(
        code="frr-not-enabled",
        about=_about(spec),
        wrong=f'{_UNIT} is not enabled, and mode = "metric" needs FRR on every node',
        why="After a reboot this node announces nothing, also as MASTER.",
        fix=f"systemctl enable {_UNIT}",
    )


def _daemon(spec: ResourceSpec) -> Iterator[Finding]:
    daemon = "ospfd" if spec.options.interfaces else "bgpd"
    if not re.search(rf"^\s*{daemon}=[\"']?yes\b", DAEMONS.read_text(encoding="utf-8"), re.MULTILINE):
        yield Finding(
            code="frr-daemon",
            about=_about(spec),
            wrong=f"FRR does not start {daemon}",
            why="Without it nothing is announced, and failoverd has no metric to change.",
            where=str(DAEMONS),
            fix=f"{daemon}=yes",
        )


def _saved(spec: ResourceSpec) -> Iterator[Finding]:
    """The metric with which a restarted daemon begins."""
    options = spec.options
    text = FRR_CONF.read_text(encoding="utf-8", errors="replace")
    if options.interfaces:
        heads = [f"interface {name}" for name in options.interfaces]
        setting = "ip ospf cost"
    else:
        name, sequence = options.route_map.split()
        heads = [f"route-map {name} permit {sequence}"]
        setting = "set metric"
    wrong = [head for head in heads if number(text, head, setting) != options.standby]
    if wrong:
        yield Finding(
            code="frr-saved",
            about=_about(spec),
            wrong=f"{FRR_CONF} has not the standby value {options.standby} in {', '.join(wrong)}",
            why="A restarted FRR begins with the saved value: as standby it would draw the traffic to itself.",
            where=str(FRR_CONF),
            fix="\n".join(f"{head}\n {setting} {options.standby}\nexit" for head in wrong),
        )


def number(text: str, head: str, setting: str) -> int | None:
    """The value of a setting in the block that begins with the line `head`, which its indented lines follow."""
    for block in re.findall(rf"^{re.escape(head)}(?: vrf \S+)?[ \t]*\n((?:[ \t]+.*\n?)*)", text, re.MULTILINE):
        value = re.search(rf"^\s+{setting} (\d+)\s*$", block, re.MULTILINE)
        if value is not None:
            return int(value[1])
    return None


def _unusable(spec: ResourceSpec, detail: str) -> Finding:
    daemon = "ospfd" if spec.options.interfaces else "bgpd"
    return Finding(
        code="frr-metric",
        about=_about(spec),
        wrong=detail,
        why="failoverd could not announce this node as MASTER.",
        fix=f"vtysh -d {daemon} -c 'show running-config'",
    )
