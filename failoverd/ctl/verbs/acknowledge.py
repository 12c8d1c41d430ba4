"""``failoverctl acknowledge``: an operator confirms that a double master is known."""

from __future__ import annotations

import argparse
from datetime import datetime

from failoverd.ctl import arguments
from failoverd.ctl.page import Block, Cell, Page
from failoverd.ctl.verbs import Answer, Request, Verb

_DETAILS = """\
Two nodes were MASTER of INSTANCE at once, and both may have written. Compare
the data of both nodes before you discard one side. `acknowledge` then clears
the double master from `failoverctl status` of this node; run it on each node.
The history records the acknowledgement and its operator.
"""


def _page(answer: Answer, _asked: argparse.Namespace, _now: datetime) -> Page:
    number = int(answer["acknowledged"])
    done = f"acknowledged {number} double master{'s' * (number > 1)}" if number else "nothing to acknowledge"
    return (Block(title=(Cell(f"{answer['instance']}: {done}"),)),)


VERB = Verb(
    position=60,
    summary="confirm that a double master is known",
    details=_DETAILS,
    examples=(("failoverctl acknowledge VI_1", "confirm that a double master is known"),),
    arguments=arguments.instance,
    action=Request(
        verb="acknowledge",
        params=lambda asked: {"instance": asked.instance},
        page=_page,
        operators_only=True,
    ),
)
