"""The daemon's end of the history: a bounded queue in front of the process that owns the database.

Nothing here waits for that process, or for its disk. What cannot be written is counted and dropped (I10), and one log
line a minute says so. A process that ended is started again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from failoverd import log

#: Seconds between two log lines about trouble, between two processes, and without a sign of life that are trouble.
QUIET, AGAIN, STALLED = 60.0, 10.0, 5.0

#: The reason when the queue is full.
FULL = "the disk is slow or hangs: too much waits to be written"

_CHUNK = 64 * 1024

_log = log.get("store")

#: Starts the process with its end of the channel, which it closes here, and returns when the process has ended.
Launch = Callable[[socket.socket], Awaitable[None]]


class StoreError(Exception):
    """History cannot be read now. `reason` is one line for a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Link:
    """Takes entries and questions, in the event loop; `limit`: the most that wait for the process.

    `dropped`: how many entries were not written since the start.
    """

    def __init__(self, launch: Launch, limit: int) -> None:
        self.dropped = 0
        self._launch = launch
        self._limit = limit
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._more = asyncio.Event()
        self._closing = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._questions: dict[int, asyncio.Future[Any]] = {}
        self._by_them = 0  # how many of them this process dropped
        self._unanswered = 0  # entries that the process has, and has said nothing of
        self._heard_at = 0.0
        self._full = False
        self._absent: str | None = None
        self._theirs: str | None = None
        self._told_at: float | None = None

    def start(self) -> None:
        """Have the process started, and again whenever it has ended."""
        self._life = asyncio.create_task(self._live())

    @property
    def trouble(self) -> str | None:
        """Why history is not being written now, in one line; None when it is."""
        if self._absent is not None:
            return self._absent
        if self._full:
            return FULL
        if self._silent > STALLED:
            return f"the disk is slow or hangs: nothing was written for {self._silent:.0f} s"
        return self._theirs

    @property
    def _silent(self) -> float:
        """For how many seconds the process has said nothing, though it should have."""
        return time.monotonic() - self._heard_at if self._unanswered else 0.0

    def put(self, name: str, *arguments: Any) -> None:
        """Queue what is to be written, or count it as dropped."""
        if not self._queue(None, name, arguments):
            self.dropped += 1
        self._tell()

    async def ask(self, name: str, *arguments: Any) -> Any:
        """The answer to what is to be read, however long that takes. StoreError: there is none."""
        number = next(self._numbers)
        answer = self._questions[number] = asyncio.get_running_loop().create_future()
        try:
            if self._absent is not None or not self._queue(number, name, arguments):
                raise StoreError(self.trouble or "history is closed")
            return await answer
        finally:
            del self._questions[number]

    async def close(self, deadline: float) -> bool:
        """Have written what waits, within `deadline` seconds. False: it was not; the process is left to itself.

        Where it hangs already, nobody waits for it.
        """
        self._closing.set()
        self._more.set()
        if self._life is None:
            return True
        done, _ = await asyncio.wait({self._life}, timeout=deadline if self._silent <= STALLED else 0.0)
        self._life.cancel()
        return bool(done) and not self._waiting and not self._unanswered

    def _queue(self, number: int | None, name: str, arguments: Sequence[Any]) -> bool:
        if self._closing.is_set():
            return False
        if len(self._waiting) >= self._limit:
            self._full = True
            return False
        self._waiting.append((json.dumps([number, name, arguments]).encode() + b"\n", number is None))
        self._more.set()
        return True

    async def _live(self) -> None:
        while True:
            ended = await self._one_process()
            if self._closing.is_set():
                return
            self._absent = ended
            self.dropped += self._unanswered
            self._unanswered = 0
            self._fail(ended)
            self._tell()
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN):
                    await self._closing.wait()
            self._absent = None

    def _fail(self, reason: str) -> None:
        """Answer every question with `reason`; entries wait for the next process."""
        self._waiting = deque((line, entry) for line, entry in self._waiting if entry)
        for answer in self._questions.values():
            if not answer.done():
                answer.set_exception(StoreError(reason))

    async def _one_process(self) -> str:
        """Have a process do what there is to do, and return why it does no more."""
        self._by_them, self._theirs = 0, None
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            process = asyncio.ensure_future(self._launch(theirs))
            sending = asyncio.create_task(self._send(ours))
            try:
                await self._receive(ours)
                await asyncio.wait({process}, timeout=1)
            finally:
                sending.cancel()
                process.cancel()
        if process.done() and not process.cancelled() and (error := process.exception()) is not None:
            return f"the process of the history cannot be started: {error}"
        return "the process of the history has ended"

    async def _send(self, channel: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while self._waiting:
                line, entry = self._waiting[0]
                try:
                    await loop.sock_sendall(channel, line)
                except ConnectionError:
                    return  # it is for the next process
                self._waiting.popleft()
                if entry:
                    if not self._unanswered:
                        self._heard_at = time.monotonic()
                    self._unanswered += 1
            if self._closing.is_set():
                channel.shutdown(socket.SHUT_WR)
                return
            self._more.clear()
            await self._more.wait()

    async def _receive(self, channel: socket.socket) -> None:
        """Hear what the process says, until it says no more."""
        loop, rest = asyncio.get_running_loop(), b""
        with suppress(ConnectionError):
            while data := await loop.sock_recv(channel, _CHUNK):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))

    def _hear(self, message: dict[str, Any]) -> None:
        self._heard_at = time.monotonic()
        if "number" in message:
            answer = self._questions.get(message["number"])
            if answer is not None and not answer.done():
                if "error" in message:
                    answer.set_exception(StoreError(message["error"]))
                else:
                    answer.set_result(message["answer"])
            return
        self._unanswered -= message["done"]
        self.dropped += message["dropped"] - self._by_them
        self._by_them = message["dropped"]
        self._theirs, self._full = message["trouble"], False
        if message["note"]:
            _log.warning(**message["note"])
        self._tell()

    def _tell(self) -> None:
        """Log trouble, at most once in QUIET seconds, and its end."""
        trouble, now = self.trouble, time.monotonic()
        if trouble is not None and (self._told_at is None or now - self._told_at >= QUIET):
            self._told_at = now
            _log.warning("history is not written", reason=trouble, lost=self.dropped)
        elif trouble is None and self._told_at is not None:
            self._told_at = None
            _log.info("history is written again", lost=self.dropped)
