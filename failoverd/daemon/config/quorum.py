"""The table ``[quorum]``: which witnesses are counted, which grant leases, and how many are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from failoverd.core import votes
from failoverd.core.spec import InstanceSpec, Quorum, QuorumKeys
from failoverd.daemon.config import schema
from failoverd.daemon.config.keys import QuorumOptions
from failoverd.ports import witness


def read(
    table: Mapping[str, Any],
    problem: Callable[[tuple[str, ...], str], object],
    *,
    vips: Iterable[str] = (),
    nodes: Iterable[str] = (),
) -> Quorum | None:
    """The witnesses of a table whose keys are valid; None after a problem, which `problem` gets with its key.

    `vips`: the virtual addresses of all instances; `nodes`: the addresses of the nodes, as far as they are known.
    """
    options = schema.build(QuorumOptions, table)
    times = schema.values(QuorumKeys, table)
    wrong = [("witnesses", text) for url in options.witnesses if (text := witness.check(url)) is not None]
    wrong += [("witnesses", text) for text in _listed(options.witnesses, frozenset(vips))]
    leases = tuple(url for url in options.witnesses if witness.grants_leases(url))
    counted = tuple(url for url in options.witnesses if url not in leases)
    most = len(counted) // 2 + 1 if counted else 0
    need = most if options.need is None else options.need
    if need > len(counted):
        found = f"{len(counted)} that answer every node" if counted else "none that answers every node"
        wrong.append(("need", f"expected at most the number of witnesses, without those of etcd; there are {found}"))
    for node in () if wrong else nodes:
        itself = sum(node in witness.hosts(url) for url in counted)
        if itself >= need > 0:
            text = f"expected at least {itself + 1}: {node} is a node, and it would be enough that it answers itself"
            wrong.append(("need", text))
    quorum = Quorum(witnesses=counted, leases=leases, need=need, **times)
    if quorum.isolation_timeout < 4 * quorum.timeout:
        text = f"expected at least four times `timeout` ({quorum.timeout:g} s), so that one lost answer is no isolation"
        wrong.append(("isolation_timeout", text))
    if "watchdog_timeout" in table and quorum.watchdog is None:
        text = 'expected `watchdog` beside it, such as "/dev/watchdog": without it nothing resets this machine'
        wrong.append(("watchdog_timeout", text))
    for key, text in wrong:
        problem(("quorum", key), text)
    return None if wrong else quorum


def unheeded(quorum: Quorum | None, instances: Iterable[InstanceSpec]) -> float:
    """Seconds that other nodes should wait for the watchdog of this one, where nothing makes them; 0: they do wait."""
    if quorum is None or quorum.watchdog is None or quorum.leases or quorum.takeover_after > 0:
        return 0.0
    times = (votes.stop_time(spec) for spec in instances if spec.quorum and spec.resources)
    return max((quorum.isolation_timeout + stop + quorum.reset_time for stop in times), default=0.0)


def _listed(urls: Sequence[str], vips: frozenset[str]) -> Iterator[str]:
    """What is wrong with witnesses that are valid by themselves."""
    valid = [url for url in urls if witness.check(url) is None]
    listed: dict[object, str] = {}
    for url in valid:
        if (other := listed.get(witness.same(url))) is not None:
            again = "listed twice" if other == url else f'the same as "{other}"'
            yield f'"{url}" is {again}; expected once, as it answers once'
        listed[witness.same(url)] = url
    for url in valid:
        if (host := witness.loopback(url)) is not None:
            yield f'"{url}": {host} is this machine, which proves nothing; expected a station outside of it'
        elif found := sorted(witness.hosts(url) & vips):
            yield f'"{url}": {found[0]} is a VIP, so the MASTER would answer itself; expected a station outside'
    leases = [url for url in valid if witness.grants_leases(url)]
    if len(leases) > 1:
        words = " and ".join(f'"{url}"' for url in leases)
        yield f"{words} grant leases; expected one: two nodes could each hold one of them, and wait for the other"
