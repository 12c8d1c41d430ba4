"""Fence agents: each is here, takes its keys, reaches its device, and means the machine that it is to mean.

It asks the agents for `metadata` and `status`, which change nothing.
"""

from __future__ import annotations

import asyncio
from pathlib import PurePath

from failoverd.core.spec import Fence
from failoverd.daemon.config import clearance
from failoverd.daemon.config.nodes import carries
from failoverd.doctor.finding import Finding
from failoverd.doctor.site import Site
from failoverd.ports import fence as agents

#: Seconds for the agent of one node: less than the examination of all may take.
_TIMEOUT_S = 15.0


async def look(site: Site) -> list[Finding]:
    """All findings about [fence]."""
    fences = site.configuration.core.fences
    found = await asyncio.gather(*(_examine(site, node, fence) for node, fence in fences.items()))
    return [*(each for each in found if each is not None), *_absent(site)]


def _absent(site: Site) -> list[Finding]:
    """The nodes that have no table beside one that has."""
    configuration = site.configuration
    return [
        Finding(
            code="fence-absent",
            about=f"fence.{node}",
            wrong=f"{node} carries {', '.join(names)}, and nothing powers it off, as other nodes are",
            why=f"While {node} is silent, no other node is activated until an operator confirms that it is off.",
            where=site.file_of(next(iter(configuration.core.fences)), "fence"),
            fix=f"    [fence.{node}]    # or takeover_after in [quorum], if it has no power switch",
        )
        for node, names in clearance.unfenceable(configuration.core).items()
    ]


async def _examine(site: Site, node: str, fence: Fence) -> Finding | None:
    if wrong := await agents.obstacles(fence):
        return Finding(
            code="fence-keys",
            about=f"fence.{node}",
            wrong="; ".join(wrong),
            why=f"The agent would do nothing, or power another machine off; so failoverd does not fence {node}.",
            where=site.file_of(node, "fence"),
            fix=f"    [fence.{node}]    # keys: man {PurePath(fence.agent).name}",
        )
    if agents.lacking(fence):  # credentials.py has the findings, and a node needs no secret of its own
        return None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            power = await agents.status(fence)
    except TimeoutError:
        power = agents.Power(on=None, said=f"no answer within {_TIMEOUT_S:g} s")
    if power.on is None:
        return Finding(
            code="fence-status",
            about=f"fence.{node}",
            wrong=f"{fence.agent} cannot say whether {node} is on: {power.said}",
            why=f"failoverd could not fence {node}, and nothing would be activated here when {node} is silent.",
            where=site.file_of(node, "fence"),
            fix=f"    [fence.{node}]    # the address of its power switch, the user and the secret",
        )
    if not power.on:
        here = carries((node,), site.configuration.node)
        return Finding(
            code="fence-off",
            about=f"fence.{node}",
            wrong=f"{fence.agent} says that {node} is off" + (", and this is it" if here else ""),
            why=f"If {node} runs, its options mean another machine: that one would be powered off, and taken as proof.",
            where=site.file_of(node, "fence"),
            fix=f"    [fence.{node}]    # the options that mean {node}",
        )
    return None
