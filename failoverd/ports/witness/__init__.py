"""The ports to witnesses: stations and services outside the cluster that show a node that it is not cut off.

They ask, and never decide. Every kind ends within its deadline, with a line that says what happened.
"""

from __future__ import annotations

from failoverd.ports.witness import url
from failoverd.ports.witness.answer import Answer, LeaseWitness, Witness
from failoverd.ports.witness.etcd import Etcd
from failoverd.ports.witness.exec import Exec
from failoverd.ports.witness.exec import obstacle as exec_obstacle
from failoverd.ports.witness.http import Http
from failoverd.ports.witness.icmp import Icmp
from failoverd.ports.witness.tcp import Tcp

__all__ = [
    "Answer",
    "LeaseWitness",
    "Witness",
    "check",
    "grants_leases",
    "hosts",
    "lease",
    "loopback",
    "make",
    "obstacle",
    "same",
]


def check(text: str) -> str | None:
    """What is wrong with the URL of a witness: a sentence with the remedy; None: nothing. It uses no network."""
    try:
        url.parse(text)
    except ValueError as error:
        return str(error)
    return None


def same(text: str) -> object:
    """A value that is equal for two texts of one witness, as far as no name is looked up. ValueError: as `check`."""
    return url.same(url.parse(text))


def hosts(text: str) -> frozenset[str]:
    """Its addresses and names, each in one form. ValueError: as `check`."""
    return url.hosts(url.parse(text))


def loopback(text: str) -> str | None:
    """A host of it that is always the machine which asks; None: there is none. ValueError: as `check`."""
    return url.loopback(url.parse(text))


def obstacle(text: str) -> str | None:
    """What on this machine keeps it from being asked; None: nothing is seen. It may wait for a disk."""
    parsed = url.parse(text)
    return exec_obstacle(parsed.path) if parsed.kind == "exec" else None


def grants_leases(text: str) -> bool:
    """Whether the witness grants leases, and so is made by `lease`, not by `make`. False for a wrong URL."""
    return text.startswith("etcd://")


def lease(text: str, node: str) -> LeaseWitness:
    """A witness that grants leases. `node`: this node's name, the value of a key. ValueError: what `check` returns."""
    return Etcd(url.parse(text), node)


def make(text: str) -> Witness:
    """A witness that answers every node. ValueError: what `check` returns, or it grants leases."""
    parsed = url.parse(text)
    match parsed.kind:
        case "exec":
            return Exec(parsed.path)
        case "http":
            return Http(parsed)
        case "icmp":
            return Icmp(parsed.endpoints[0])
        case "tcp":
            return Tcp(parsed.endpoints[0])
        case _:
            raise ValueError(f'"{text}" grants leases; expected a witness that answers every node')
