"""What a witness is: the answer of one, and the two kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer of a witness.

    `granted`: True: it answered as it should, or this node holds the lease; False: another node holds the lease; None:
    there is no usable answer, which proves nothing. `said`: one line for a person.
    """

    granted: bool | None
    said: str


class Witness(Protocol):
    """A witness that answers every node."""

    async def ask(self, timeout: float) -> Answer:
        """Ask it, within `timeout` seconds. Never raises for what the network or the witness does."""
        ...


class LeaseWitness(Protocol):
    """A witness that grants a lease to one node at a time, for each instance."""

    async def hold(self, instance: str, ttl: float, timeout: float, *, take: bool) -> Answer:
        """Acquire the lease, or renew it, within `timeout` seconds. `take` false: a free lease stays free: False.

        True: this node holds it, at least until `ttl` seconds after this call. A holder measures them by its own
        monotonic clock, from before the call. Never raises for what the network or the witness does.
        """
        ...

    async def look(self, instance: str, timeout: float) -> Answer:
        """Ask, within `timeout` seconds, whether a majority answers, and take nothing.

        True: it does, whoever holds the lease. Never raises for what the network or the witness does.
        """
        ...

    async def release(self, instance: str, timeout: float) -> None:
        """Give the lease up, within `timeout` seconds. If that fails, it ends by itself, after its `ttl`."""
        ...

    async def close(self) -> None:
        """End what still runs. It releases no lease."""
        ...
