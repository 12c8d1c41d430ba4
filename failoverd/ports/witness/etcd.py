"""A lease in an etcd cluster: for each instance one key, whose value is the node that holds it.

Only this order of calls, on one member, proves that the lease is held for `ttl` seconds from the call on:

1. a linearizable read has this node as the key's value: the member's leader was the leader then;
2. the renewal of the key's lease is answered with a TTL, by that leader, or by one that was elected after the read.
   A new leader begins all TTLs anew, so that the lease lives for a TTL from the read on, in both cases.

Without the read, a leader that has been deposed, and has not noticed, could confirm a lease that its successor ends.
For a new lease, the grant and the key's creation are agreed upon by a majority.

A request without an answer may still be carried out, also much later, by a member that was frozen. So everything begins
with a read again, keys are changed by compare-and-swap only, and an instance keeps the lease that was granted to it:
once it has been revoked, no late request can write the key.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import quote

from failoverd.ports.witness import host
from failoverd.ports.witness.answer import Answer
from failoverd.ports.witness.etcd_api import EtcdError, Member
from failoverd.ports.witness.host import Deadline, Host
from failoverd.ports.witness.http_wire import BadReply
from failoverd.ports.witness.url import Endpoint, Url

#: Readings of the key within one attempt. Each further one means that another program has just changed the key.
_MAX_READINGS = 4
_NAME_MAX_CHARS = 80

_Result = TypeVar("_Result")


class _NoAnswer(Exception):
    """No endpoint has given a usable answer. Its text names the reason of each."""


class Etcd:
    """The witness of ``etcd://HOST:PORT[,HOST:PORT…][/PREFIX]``. `node`: this node's name."""

    def __init__(self, url: Url, node: str) -> None:
        self._endpoints = {endpoint: Host(endpoint.host) for endpoint in url.endpoints}
        self._order = list(url.endpoints)
        self._prefix = url.path
        self._node = node
        self._leases: dict[str, int] = {}
        self._revoked: dict[str, set[int]] = {}  # without an answer: it may still be carried out
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def hold(self, instance: str, ttl: float, timeout: float, *, take: bool = True) -> Answer:
        """Acquire the lease of an instance, or renew it; as `LeaseWitness` has it."""
        return await self._answer(instance, lambda member: self._held(member, instance, ttl, take=take), timeout)

    async def look(self, instance: str, timeout: float) -> Answer:
        """Whether a majority answers; as `LeaseWitness` has it."""

        async def read(member: Member) -> Answer:
            await member.read(self._key(instance))
            return Answer(granted=True, said="answered")

        return await self._answer(instance, read, timeout)

    async def _answer(self, instance: str, ask: Callable[[Member], Awaitable[Answer]], timeout: float) -> Answer:
        begin = time.monotonic()

        async def attempt(member: Member, endpoint: Endpoint) -> Answer:
            answer = await ask(member)
            if not answer.granted:
                return answer
            return Answer(granted=True, said=f"{answer.said} by {endpoint} in {host.milliseconds(begin)}")

        try:
            return await self._in_turn(instance, attempt, Deadline(timeout))
        except TimeoutError:
            return Answer(granted=None, said=f"the last request has not ended within {timeout:.3g} s")
        except _NoAnswer as error:
            return Answer(granted=None, said=str(error))

    async def release(self, instance: str, timeout: float) -> None:
        """Give up the lease of an instance; as `LeaseWitness` has it."""

        async def attempt(member: Member, _: Endpoint) -> None:
            await self._released(member, instance)

        with contextlib.suppress(TimeoutError, _NoAnswer):
            await self._in_turn(instance, attempt, Deadline(timeout))

    async def close(self) -> None:
        """Abandon the lookups that run."""
        for each in self._endpoints.values():
            each.close()

    async def _held(self, member: Member, instance: str, ttl: float, *, take: bool) -> Answer:
        key = self._key(instance)
        for _ in range(_MAX_READINGS):
            found = await member.read(key)
            if found is not None and found.value != self._node:
                return Answer(granted=False, said=f"held by {_name(found.value)}")
            if found is None and not take:
                return Answer(granted=False, said="held by nobody")
            lease = found.lease if found is not None else self._leases.get(instance, 0)
            ends = lease in self._revoked.get(instance, ())
            lives = await member.keep_alive(lease) if lease and not ends else None
            if found is not None and lives is not None and lives >= ttl:
                self._leases[instance] = lease
                return Answer(granted=True, said="renewed")
            if lives is None or lives < ttl:
                lease, lives = await member.grant(math.ceil(ttl))
                if lives < ttl:
                    return Answer(granted=None, said=f"the cluster grants {lives} s, and not {ttl:g} s")
                self._leases[instance] = lease
            if await member.put(key, self._node, lease, found.revision if found is not None else 0):
                return Answer(granted=True, said="granted")
        return Answer(granted=None, said="the key changes faster than it can be read")

    async def _released(self, member: Member, instance: str) -> None:
        key = self._key(instance)
        leases = {self._leases.get(instance, 0)}
        found = await member.read(key)
        if found is not None and found.value == self._node:
            if not found.lease:
                await member.delete(key, found.revision)
            leases.add(found.lease)
        self._revoked[instance] = leases - {0}
        for lease in self._revoked[instance]:
            await member.revoke(lease)  # which deletes its key
        del self._revoked[instance]
        self._leases.pop(instance, None)

    async def _in_turn(
        self, instance: str, attempt: Callable[[Member, Endpoint], Awaitable[_Result]], deadline: Deadline
    ) -> _Result:
        """The result of `attempt`, when no other one of this instance runs. TimeoutError: one does not end."""
        turn = self._turns[instance]
        async with asyncio.timeout(deadline.left()):
            await turn.acquire()
        try:
            return await self._at_one(attempt, deadline)
        finally:
            turn.release()

    async def _at_one(self, attempt: Callable[[Member, Endpoint], Awaitable[_Result]], deadline: Deadline) -> _Result:
        """The result of the first endpoint that answers; each has its share of the time."""
        reasons = []
        order = list(self._order)
        share = deadline.timeout / len(order)  # what is left differs each time, and so would the text of an alarm
        for number, endpoint in enumerate(order):
            seconds = deadline.share(len(order) - number)
            try:
                async with asyncio.timeout(seconds):
                    result = await self._at(endpoint, attempt, seconds)
            except OSError as error:
                reasons.append(f"{endpoint}: {host.problem(error, share)}")
            except (BadReply, EtcdError) as error:
                reasons.append(f"{endpoint}: {error}")
            else:
                self._order.remove(endpoint)
                self._order.insert(0, endpoint)
                return result
        raise _NoAnswer("; ".join(reasons))

    async def _at(
        self, endpoint: Endpoint, attempt: Callable[[Member, Endpoint], Awaitable[_Result]], timeout: float
    ) -> _Result:
        connection = await host.connect(self._endpoints[endpoint], endpoint.port, timeout)
        try:
            return await attempt(Member(connection, endpoint.authority), endpoint)
        finally:
            host.goodbye(connection)

    def _key(self, instance: str) -> str:
        return f"{self._prefix}/{quote(instance, safe='')}"


def _name(value: str) -> str:
    printable = "".join(each if each.isprintable() else "�" for each in value[:_NAME_MAX_CHARS])
    return printable or "a key without a value"
