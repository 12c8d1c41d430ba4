"""The table ``[heartbeat]``: where this node and the others are, by name."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from failoverd.core.spec import Heartbeat, HeartbeatKeys
from failoverd.daemon.config import nodes, schema
from failoverd.daemon.config.files import wrong_name
from failoverd.daemon.config.keys import HeartbeatOptions
from failoverd.ports.heartbeat.channel import Address

#: The UDP port where an address has none.
PORT = 5409

_PORTS = 65536
_BROADCAST = ipaddress.ip_address("255.255.255.255")
_LOCALHOST = ("127.0.0.1", "::1")
_EXPECTED = 'expected an address such as "192.0.2.1", "192.0.2.1:5409" or "[2001:db8::1]:5409"'

_Problem = Callable[[tuple[str, ...], str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatPlan:
    """The heartbeat of this node. `core`: the part that the core decides by; `peers`: the addresses of the others."""

    core: Heartbeat
    own: Address
    peers: Mapping[str, Address]
    key_file: str


def read(table: Mapping[str, Any], node: str, problem: _Problem) -> HeartbeatPlan | None:
    """The heartbeat of a table whose keys are valid; None after a problem, which `problem` gets with its key."""
    options = schema.build(HeartbeatOptions, table)
    found: dict[str, Address] = {}
    wrong: list[tuple[tuple[str, ...], str]] = []
    for name, text in options.addresses.items():
        if (wrong_text := wrong_name(name)) is not None:
            wrong.append((("addresses", name), wrong_text))
            continue
        try:
            address = _address(text)
        except ValueError as error:
            wrong.append((("addresses", name), str(error)))
            continue
        same = [other for other, there in found.items() if there == address]
        if same:
            wrong.append((("addresses", name), f"{address} is also the address of {same[0]}; expected one of its own"))
        found[name] = address
    wrong += _looped(found)
    if len({":" in address.host for address in found.values()}) > 1:
        wrong.append((("addresses",), "some are of IPv4 and some of IPv6; expected one of both"))
    own = [name for name in options.addresses if nodes.overlap((name,), (node,))]
    if len(own) != 1:
        text = f"{', '.join(own)} are all this node" if own else "this node is missing"
        known = ", ".join(options.addresses)
        wrong.append((("addresses",), f'{text}; expected one address of "{node}" beside the others ({known})'))
    if not options.key_file.startswith("/") and "/" in options.key_file:
        wrong.append((("key_file",), "expected an absolute path, or the name of a credential, which has no slash"))
    for key, text in wrong:
        problem(("heartbeat", *key), text)
    if wrong:
        return None
    peers = {name: address for name, address in found.items() if name != own[0]}
    return HeartbeatPlan(
        core=Heartbeat(node=own[0], peers=tuple(peers), **schema.values(HeartbeatKeys, table)),
        own=found[own[0]],
        peers=peers,
        key_file=options.key_file,
    )


def _looped(found: Mapping[str, Address]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each address at which no other machine is. Nodes that are all on this one may have 127.0.0.2, and so on."""
    hosts = {name: ipaddress.ip_address(address.host) for name, address in found.items()}
    alone = all(host.is_loopback for host in hosts.values())
    for name, host in hosts.items():
        if host.is_loopback and not (alone and str(host) not in _LOCALHOST):
            text = f"{host} is every node itself; expected the address at which the others reach {name}"
            yield ("addresses", name), text


def check(
    plan: HeartbeatPlan, carriers: Mapping[str, tuple[str, ...]], vips: Collection[str], problem: _Problem
) -> None:
    """Report each node that carries a resource of an instance (`carriers`: by instance) and has no address.

    `vips`: the virtual addresses of all instances, none of which may be that of a node.
    """
    for name, address in {plan.core.node: plan.own, **plan.peers}.items():
        if address.host in vips:
            text = f"{address.host} is a VIP, which moves from node to node; expected an address that stays on {name}"
            problem(("heartbeat", "addresses", name), text)
    known = (plan.core.node, *plan.core.peers)
    for instance, names in carriers.items():
        for name in names:
            if not nodes.overlap((name,), known):
                text = f"{name} carries resources of {instance}, and has no address; expected one"
                problem(("heartbeat", "addresses"), text)


def _address(text: str) -> Address:
    host, port = text, str(PORT)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f'"{text}" is not an address; {_EXPECTED}')
        port = rest[1:] or port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        plain = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f'"{text}" is not an address; {_EXPECTED}') from None
    if plain.is_unspecified or plain.is_multicast or plain == _BROADCAST or "%" in host:
        raise ValueError(f'"{text}" is not the address of one node; {_EXPECTED}')
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < _PORTS:
        raise ValueError(f'"{text}" has no valid port; {_EXPECTED}')
    return Address(str(plain), int(port))
