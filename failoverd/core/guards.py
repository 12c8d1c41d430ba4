"""Reasons not to do what keepalived asks for. A guard returns the reason, in a person's words, or None."""

from __future__ import annotations

from failoverd.core.model import InstanceState
from failoverd.core.words import Keepalived, Target

#: Seconds in which keepalived hears of a track file that has changed, and in which it has let go for another node.
HEARD = 2.0
LET_GO = 10.0


def vip_missing(instance: InstanceState) -> str | None:
    """ACTIVE is refused while a VIP is not usable on its interface."""
    for vip, present in instance.vips.items():
        if present is None:
            return f"cannot see whether {vip.address} is on {vip.interface} (netlink does not answer)"
        if not present:
            return f"{vip.address} is not on {vip.interface}"
    return None


def vip_left(instance: InstanceState) -> str | None:
    """After BACKUP, FAULT or STOP, a VIP that is still here is somebody's mistake."""
    for vip, present in instance.vips.items():
        if present:
            return f"{vip.address} is still on {vip.interface}"
    return None


def vip_absent(instance: InstanceState) -> bool:
    """Every VIP was looked for and is not here. Without VIPs there is nothing to go by."""
    return bool(instance.vips) and all(present is False for present in instance.vips.values())


def vip_problem(instance: InstanceState) -> str | None:
    """Where the VIPs disagree with the target; None also while there is no target."""
    if instance.target is None:
        return None
    return vip_missing(instance) if instance.target is Target.ACTIVE else vip_left(instance)


def deaf(instance: InstanceState) -> str | None:
    """ACTIVE is refused while keepalived cannot hear the other nodes: one of them will take over."""
    if instance.keepalived is Keepalived.STOPPED:
        return "keepalived is stopped (SIGSTOP): continue it, or kill it and start it again"
    if instance.keepalived is Keepalived.GONE:
        return "keepalived is gone: start it"
    return None


def released(instance: InstanceState, now: float) -> str | None:
    """ACTIVE is refused to who has given mastership away, until it is taken back.

    Where keepalived does not let go, nobody else serves: then what can be served is served here.
    """
    if instance.target is Target.ACTIVE and now >= instance.released_at + LET_GO:
        return None
    return away(instance, now)


def away(instance: InstanceState, now: float) -> str | None:
    """What became of mastership that was given away; None when it was not."""
    if not instance.released:
        return None
    name = instance.spec.name
    if instance.target is Target.ACTIVE and now >= instance.released_at + HEARD:
        file = f"/run/failoverd/track/{name.replace('/', '%2f')}"
        return (
            f"mastership cannot be given away: {instance.released}; keepalived still says MASTER, does keepalived.conf "
            f"watch {file} (track_file)? What can be served is served here"
        )
    return f"mastership was given away: {instance.released}; failoverctl reset {name} takes it back"


def left_behind(instance: InstanceState) -> str | None:
    """The classic double master: keepalived was killed, and its VIP stayed."""
    here = vip_left(instance)
    if instance.keepalived is not Keepalived.GONE or here is None:
        return None
    return f"keepalived is gone and {here}: start keepalived, which takes it away, or delete it by hand"
