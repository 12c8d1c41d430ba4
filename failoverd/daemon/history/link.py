"""The daemon's end of the history: a bounded queue to the process that owns the database.

It must not wait for that process, nor for its disk. Entries that cannot be written are counted and dropped (I10), with
one log line per LOG_INTERVAL_S. A process that has exited is restarted.
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

#: Between two log lines that say that the history cannot be written, in seconds.
LOG_INTERVAL_S = 60.0
#: From the exit of one process to the start of the next, in seconds.
RESTART_DELAY_S = 10.0
#: A process that owes an answer for longer is stalled, in seconds.
STALL_TIMEOUT_S = 5.0

QUEUE_FULL = "the disk is slow or hangs: the queue of the history is full"

_RECEIVE_BYTES = 64 * 1024

_log = log.get("store")

#: Starts the process with its end of the channel, closes that end here, and returns when the process has exited.
Launch = Callable[[socket.socket], Awaitable[None]]


class StoreError(Exception):
    """The history cannot be read now. `reason`: one line for an operator."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Link:
    """Queues entries and queries, in the event loop. `limit`: how many may wait for the process.

    `dropped`: how many entries were lost since the start.
    """

    def __init__(self, launch: Launch, limit: int) -> None:
        self.dropped = 0
        self._launch = launch
        self._limit = limit
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._more = asyncio.Event()
        self._closing = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._queries: dict[int, asyncio.Future[Any]] = {}
        self._dropped_by_process = 0  # since its start
        self._unanswered = 0  # entries that the process has received and not acknowledged
        self._received_at = 0.0
        self._full = False
        self._absent: str | None = None
        self._reported: str | None = None
        self._logged_at: float | None = None

    def start(self) -> None:
        """Start the process, and restart it whenever it exits."""
        self._running = asyncio.create_task(self._keep_running())

    @property
    def trouble(self) -> str | None:
        """Why the history cannot be written now, in one line; None: it can."""
        if self._absent is not None:
            return self._absent
        if self._full:
            return QUEUE_FULL
        if self._silent > STALL_TIMEOUT_S:
            return f"the disk is slow or hangs: nothing was written for {self._silent:.0f} s"
        return self._reported

    @property
    def _silent(self) -> float:
        """For how many seconds the process has owed an answer; 0 where it owes none."""
        return time.monotonic() - self._received_at if self._unanswered else 0.0

    def put(self, name: str, *arguments: Any) -> None:
        """Queue an entry, or count it as dropped."""
        if not self._queue(None, name, arguments):
            self.dropped += 1
        self._log_change()

    async def ask(self, name: str, *arguments: Any) -> Any:
        """Return the answer to a query, however long it takes. StoreError: there is none."""
        number = next(self._numbers)
        answer = self._queries[number] = asyncio.get_running_loop().create_future()
        try:
            if self._absent is not None or not self._queue(number, name, arguments):
                raise StoreError(self.trouble or "the history is closed")
            return await answer
        finally:
            del self._queries[number]

    async def close(self, deadline: float) -> bool:
        """Write the queued entries, within `deadline` seconds. False: some are lost.

        A process that is stalled already is not waited for.
        """
        self._closing.set()
        self._more.set()
        if self._running is None:
            return True
        done, _ = await asyncio.wait({self._running}, timeout=deadline if self._silent <= STALL_TIMEOUT_S else 0.0)
        self._running.cancel()
        return bool(done) and not self._waiting and not self._unanswered

    def _queue(self, number: int | None, name: str, arguments: Sequence[Any]) -> bool:
        if self._closing.is_set():
            return False
        if len(self._waiting) >= self._limit:
            self._full = True
            return False
        self._waiting.append((json.dumps([number, name, arguments]).encode() + b"\n", number is None))
        # Not at once: the entries of an event precede its first command, and must not delay it.
        asyncio.get_running_loop().call_soon(self._more.set)
        return True

    async def _keep_running(self) -> None:
        while True:
            exited = await self._run_process()
            if self._closing.is_set():
                return
            self._absent = exited
            self.dropped += self._unanswered
            self._unanswered = 0
            self._fail(exited)
            self._log_change()
            with suppress(TimeoutError):
                async with asyncio.timeout(RESTART_DELAY_S):
                    await self._closing.wait()
            self._absent = None

    def _fail(self, reason: str) -> None:
        """Fail every query with `reason`; entries wait for the next process."""
        self._waiting = deque((line, entry) for line, entry in self._waiting if entry)
        for answer in self._queries.values():
            if not answer.done():
                answer.set_exception(StoreError(reason))

    async def _run_process(self) -> str:
        """Run one process until it exits, and return the reason."""
        self._dropped_by_process, self._reported = 0, None
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
            return f"cannot start the history process: {error}"
        return "the history process has exited"

    async def _send(self, channel: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while self._waiting:
                line, entry = self._waiting[0]
                try:
                    await loop.sock_sendall(channel, line)
                except ConnectionError:
                    return  # the entry stays queued for the next process
                self._waiting.popleft()
                if entry:
                    if not self._unanswered:
                        self._received_at = time.monotonic()
                    self._unanswered += 1
            if self._closing.is_set():
                channel.shutdown(socket.SHUT_WR)
                return
            self._more.clear()
            await self._more.wait()

    async def _receive(self, channel: socket.socket) -> None:
        """Handle the messages of the process, until it closes the channel."""
        loop, rest = asyncio.get_running_loop(), b""
        with suppress(ConnectionError):
            while data := await loop.sock_recv(channel, _RECEIVE_BYTES):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._handle(json.loads(line))

    def _handle(self, message: dict[str, Any]) -> None:
        self._received_at = time.monotonic()
        if "number" in message:
            answer = self._queries.get(message["number"])
            if answer is not None and not answer.done():
                if "error" in message:
                    answer.set_exception(StoreError(message["error"]))
                else:
                    answer.set_result(message["answer"])
            return
        self._unanswered -= message["done"]
        self.dropped += message["dropped"] - self._dropped_by_process
        self._dropped_by_process = message["dropped"]
        self._reported, self._full = message["trouble"], False
        if message["note"]:
            _log.warning(**message["note"])
        self._log_change()

    def _log_change(self) -> None:
        """Log that the history cannot be written, at most once per LOG_INTERVAL_S, and that it can be again."""
        trouble, now = self.trouble, time.monotonic()
        if trouble is not None and (self._logged_at is None or now - self._logged_at >= LOG_INTERVAL_S):
            self._logged_at = now
            _log.warning("cannot write the history", reason=trouble, lost=self.dropped)
        elif trouble is None and self._logged_at is not None:
            self._logged_at = None
            _log.info("history is written again", lost=self.dropped)
