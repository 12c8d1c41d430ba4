"""What a client of the VIP loses when mastership is moved on purpose, to another node and back.

The other side is what one would do without failoverctl: stop keepalived on the MASTER. In one laboratory, in turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.lab import Lab, operating
from tests.lab.profiles import NodeName

from .row import Row, median

_ROUNDS = 6
_MOVES: tuple[tuple[NodeName, NodeName], ...] = (("left", "right"), ("right", "left"))


def measure() -> list[Row]:
    """The packets that the client lost in each round: left gives mastership to right, and right gives it back."""
    ours, theirs = list[int](), list[int]()
    with Lab("hosting", track=True) as lab:
        lab.client.start()
        lab.wait_until_answered_by("left")
        operating.name_peers(lab)
        for _ in range(_ROUNDS):
            ours.append(_there_and_back(lab, _hand_over))
            theirs.append(_there_and_back(lab, _stop))
    return [
        Row(
            what="packets lost by the client, handover, there and back",
            ours=_spread(ours),
            theirs=f"a plain stop of keepalived {_spread(theirs)}",
            target=f"fewer than half: {median(theirs) / 2:g}",
            met=median(ours) < median(theirs) / 2,
        )
    ]


def _there_and_back(lab: Lab, move: Callable[[Lab, NodeName, NodeName], int]) -> int:
    lost = 0
    for old, new in _MOVES:
        lab.wait_until_hears_master(new)
        operating.wait_until_fit(lab, new)
        lost += move(lab, old, new)
    return lost


def _hand_over(lab: Lab, old: NodeName, new: NodeName) -> int:
    _, report = operating.hand_over(lab, old, new)
    return report.lost


def _stop(lab: Lab, old: NodeName, new: NodeName) -> int:
    asked = time.monotonic_ns()
    lab.nodes[old].systemctl("stop", "keepalived.service")
    lost = operating.report_of_move(lab, asked, new).lost
    lab.nodes[old].systemctl("start", "keepalived.service")
    return lost


def _spread(lost: list[int]) -> str:
    return f"{median(lost):g} ({min(lost)} to {max(lost)}, n={len(lost)})"
