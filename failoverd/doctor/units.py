"""Units: those of resources, which systemd must not start by itself, and the two that must start at boot."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from failoverd.core.spec import ResourceSpec
from failoverd.doctor import systemd
from failoverd.doctor.finding import Finding
from failoverd.doctor.site import Site

#: Without them the node takes no part after a boot.
_AT_BOOT = ("failoverd.service", "keepalived.service")


async def look(site: Site) -> list[Finding]:
    """All findings about units. Raises DriverError if systemd does not answer."""
    specs = {each.options.unit: each for each in owned(site)}
    shown = await systemd.shown([*specs, *_AT_BOOT])
    triggers = [trigger for unit in specs for trigger in shown[unit]["TriggeredBy"].split() if trigger not in specs]
    triggered = await systemd.shown(triggers)
    found = [finding for unit, spec in specs.items() for finding in _findings(spec, unit, shown[unit], triggered)]
    return [*found, *(_not_at_boot(unit) for unit in _AT_BOOT if shown[unit]["UnitFileState"] not in systemd.ENABLED)]


def owned(site: Site) -> list[ResourceSpec]:
    """The resources whose driver starts and stops a unit."""
    return [
        *site.resources("unit"),
        *(each for each in site.resources("quagga") if each.options.mode == "unit"),
    ]


def _findings(
    spec: ResourceSpec, unit: str, has: Mapping[str, str], triggered: Mapping[str, Mapping[str, str]]
) -> Iterator[Finding]:
    about, quoted = f"{spec.instance}.{spec.name}", shlex.quote(unit)
    if has["LoadState"] not in {"loaded", ""}:
        yield Finding(
            code="unit-not-loaded",
            about=about,
            wrong=f"systemd has no usable unit {unit} ({has['LoadState']})",
            why="failoverd cannot start it when this node becomes MASTER.",
            fix=f"systemctl unmask {quoted}" if has["LoadState"] == "masked" else f"systemctl status {quoted}",
        )
        return
    if has["UnitFileState"] in systemd.ENABLED:
        yield Finding(
            code="unit-enabled",
            about=about,
            wrong=f"{unit} is enabled",
            why="systemd starts it at boot, on every node at once.",
            fix=f"systemctl disable {quoted}",
        )
    for trigger in has["TriggeredBy"].split():
        if triggered.get(trigger, {}).get("UnitFileState") in systemd.ENABLED:
            yield Finding(
                code="unit-triggered",
                about=about,
                wrong=f"{trigger} is enabled, and starts {unit}",
                why="It starts the unit on a standby node too.",
                fix=f"systemctl disable --now {shlex.quote(trigger)}",
            )
    if has["Type"] == "oneshot" and has["RemainAfterExit"] != "yes":
        yield Finding(
            code="unit-oneshot",
            about=about,
            wrong=f"{unit} is Type=oneshot without RemainAfterExit=yes",
            why="It is inactive as soon as its commands end, so failoverd never sees it active.",
            where=f"/etc/systemd/system/{unit}.d/failoverd.conf",
            fix="[Service]\nRemainAfterExit=yes",
        )
    for action in ("StartLimitAction", "FailureAction"):
        if has[action] not in {"none", ""}:
            yield Finding(
                code="unit-action",
                about=about,
                wrong=f"{unit} has {action}={has[action]}",
                why="A failed start then takes down the whole node, with all that it serves.",
                where=f"/etc/systemd/system/{unit}.d/failoverd.conf",
                fix=f"[Unit]\n{action}=none",
            )


def _not_at_boot(unit: str) -> Finding:
    program = unit.removesuffix(".service")
    return Finding(
        code=f"{program}-not-enabled",
        about=program,
        wrong=f"{unit} is not enabled",
        why="After a reboot this node does not take part: it serves nothing, and cannot take over.",
        fix=f"systemctl enable {unit}",
    )
