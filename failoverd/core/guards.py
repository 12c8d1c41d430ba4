"""Reasons not to follow keepalived's state. A guard returns the reason, in a person's words; None: no reason."""

from __future__ import annotations

from failoverd.command_text import failoverctl
from failoverd.core import planner
from failoverd.core.model import InstanceState
from failoverd.core.words import Clearance, Health, Keepalived, Level, Standing, Target, VrrpState

#: Seconds in which keepalived reads a track file that has changed.
TRACK_FILE_READ_S = 2.0

#: Seconds after the change of a track file in which another node becomes MASTER.
MASTERSHIP_RELEASE_S = 10.0

#: Seconds for which a handover waits for failoverctl, before this node serves again.
UNATTENDED_S = 5.0

_SILENT = "keepalived has reported nothing: check notify, FIFO, script_user"
_SILENT_SINCE_STOP = "keepalived runs and has reported nothing since STOP: check notify, FIFO, script_user"

#: Why this node cannot take over: by keepalived's last state, or without one by its processes.
_OUT = {
    VrrpState.FAULT: "keepalived reports FAULT; for the cause: journalctl -u keepalived",
    VrrpState.STOP: "keepalived was stopped: systemctl start keepalived",
    VrrpState.DELETED: "keepalived.conf no longer has this instance",
}
_UNHEARD = {None: "keepalived has not run since the boot: systemctl start keepalived", Keepalived.RUNNING: _SILENT}


def vip_missing(instance: InstanceState) -> str | None:
    """ACTIVE is refused while a VIP is not usable on its interface."""
    for vip, present in instance.vips.items():
        if present is None:
            return f"cannot see whether {vip.address} is on {vip.interface} (netlink does not answer)"
        if not present:
            return f"{vip.address} {instance.instead.get(vip) or f'is not on {vip.interface}'}"
    return None


def vip_left(instance: InstanceState) -> str | None:
    """After BACKUP, FAULT or STOP, a VIP that is still here is an error; before any report it may be normal."""
    silent = instance.vrrp is None and instance.keepalived is not Keepalived.GONE
    started = instance.vrrp is VrrpState.STOP and instance.keepalived is Keepalived.RUNNING
    for vip, present in instance.vips.items():
        if present:
            where = f"on {vip.interface}"
            if silent:
                return f"{vip.address} is {where}, but {_SILENT}"
            return f"{vip.address} is still {where}{f'; {_SILENT_SINCE_STOP}' if started else ''}"
    return None


def vip_absent(instance: InstanceState) -> bool:
    """Whether every VIP was observed to be absent. False for an instance without VIPs."""
    return bool(instance.vips) and all(present is False for present in instance.vips.values())


def vip_problem(instance: InstanceState) -> str | None:
    """How the VIPs disagree with the target; None when they agree, or while there is no target."""
    if instance.target is None:
        return None
    return vip_missing(instance) if instance.target is Target.ACTIVE else vip_left(instance)


def deaf(instance: InstanceState) -> str | None:
    """ACTIVE is refused while keepalived receives no adverts of the other nodes: one of them will take over."""
    if instance.keepalived is Keepalived.STOPPED:
        return (
            "keepalived is frozen (by SIGSTOP or its control group): systemctl thaw keepalived; "
            "kill -CONT $(pidof keepalived)"
        )
    if instance.keepalived is Keepalived.GONE:
        return "keepalived is gone: systemctl start keepalived"
    return None


def cannot_take_over(instance: InstanceState) -> str | None:
    """Why keepalived would not make this standby MASTER, or not report that; None also if an alarm has the reason."""
    if instance.target is not Target.STANDBY or instance.released or vip_left(instance) is not None:
        return None
    if not instance.competes and instance.vrrp is VrrpState.FAULT:
        return None
    why = next((f"{vip.address} {text}" for vip, text in instance.instead.items()), None)
    return why or (_UNHEARD.get(instance.keepalived) if instance.vrrp is None else _OUT.get(instance.vrrp))


def hindrance(instance: InstanceState) -> str:
    """Why this standby could not be activated, where `health` is TRACK; empty when it could."""
    if instance.spec.health is not Health.TRACK or instance.target is not Target.STANDBY:
        return ""
    found = ((name, r.seen.obstacle) for name, r in planner.vital(instance).items())
    return "; ".join(f"{name}: {obstacle}" for name, obstacle in found if obstacle)


def able(instance: InstanceState) -> bool:
    """Whether its resources show that it is active, or could be activated; false where `health` is REPORT."""
    if instance.spec.health is not Health.TRACK:
        return False
    resources = planner.vital(instance).values()
    standby = all(r.rests_at(Level.STANDBY) and not r.seen.obstacle for r in resources)
    return standby or all(r.rests_at(Level.ACTIVE) for r in resources)


def released(instance: InstanceState, now: float) -> str | None:
    """ACTIVE is refused after mastership was released, until it is taken back.

    Where keepalived stays MASTER all the same, no other node is active: this node activates all resources that it can.
    """
    if instance.target is Target.ACTIVE and now >= instance.released_at + MASTERSHIP_RELEASE_S:
        return None
    return away(instance, now)


def away(instance: InstanceState, now: float) -> str | None:
    """The state of a release of mastership, with its reason; None when mastership was not released."""
    if not instance.released:
        return None
    name = instance.spec.name
    if instance.target is Target.ACTIVE and now >= instance.released_at + TRACK_FILE_READ_S:
        return (
            f"mastership cannot be released: {instance.released}; keepalived still reports MASTER: check that "
            f"keepalived.conf watches {track_file(name)} (track_file); until then this node activates what it can"
        )
    if instance.unfit:
        return f"does not compete for mastership: {instance.released}; it will when that has passed"
    return f"mastership was released: {instance.released}; to take back mastership: {failoverctl('reset', name)}"


