"""Maintenance: an operator wants failoverd to observe and report, and to start no step on this node.

The targets follow keepalived, checks and alarms continue, and steps in flight end. Mastership stays where it is:
failoverd neither releases nor takes it back by itself. When maintenance ends, everything is checked again, and the
steps that are due start.
"""

from __future__ import annotations

import math
from dataclasses import replace

from failoverd.core.context import AdvanceContext
from failoverd.core.model import Maintenance, State
from failoverd.core.reconcile import unconfirmed
from failoverd.core.requests import MaintenanceBegun


def begin(context: AdvanceContext, event: MaintenanceBegun) -> None:
    """Start no step from here on. Maintenance that has begun already gets the new end."""
    before = context.state.maintenance
    since = context.now if before is None else before.since
    context.state = replace(context.state, maintenance=Maintenance(by=event.by, since=since, until=event.until))
    context.touch()


def end(context: AdvanceContext, cause: str) -> None:
    """Act again: no earlier observation counts, and the retries begin again."""
    if context.state.maintenance is None:
        return
    context.state = replace(context.state, maintenance=None)
    for name in context.state.instances:
        instance = context.take(name)
        context.cause = cause
        context.ask(instance)
        resources = {key: context.look(r) for key, r in unconfirmed(instance).resources.items()}
        context.put(name, replace(instance, resources=resources, alarm="", held_back=""))


def wake(context: AdvanceContext) -> None:
    """End it when its time has passed."""
    if context.now >= due(context.state):
        end(context, "the time of the maintenance has passed")


def due(state: State) -> float:
    """When it ends by itself; infinity: it does not, or there is none."""
    return math.inf if state.maintenance is None else state.maintenance.until
