"""The findings of ``failoverctl doctor`` about the other nodes: whether each answers and has the same configuration.

The doctor's own room looks at this machine only.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from failoverd.ctl import peers

if TYPE_CHECKING:
    from failoverd.doctor import Finding

_ASKED = ("failoverctl", "status", "--json")


def examine(ways: Mapping[str, str | Sequence[str]], digest: str, file: Path) -> list[Finding]:
    """Ask every node in `ways`, in parallel. `digest`: that of the configuration `file` here."""
    found: list[Finding] = []
    for node, reply in peers.run(ways, _ASKED).items():
        found += _of_one(node, ways[node], reply, digest, file)
    return found


def _of_one(node: str, way: str | Sequence[str], reply: peers.Reply, digest: str, file: Path) -> Iterator[Finding]:
    from failoverd.doctor import Finding  # with all drivers: its caller has imported them

    try:
        theirs = peers.answered(reply).get("digest")
    except ValueError as error:
        yield Finding(
            code="peer-unreachable",
            about=node,
            wrong=f"failoverctl cannot be run there: {error}",
            why="`failoverctl status --all` cannot tell how many nodes serve, and `failoverctl handover` is refused.",
            fix=shlex.join(peers.command(way, _ASKED)),
        )
        return
    if theirs != digest:
        there = shlex.join(peers.command(way, ("cat", str(file))))
        yield Finding(
            code="configuration-differs",
            about=node,
            wrong="its failoverd has another configuration than the file here",
            why="Nodes that disagree on an instance or its resources do not do the same after a failover.",
            fix=f"{there} | diff {shlex.quote(str(file))} -\nsystemctl reload failoverd",
        )
