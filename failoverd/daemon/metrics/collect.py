"""Collect all figures into one exposition, in pieces, so that no event waits for it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from itertools import product

from failoverd import __version__, log
from failoverd.alarms import ALARMS
from failoverd.core import guards, peers
from failoverd.core.model import InstanceState, State
from failoverd.core.resource import ResourceState
from failoverd.core.words import Keepalived, Level, Phase, Target, TransitionResult, VrrpState
from failoverd.daemon.history.store import Store
from failoverd.daemon.metrics import families
from failoverd.daemon.metrics.counts import Counts
from failoverd.daemon.metrics.exposition import Exposition, labels
from failoverd.trouble import TroubleKind, troubles

#: Instances between two pauses in which the loop can handle events. One of ten resources takes 0.1 ms.
INSTANCES_AT_ONCE = 8

_PHASES = tuple(each.value for each in Phase)
_TARGETS = tuple(each.value for each in Target)
_VRRP_STATES = tuple(each.value for each in VrrpState)
_CONDITIONS = tuple(each.value for each in Keepalived)
_RESULTS = tuple(each.value for each in TransitionResult)
_LEVELS = tuple(each.value for each in Level)


async def collect(
    state: State,
    counts: Counts,
    store: Store,
    *,
    node: str,
    events: Mapping[tuple[str, str], int],
    rejected: int,
    overflows: int,
) -> bytes:
    """All figures, in Prometheus' text format.

    `node`: the name of this node. `events`: the number of keepalived's events by source and verdict; `rejected`: that
    of the rejected ones. `overflows`: how often the FIFO was full.
    """
    sheet = Exposition()
    sheet.add(families.BUILD, labels(version=__version__, node=node), 1)
    sheet.add(families.MADE, "", round(time.time(), 3))
    for (source, verdict), number in events.items():
        sheet.add(families.EVENTS, labels(source=source, verdict=verdict), number)
    sheet.add(families.REJECTED, "", rejected)
    sheet.add(families.OVERFLOWS, "", overflows)
    sheet.add(families.HISTORY_DROPPED, "", store.dropped)
    sheet.add(families.LOG_LOST, "", log.lost())
    _surroundings(sheet, state)
    for number, (name, instance) in enumerate(state.instances.items()):
        if number % INSTANCES_AT_ONCE == 0:
            await asyncio.sleep(0)
        _instance(sheet, counts, name, instance)
    for (driver, verb), durations in counts.step_seconds.items():
        sheet.histogram(families.STEP_SECONDS, labels(driver=driver, verb=verb), durations)
    pieces = []
    for piece in sheet.pieces():
        pieces.append(piece)
        await asyncio.sleep(0)
    return b"".join(pieces)


def _surroundings(sheet: Exposition, state: State) -> None:
    sheet.add(families.MAINTENANCE, "", state.maintenance is not None)
    wall = time.time() - asyncio.get_running_loop().time()
    for name in () if state.config.heartbeat is None else state.config.heartbeat.peers:
        if (at := peers.heard_at(state, name)) > -math.inf:
            sheet.add(families.PEER_WORD, labels(peer=name), round(wall + at, 3))
    strays = [stray.spec.instance for stray in state.strays.values() if stray.said]
    for name in sorted({*state.instances, *strays}):
        sheet.add(families.STRAYS, labels(vrrp_instance=name), strays.count(name))
    standing = [each.kind for each in troubles.standing]
    for kind in TroubleKind:
        sheet.add(families.TROUBLES, labels(code=kind.code), standing.count(kind))


def _instance(sheet: Exposition, counts: Counts, name: str, instance: InstanceState) -> None:
    its = labels(vrrp_instance=name)
    sheet.one_of(families.PHASE, its, "phase", _PHASES, instance.phase.value)
    sheet.one_of(families.TARGET, its, "target", _TARGETS, instance.target and instance.target.value)
    sheet.one_of(families.VRRP, its, "state", _VRRP_STATES, instance.vrrp and instance.vrrp.value)
    sheet.one_of(families.KEEPALIVED, its, "condition", _CONDITIONS, instance.keepalived and instance.keepalived.value)
    sheet.add(families.ALARM, its, bool(instance.alarm))
    sheet.add(families.OBSTACLE, its, guards.cannot_take_over(instance) is not None)
    sheet.add(families.RELEASED, its, bool(instance.released))
    sheet.add(families.STANDBY, its, instance.standby is not None)
    sheet.add(families.RIVALS, its, len(instance.rivals))
    sheet.add(families.DEGRADED, its, len(instance.degraded))
    for vip, present in instance.vips.items():
        if present is not None:
            sheet.add(families.VIP, labels(vrrp_instance=name, address=vip.address, interface=vip.interface), present)
    for resource, state in instance.resources.items():
        _resource(sheet, counts, name, resource, state)
    for code in (message.code for message in ALARMS.values()):
        sheet.add(families.ALARMS, labels(vrrp_instance=name, code=code), counts.alarms[name, code])
    sheet.add(families.REFUSALS, its, counts.refusals[name])
    for target, result in product(_TARGETS, _RESULTS):
        number = counts.transitions[name, target, result]
        sheet.add(families.TRANSITIONS, labels(vrrp_instance=name, target=target, outcome=result), number)
    for target in _TARGETS:
        if (durations := counts.transition_seconds.get((name, target))) is not None:
            sheet.histogram(families.TRANSITION_SECONDS, labels(vrrp_instance=name, target=target), durations)


def _resource(sheet: Exposition, counts: Counts, instance: str, name: str, resource: ResourceState) -> None:
    its = labels(vrrp_instance=instance, resource=name)
    whole = labels(vrrp_instance=instance, resource=name, driver=resource.spec.driver)
    sheet.one_of(families.LEVEL, whole, "level", _LEVELS, resource.seen.level.value)
    sheet.add(families.RESOURCE_ALARM, its, resource.seen.alarm is not None)
    sheet.add(families.RESOURCE_OBSTACLE, its, bool(resource.seen.obstacle))
    for (verb, outcome), number in counts.steps.get((instance, name), {}).items():
        sheet.add(families.STEPS, f"{whole},{labels(verb=verb, outcome=outcome)}", number)
    if resource.observed is not None:
        at = time.time() - asyncio.get_running_loop().time() + resource.observed
        sheet.add(families.OBSERVED, its, round(at, 3))
