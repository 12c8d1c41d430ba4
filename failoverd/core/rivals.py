"""Two MASTERs at once: what shows it, and what is recorded of it until somebody acknowledges that.

1. The one that stays MASTER hears the adverts of the other, which are of lower priority. So it does for a moment when
   it has just taken mastership from a node that serves (preempt): that is how it should be.
2. The one that gives way is told BACKUP right after MASTER. So it is where a node of higher priority has just come and
   takes mastership as it may. Only where none may (nopreempt on every node) does it tell that the other had been MASTER
   all the while; not in an election, where both may have been for a moment, nor where another program has removed the
   VIP, which makes a BACKUP of a MASTER for a moment.
"""

from __future__ import annotations

from dataclasses import replace

from failoverd.core.events import VrrpChanged
from failoverd.core.model import InstanceState, Rival
from failoverd.core.turn import Turn
from failoverd.core.words import Ending, Target, VrrpState

#: Seconds after it became MASTER in which another one may be on its way to give way, or it may itself.
CROSSING = 3.0
#: Seconds without an advert of the other after which the next one is of another time.
PAUSE = 60.0
#: As many are remembered, the newest ones.
REMEMBERED = 8


def heard(turn: Turn, instance: InstanceState) -> InstanceState:
    """Keepalived, as MASTER, heard another one of lower priority."""
    if instance.vrrp is not VrrpState.MASTER or turn.now < instance.vrrp_since + CROSSING:
        return instance
    last = instance.rivals[-1] if instance.rivals else None
    if last is not None and not last.gave_way and turn.now < last.until + PAUSE:
        return replace(instance, rivals=(*instance.rivals[:-1], replace(last, until=turn.now)))
    instance = _remember(instance, Rival(since=turn.now, until=turn.now, gave_way=False))
    if instance.transition is None:
        note = turn.begin(instance, Target.ACTIVE, "keepalived heard another MASTER beside this one")
        turn.end(note, Ending.ACTIVE, told(instance))
    return instance


def gave_way(turn: Turn, instance: InstanceState, event: VrrpChanged) -> InstanceState:
    """Keepalived said `event`; what it said before is still in `instance`."""
    served = instance.vrrp is VrrpState.MASTER and turn.now >= instance.vrrp_since + CROSSING
    if instance.spec.preempt or instance.robbed or not (served and event.state is VrrpState.BACKUP and event.straight):
        return instance
    return _remember(instance, Rival(since=instance.vrrp_since, until=turn.now, gave_way=True))


def withdrawn(instance: InstanceState) -> InstanceState:
    """What keepalived said last has another reason, which was learned a moment later."""
    last = instance.rivals[-1] if instance.rivals else None
    if last is None or not last.gave_way or last.until != instance.vrrp_since:
        return instance
    return replace(instance, rivals=instance.rivals[:-1])


def told(instance: InstanceState) -> str:
    """What of it must be acted on; empty when nothing."""
    if not instance.rivals:
        return ""
    return f"{what(instance.rivals[-1])}: see what both did, then failoverctl acknowledge {instance.spec.name}"


def what(rival: Rival) -> str:
    """What this node was, in a few words."""
    if not rival.gave_way:
        return "was not the only MASTER"
    return f"was MASTER for {rival.until - rival.since:.0f} s beside another"


def _remember(instance: InstanceState, rival: Rival) -> InstanceState:
    return replace(instance, rivals=(*instance.rivals, rival)[-REMEMBERED:])
