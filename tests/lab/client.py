"""The client behind upstream: what a user of the service sees of a failover.

It knows nothing of VRRP, routes or failoverd: it asks the VIP, and is answered or not, by some node.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .probe import RECORD
from .run import Run
from .units import ECHO_PORT
from .wire import in_netns

INTERVAL_MS = 5
#: A packet is lost when it is this old, or when one sent OVERTAKEN_SECONDS later has been answered.
ANSWER_SECONDS = 1.0
OVERTAKEN_SECONDS = 0.1
_RECENT_RECORDS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One numbered packet; times are CLOCK_MONOTONIC nanoseconds, `answered` and `node` None if it was lost."""

    number: int
    sent: int
    answered: int | None
    node: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A time without answers, from the last one before to the first one after (CLOCK_MONOTONIC nanoseconds)."""

    start: int
    end: int
    lost: int
    """Packets sent within the gap that were never answered."""
    before: str
    """The node that answered last."""
    after: str
    """The node that answered first."""

    @property
    def milliseconds(self) -> float:
        """How long nobody answered."""
        return (self.end - self.start) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the client saw in a stretch of time."""

    sent: int
    lost: int
    answered_by: dict[str, int]
    longest_gap: Gap | None
    """None if fewer than two packets were answered."""
    last_node: str | None
    """The node that answered last; None if none did."""

    @property
    def gap_ms(self) -> float:
        """The longest time without an answer, in milliseconds; infinite if nothing was answered."""
        return self.longest_gap.milliseconds if self.longest_gap else float("inf")


class Client:
    """Starts the probe in the client's namespace and reads its records."""

    def __init__(self, run: Run, addresses: tuple[str, ...]) -> None:
        self._run = run
        self._addresses = addresses
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _records(self) -> Path:
        return self._run.work / "client.records"

    def start(self) -> None:
        """Begin to send, one packet every INTERVAL_MS; several VIPs take turns."""
        self._records.unlink(missing_ok=True)
        probe = Path(__file__).with_name("probe.py")
        argv = [sys.executable, "-I", "-S", str(probe), str(self._records), str(ECHO_PORT), str(INTERVAL_MS)]
        self._process = subprocess.Popen(
            self._run.in_cgroup(in_netns(self._run.netns("client"), [*argv, *self._addresses])),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def stop(self) -> None:
        """Stop sending; the records stay."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def packets(self, since: int = 0) -> list[Packet]:
        """Every packet sent after `since` (CLOCK_MONOTONIC nanoseconds) that was answered or is lost by now."""
        sent: dict[int, int] = {}
        answered: dict[int, tuple[int, str]] = {}
        for number, at, node in self._read():
            if node:
                answered.setdefault(number, (at, node))
            else:
                sent[number] = at
        last_answered = max((sent.get(number, 0) for number in answered), default=0)
        undecided = max(time.monotonic_ns() - int(ANSWER_SECONDS * 1e9), last_answered - int(OVERTAKEN_SECONDS * 1e9))
        packets = []
        for number, at in sent.items():
            when, who = answered.get(number, (None, None))
            if at >= since and (when is not None or at < undecided):
                packets.append(Packet(number=number, sent=at, answered=when, node=who))
        return packets

    def report(self, since: int = 0) -> Report:
        """Sum up what was sent after `since` (CLOCK_MONOTONIC nanoseconds; 0 is all).

        A gap counts if it ended after `since`; one that has not ended yet does not.
        """
        everything = self.packets()
        packets = [packet for packet in everything if packet.sent >= since]
        answered = [packet.node for packet in packets if packet.node is not None]
        ended = [gap for gap in gaps(everything) if gap.end >= since]
        return Report(
            sent=len(packets),
            lost=len(packets) - len(answered),
            answered_by=dict(Counter(answered)),
            longest_gap=max(ended, key=lambda gap: gap.end - gap.start, default=None),
            last_node=answered[-1] if answered else None,
        )

    def answering_node(self, within: float = 0.25) -> str | None:
        """The node whose answer came last, if it came in the last `within` seconds; else None."""
        oldest = time.monotonic_ns() - int(within * 1e9)
        recent = [node for _number, at, node in self._read(last=_RECENT_RECORDS) if node and at >= oldest]
        return recent[-1] if recent else None

    def _read(self, last: int | None = None) -> list[tuple[int, int, str]]:
        """Records as (number, ns, node): all of them, or the `last` so many."""
        if not self._records.exists():
            return []
        with self._records.open("rb") as records:
            size = records.seek(0, os.SEEK_END) // RECORD.size * RECORD.size
            records.seek(0 if last is None else max(0, size - last * RECORD.size))
            raw = records.read(size - records.tell())
        return [(number, at, node.rstrip(b"\0").decode()) for number, at, node in RECORD.iter_unpack(raw)]


def gaps(packets: list[Packet]) -> list[Gap]:
    """The time from each answered packet to the next answered one."""
    found: list[Gap] = []
    previous: Packet | None = None
    lost = 0
    for packet in packets:
        if packet.answered is None or packet.node is None:
            lost += 1
            continue
        if previous is not None and previous.answered is not None and previous.node is not None:
            gap = Gap(start=previous.answered, end=packet.answered, lost=lost, before=previous.node, after=packet.node)
            found.append(gap)
        previous, lost = packet, 0
    return found
