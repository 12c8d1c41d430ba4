"""What the failoverd of a node says, asked over its control socket as failoverctl asks it.

A question costs a millisecond here and a Python process there, so stories may ask as often as they like. An answer
is what `failoverctl --json` prints.
"""

from typing import Any

from failoverd.ctl import client

from .node import Node
from .waiting import wait_for

_SOCKET = "/run/failoverd/control.sock"
_ALL_TRANSITIONS = 1000
_WRITTEN_SECONDS = 10.0


def status(node: Node) -> dict[str, Any]:
    """`failoverctl status --json`."""
    return _ask(node, "status")


def instance(node: Node) -> dict[str, Any]:
    """What `status` says of the one instance that is followed."""
    (found,) = status(node)["instances"].values()
    return dict(found)


def phase(node: Node) -> str:
    """The phase of the one instance that is followed."""
    return str(instance(node)["phase"])


def transitions(node: Node) -> list[dict[str, Any]]:
    """`failoverctl history --json`, newest first."""
    return list(_ask(node, "history", n=_ALL_TRANSITIONS)["transitions"])


def history(node: Node) -> list[dict[str, Any]]:
    """The same, once each transition has ended: what has settled is written down a moment later."""
    return wait_for(
        f"{node.name} has written down how its transitions ended",
        lambda: transitions(node),
        until=lambda found: all(transition["outcome"] for transition in found),
        within=_WRITTEN_SECONDS,
    )


def steps(node: Node) -> list[dict[str, Any]]:
    """Every step of the history, in the order in which they began."""
    found = [step for transition in history(node) for step in transition["steps"]]
    return sorted(found, key=lambda step: str(step["started"]))


def events(node: Node) -> int:
    """How many events were understood, whatever became of them."""
    counters = status(node)["events"]
    return sum(counters[verdict] for verdict in ("accepted", "duplicate", "stale", "ignored"))


def _ask(node: Node, verb: str, **params: Any) -> dict[str, Any]:
    try:
        return client.ask(str(node.path(_SOCKET)), verb, params)
    except client.UnreachableError as error:
        raise ConnectionError(error.error) from error
