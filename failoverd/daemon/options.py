"""The keys of the configuration that are not a driver's own, declared once: their types, defaults and meaning."""

from __future__ import annotations

from dataclasses import dataclass

from failoverd.drivers import option


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """The table ``[node]``."""

    name: str | None = option("the name of this node; the host name where it is not given", default=None)
    parallel: int = option("how many steps may run at once on this node", default=128, minimum=1)
    check_interval: float = option(
        "how often a resource that nothing happens to is looked at", default=30.0, unit="seconds", minimum=10
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepalivedOptions:
    """The table ``[keepalived]``: what must be known of keepalived.conf."""

    script_user: str | None = option(
        "its script_user, who may then hand over events; root always may, and keepalived_script where there is one",
        default=None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceOptions:
    """A table ``[instance.NAME]``; NAME is that of the vrrp_instance or vrrp_sync_group in keepalived.conf."""

    vips: tuple[str, ...] = option(
        'its virtual addresses, each "ADDRESS[/PREFIX] [dev INTERFACE]", as in keepalived.conf', default=()
    )
    interface: str | None = option("the interface of the VIPs that name none", default=None)
    vip_timeout: float = option("how long a VIP may disagree with keepalived's word", default=5.0, unit="seconds")
    preempt: bool = option(
        "whether a node of higher priority takes mastership from one that serves; false where keepalived.conf has "
        "nopreempt on every node: then it is recorded of a MASTER that gives way that there were two",
        default=True,
    )
    members: tuple[str, ...] = option(
        "of a vrrp_sync_group: its vrrp_instances, as in keepalived.conf, whose states D-Bus tells in place of the "
        "group's; without it, D-Bus tells only while all instances of keepalived are in one state",
        default=(),
    )
    on_refused: str = option(
        "when the VIPs do not come though keepalived says MASTER: hold mastership, or release it to another node",
        default="hold",
        enum=["hold", "release"],
    )
    take_back_after: float = option(
        "when a sound standby takes back mastership that it released, at the earliest; 0: `failoverctl reset` does",
        default=60.0,
        unit="seconds",
        minimum=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartOptions:
    """The inline table ``restart``."""

    max: int = option("how often", minimum=0)
    within: float = option("within how long", unit="seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceOptions:
    """What every table ``[instance.NAME.resource.NAME]`` may have, beside its driver's own keys."""

    driver: str = option("the driver that moves it")
    nodes: tuple[str, ...] | None = option("the nodes that can carry it; all, where it is not given", default=None)
    needs: tuple[str, ...] = option("the resources that must be active before it", default=())
    timeout: float = option("how long one activation may take", default=30.0, unit="seconds", minimum=0.1)
    stop_timeout: float = option(
        "how long one graceful deactivation may take; a forced one has 10 s more", default=30.0, unit="seconds"
    )
    retries: int = option("how often a failed step is tried again", default=2, minimum=0, maximum=100)
    backoff: float = option("the pause before the first retry; each is twice the last", default=1.0, unit="seconds")
    on_failure: str = option(
        "when it will not activate: continue with the others, stop activating them, or release mastership as well",
        default="stop",
        enum=["continue", "release", "stop"],
    )
    on_refused: str = option(
        "when its activation would not be safe: hold mastership all the same, or release it to another node",
        default="hold",
        enum=["hold", "release"],
    )
    restart: RestartOptions | None = option(
        "how often what ends by itself is started again; without it, for ever. More than that is a failure",
        default=None,
    )
    escalation: str = option(
        "when it will not stop, by no means: alert somebody, or reboot this machine",
        default="alert",
        enum=["alert", "reboot"],
    )
