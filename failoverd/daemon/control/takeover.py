"""Why an operator's standby would leave nobody active: everything that this node knows, and nothing that it guesses.

It does not know whether another node's keepalived runs. What the other nodes say by the heartbeat is judged in
core/planned_move.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import NamedTuple

from failoverd.command_text import failoverctl
from failoverd.core import clearance, guards
from failoverd.core.model import InstanceState, State
from failoverd.core.words import Target
from failoverd.daemon.executor import Executor
from failoverd.ports.errors import DriverError

#: Seconds for a resource's peers.
_ASK_TIMEOUT_S = 2.0


class Outlook(NamedTuple):
    """`obstacles`: why no other node would be active; `unknown`: the facts that could not be found."""

    obstacles: list[str]
    unknown: list[str]


async def outlook(state: State, instance: InstanceState, executor: Executor, *, watched: bool | None) -> Outlook:
    """The outlook if this node leaves the instance. `watched`: keepalived watches the directory of the track files."""
    name, found = instance.spec.name, Outlook([], [])
    if watched is False:
        found.obstacles.append(
            f"standby would have no effect: keepalived does not watch {guards.track_file(name)} (track_file in "
            f"keepalived.conf, see failoverd.toml(5))"
        )
    elif watched is None:
        found.unknown.append(f"whether keepalived watches {guards.track_file(name)} (track_file)")
    if instance.target is not Target.ACTIVE:
        return found
    found.obstacles.extend(f"{resource} is configured on this node only" for resource in instance.spec.only_here)
    quorum = state.config.quorum
    leased = quorum is not None and bool(quorum.leases) and instance.spec.quorum
    if leased or clearance.asked(state, instance):
        found.obstacles.extend(
            f"{stray.spec.name} is no longer configured and may run here, so no other node would be activated; "
            f"stop it, then: {failoverctl('reset', name)}"
            for stray in state.strays.values()
            if stray.spec.instance == name
        )
    specs = [resource.spec for resource in instance.resources.values()]
    for spec, reason in zip(
        specs, await asyncio.gather(*(_asked(executor.no_successor(spec)) for spec in specs)), strict=True
    ):
        if isinstance(reason, DriverError):
            found.unknown.append(f"the peers of {spec.name}: {reason.reason}")
        elif reason:
            found.obstacles.append(f"{spec.name}: {reason}")
    return found


async def _asked(question: Awaitable[str]) -> str | DriverError:
    try:
        async with asyncio.timeout(_ASK_TIMEOUT_S):
            return await question
    except TimeoutError:
        return DriverError(f"no answer within {_ASK_TIMEOUT_S:g} s")
    except DriverError as error:
        return error
