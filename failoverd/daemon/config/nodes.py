"""Which nodes carry a resource: comparisons of `nodes`, where None means all of them."""

from __future__ import annotations


def carries(nodes: tuple[str, ...] | None, node: str) -> bool:
    """Whether `nodes` (None: all) has this node, with or without its domain."""
    return nodes is None or node in nodes or short(node) in nodes


def short(node: str) -> str:
    """The name without its domain."""
    return node.partition(".")[0]


def within(some: tuple[str, ...] | None, others: tuple[str, ...] | None) -> bool:
    """Whether `others` (None: all) has each node of `some`."""
    return others is None or (some is not None and all(carries(others, node) for node in some))


def overlap(some: tuple[str, ...] | None, others: tuple[str, ...] | None) -> bool:
    """Whether both have a node in common. None: all nodes."""
    if some is None or others is None:
        return True
    return any(carries(others, node) for node in some) or any(carries(some, node) for node in others)
