"""``failoverctl confirm-off``: an operator confirms that another node is off, where no fence agent can prove it."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from typing import Any

from failoverd.command_text import failoverctl
from failoverd.ctl import client
from failoverd.ctl.page import Block, Cell, Page
from failoverd.ctl.verbs import Answer, Request, Verb

_DETAILS = """\
For a node that is dead together with its BMC or power switch, so that no fence
agent can prove that it is off. This node then counts it as off, as after a
fencing: it waits for neither that node nor a witness, and activates what is to
be active here.

If NODE still runs, its resources and those of this node are active at once, and
data is lost. So pull its power plugs first. It is refused while this node hears
the failoverd of NODE. The end is that of a fencing: NODE is heard or seen
again, or `failoverctl unfence NODE`. The history keeps the operator.
"""


class _NotConfirmed(client.CtlError):
    status = 64


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="NODE", help="the node's name, as in [heartbeat] of failoverd.toml")
    parser.add_argument("--yes", action="store_true", help="do not ask for its name again on the terminal")


def _params(asked: argparse.Namespace) -> dict[str, Any]:
    node = asked.node
    if not asked.yes:
        _confirm(node)
    return {"node": node}


def _confirm(node: str) -> None:
    """Have the name typed again. CtlError: it was not."""
    if not sys.stdin.isatty():
        again = f"on a terminal, or: {failoverctl('confirm-off --yes', node)}"
        raise _NotConfirmed(f"nobody has confirmed that {node} is off", f"{again}; if it still runs, data is lost")
    danger = f"If {node} still runs, its resources and those of this node are active at once, and data is lost."
    sys.stderr.write(f"{danger}\nIf its power is certainly off, type its name: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != node:
        raise _NotConfirmed(f"not confirmed that {node} is off; nothing was changed")


def _page(answer: Answer, _asked: argparse.Namespace, _now: datetime) -> Page:
    node = answer["node"]
    known = f"{node} was known to be off already" if answer["was_off"] else f"{node} counts as off from now on"
    end = Cell(f"before it is switched on again, if this node cannot hear it: {failoverctl('unfence', node)}")
    return (Block(title=(Cell(known),), notes=(end,)),)


VERB = Verb(
    position=61,
    summary="confirm that another node is off, where no fence agent can",
    details=_DETAILS,
    examples=(("failoverctl confirm-off left", "left is dead, and its BMC too"),),
    arguments=_arguments,
    action=Request(
        verb="confirm-off",
        params=_params,
        page=_page,
        operators_only=True,
    ),
)
