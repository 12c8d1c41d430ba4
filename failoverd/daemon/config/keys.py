"""The keys that are resolved before the core sees them, and which classes of keys each table has.

Declared once, as those in failoverd/core/spec.py are: the schema, the manual and the values are derived from them. A
default must not be repeated anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from failoverd.core.options import option
from failoverd.core.spec import FenceKeys, HeartbeatKeys, InstanceKeys, NodeKeys, QuorumKeys, ResourceKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """The key of the table ``[node]`` that says which node this is."""

    name: str | None = option("the name of this node; without it, the host name", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepalivedOptions:
    """The table ``[keepalived]``: what must be known of keepalived.conf."""

    script_user: str | None = option(
        "its script_user, so that failoverd accepts the events of this user's hooks; it always accepts those of root, "
        "and of keepalived_script if that user exists",
        default=None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumOptions:
    """The keys of the table ``[quorum]`` that say who the witnesses are."""

    witnesses: tuple[str, ...] = option(
        "the stations and services that are asked, as URLs; the same ones on every node", minItems=1
    )
    need: int | None = option(
        "how many of the witnesses that answer every node must answer; without it, more than half of them",
        default=None,
        minimum=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceOptions:
    """The keys of a table ``[fence.NODE]`` that say how the other nodes power the node NAME off."""

    agent: str = option(
        'the fence agent: its name in /usr/sbin, such as "fence_ipmilan", or an absolute path',
        pattern=r"^(/|fence_\w+$)",
    )
    options: Mapping[str, Any] | None = option("the agent's own keys, as its manual page names them", default=None)
    secrets: Mapping[str, Any] | None = option(
        "those of its keys that have a secret value, each with the name of a systemd credential of failoverd.service",
        default=None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatOptions:
    """The keys of the table ``[heartbeat]`` that say where the nodes are."""

    addresses: Mapping[str, str] = option(
        "the address of every node by its name, this one included; with a port, if that is not 5409", minProperties=2
    )
    key_file: str = option(
        "the absolute path of the file with the key that all nodes share, or the name of a credential of systemd"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertOptions:
    """The table ``[alert]``: the command that gets each alarm."""

    command: tuple[str, ...] | None = option(
        "the program that gets each alarm, as JSON on its standard input, with its arguments; without it, none does",
        default=None,
        minItems=1,
    )
    timeout: float = option("how long one run of it may take", default=30.0, unit="seconds", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsOptions:
    """The table ``[metrics]``: where Prometheus gets the figures. Without a key, nowhere."""

    listen: str | None = option(
        'the loopback address and port at which Prometheus gets /metrics, such as "127.0.0.1:9705"',
        default=None,
        format="loopback",
    )
    file: str | None = option(
        "the absolute path of a file for node_exporter's textfile collector, which reads names that end with .prom",
        default=None,
        pattern=r"^/.*[^/]\.prom$",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceOptions:
    """The keys of a table ``[instance.NAME]`` that say where keepalived has it, and the budget.

    NAME is that of the vrrp_instance or vrrp_sync_group in keepalived.conf.
    """

    vips: tuple[str, ...] = option(
        'its virtual addresses, each "ADDRESS[/PREFIX] [dev INTERFACE]", or the whole line of keepalived.conf',
        default=(),
    )
    interface: str | None = option("the interface of the VIPs that name none", default=None, format="interface")
    members: tuple[str, ...] = option(
        "of a vrrp_sync_group: its vrrp_instances, as in keepalived.conf. D-Bus reports their states, and not the "
        "group's; without members, failoverd uses D-Bus only while all instances of keepalived are in one state",
        default=(),
    )
    budget: float | None = option(
        "how long a promotion or demotion may take; `failoverctl plan` warns where it may take longer. Without it, no "
        "warning",
        default=None,
        unit="seconds",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceOptions:
    """The key of a table ``[instance.NAME.resource.NAME]`` that says where it can be."""

    nodes: tuple[str, ...] | None = option("the nodes that can carry it; without it, all nodes", default=None)


#: The classes of the keys of each table. That of a resource has its driver's own keys as well.
NODE = (NodeOptions, NodeKeys)
KEEPALIVED = (KeepalivedOptions,)
QUORUM = (QuorumOptions, QuorumKeys)
FENCE = (FenceOptions, FenceKeys)
HEARTBEAT = (HeartbeatOptions, HeartbeatKeys)
ALERT = (AlertOptions,)
METRICS = (MetricsOptions,)
INSTANCE = (InstanceOptions, InstanceKeys)
RESOURCE = (ResourceKeys, ResourceOptions)