def handing_over(instance: InstanceState) -> str | None:
    """ACTIVE is refused during a handover."""
    if instance.handover is None:
        return None
    by = instance.handover.by
    if instance.handover.given_at is None:
        return f"{by} hands mastership over: deactivating the resources first"
    limit = f"{handover_time(instance):.0f} s"
    return f"{by} hands mastership over: this node does not compete until another one is active, {limit} at most"


def aside(instance: InstanceState) -> str | None:
    """Why this node is not to be elected now, though nothing is wrong with it; None: it may be."""
    if instance.aside is None:
        return None
    return f"aside for the handover {instance.aside.id}, so that this node is not elected; that ends by itself"


def handover_deadlines(instance: InstanceState) -> list[float]:
    """The times at which a handover ends by itself, of this node or of another one."""
    times = [instance.aside.until] if instance.aside is not None else []
    if instance.handover is None:
        return times
    given_at, until = instance.handover.given_at, instance.handover.attended_until
    if given_at is None:
        return [*times, until, until + UNATTENDED_S]
    return [*times, given_at + MASTERSHIP_RELEASE_S, given_at + handover_time(instance)]


def handover_time(instance: InstanceState) -> float:
    """Seconds after the release at which this node competes for mastership again, unless failoverctl ends it before.

    Without preemption that moves nothing while another node is MASTER. With it, the other node has the time to activate
    all, and failoverctl to see that.
    """
    if not instance.spec.preempt:
        return MASTERSHIP_RELEASE_S
    return planner.schedule(instance.spec, Target.ACTIVE)[1] + 60.0


def barred(instance: InstanceState, now: float) -> str | None:
    """Why ACTIVE is refused whatever the witnesses answer, and wherever the VIPs are."""
    return left_behind(instance) or deaf(instance) or released(instance, now) or handing_over(instance)


def quorum_missing(instance: InstanceState) -> str | None:
    """ACTIVE is refused while too few witnesses answer, or another node holds a lease."""
    if instance.standing is not Standing.MISSING:
        return None
    return alone(instance) or f"MASTER, but the witnesses do not agree: {instance.lacks}"


def alone(instance: InstanceState) -> str | None:
    """Why this node neither serves nor competes for mastership: too few witnesses have answered for too long."""
    if instance.alone_at is None:
        return None
    return f"this node is alone, and does not compete for mastership until the witnesses answer: {instance.lacks}"


def quorum_awaited(instance: InstanceState) -> str | None:
    """For which witnesses the activation waits; None: for none."""
    if instance.standing is not Standing.AWAITED or instance.target is not Target.ACTIVE:
        return None
    return f"waiting for the witnesses: {instance.lacks}"


def peers_uncleared(instance: InstanceState) -> str | None:
    """ACTIVE is refused while another node may serve, and waiting for it is of no use."""
    if instance.clearance is not Clearance.MISSING:
        return None
    return f"MASTER, but another node may serve: {instance.uncleared}"


def peers_awaited(instance: InstanceState) -> str | None:
    """For which other nodes the activation waits; None: for none."""
    if instance.clearance is not Clearance.AWAITED or instance.target is not Target.ACTIVE:
        return None
    return f"waiting until no other node can serve: {instance.uncleared}"


def kept_in_standby(instance: InstanceState, now: float) -> str | None:
    """An operator's wish that this node is not MASTER, and whether keepalived complies; None: there is none.

    It is no guard: where keepalived stays MASTER all the same, no other node is, so this one is active.
    """
    if instance.standby is None:
        return None
    name, by = instance.spec.name, instance.standby.by
    end = f"to end it: {failoverctl('online', name)}"
    if instance.target is Target.ACTIVE and now >= instance.standby.at + TRACK_FILE_READ_S:
        return (
            f"standby (by {by}) has no effect: keepalived still reports MASTER, because no other node takes over, or "
            f"keepalived.conf does not watch {track_file(name)} (track_file); {end}"
        )
    return f"kept in standby by {by}, so another node must be MASTER; {end}"


def held_back(instance: InstanceState, direction: Target) -> str:
    """The steps that do not start because of maintenance, in a person's words; empty when there are none."""
    if not planner.candidates(instance.resources, direction):
        return ""
    goal, verb = planner.GOAL[direction], planner.VERB[direction].value
    steps, _ = planner.schedule(instance.spec, direction)
    names = [s.resource for s in steps if not instance.resources[s.resource].rests_at(goal)]
    risk = ", and another node may be active" if direction is Target.STANDBY else ""
    return (
        f"maintenance: failoverd does not {verb} {', '.join(names)}{risk}; to let it act: failoverctl maintenance off"
    )


def track_file(name: str) -> str:
    """The file by which keepalived knows whether it may be MASTER of the instance."""
    return f"/run/failoverd/track/{name.replace('/', '%2f')}"


def left_behind(instance: InstanceState) -> str | None:
    """The typical double master: keepalived was killed, and its VIP stayed."""
    here = next((vip for vip, present in instance.vips.items() if present), None)
    if instance.keepalived is not Keepalived.GONE or here is None:
        return None
    return (
        f"keepalived is gone and {vip_left(instance)}: systemctl start keepalived (which removes it), "
        f"or ip address del {here.address} dev {here.interface}"
    )
