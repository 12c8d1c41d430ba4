"""One other node of the heartbeat: its link, its socket, and the datagrams that prove nothing."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from failoverd.ports.heartbeat.channel import Address, Channel
from failoverd.ports.heartbeat.link import Link

#: As many datagrams in one interval that prove nothing are a flood.
_FLOOD = 50


@dataclass(slots=True)
class Ignored:
    """The datagrams of one node that prove nothing: how many, the last reason, and when (in the loop's seconds)."""

    number: int = 0
    reason: str = ""
    at: float = -math.inf


class Partner:
    """One other node: its link, its socket, and what is due to it."""

    def __init__(self, link: Link, channel: Channel, address: Address) -> None:
        self.link = link
        self.channel = channel
        self.address = address
        self.heard_at = -math.inf
        self.confirmed_at = -math.inf
        self.answered_at = -math.inf
        self.answer: asyncio.TimerHandle | None = None
        self.ignored = Ignored()
        self.unverified_at = -math.inf
        self.unclear: dict[str, str] = {}  # by instance, why its last word was not understood
        self.proven_at = -math.inf  # when a datagram came that was no replay
        self.fends_off = False
        self._before = 0  # ignored or dropped until the last interval

    def send(self, datagrams: list[bytes]) -> None:
        for data in datagrams:
            self.channel.send(data)

    def floods(self) -> bool:
        """Whether so much has come since the last interval that the node cannot have sent."""
        number = self.channel.dropped if self.fends_off else self.ignored.number
        return number - self._before >= _FLOOD

    def fend_off(self, *, on: bool) -> None:
        """Leave it to the kernel, or no longer, to drop what the node cannot have sent unless it was started anew."""
        self.fends_off = on
        self.channel.only(self.link.beginning if on else b"")
        self._before = self.channel.dropped if on else self.ignored.number

    def close(self) -> None:
        if self.answer is not None:
            self.answer.cancel()
        self.channel.close()
