"""The thread that owns the database of the history, and the bounded queue in front of it.

Any thread may `put` and `ask`; neither waits for the disk. What cannot be written is counted and dropped (I10), and
one log line a minute says so. Writes are committed in batches, so a burst costs one commit, not thousands.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from pathlib import Path
from typing import Any

from failoverd import log
from failoverd.daemon import store_sql as sql

#: The most entries in one commit.
BATCH = 500

#: Seconds between two log lines about trouble, and between two attempts to open a database that would not open.
QUIET, RETRY = 60.0, 10.0

#: The reason when the queue is full.
FULL = "the disk is slow or hangs: too much waits to be written"

_log = log.get("store")
Write = Callable[[sqlite3.Connection], None]


class StoreError(Exception):
    """History cannot be read now. `reason` is one line for a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Read:
    """A question to the thread; `answer` is cancelled when nobody waits for it any more."""

    def __init__(self, ask: Callable[[sqlite3.Connection], Any]) -> None:
        self.ask = ask
        self.answer: Future[Any] = Future()

    def fail(self, reason: str) -> None:
        """Answer with `reason`, unless it is answered or given up."""
        with suppress(InvalidStateError):
            self.answer.set_exception(StoreError(reason))


class Worker:
    """The thread. `dropped`: entries that were not written; `trouble`: why not, now, or None; `off`: for good."""

    def __init__(self, path: Path, connect: Callable[[Path], sqlite3.Connection], limit: int) -> None:
        self.path = path
        self.dropped = 0
        self.trouble: str | None = None
        self.off = False
        self.ended = threading.Event()
        self._connect = connect
        self._limit = limit
        self._wake = threading.Condition()
        self._waiting: deque[Write | Read] = deque()
        self._closing = False
        self._told_at = float("-inf")
        self._retry_at = float("-inf")
        self._db: sqlite3.Connection | None = None
        self._written = 0
        self._thread = threading.Thread(target=self._run, name="failoverd-store", daemon=True)

    def start(self) -> None:
        """Start the thread. A machine without room for one more thread has no history."""
        try:
            self._thread.start()
        except RuntimeError as error:
            self.off, self.trouble = True, str(error)
            self.ended.set()

    def put(self, write: Write) -> None:
        """Queue `write`, or count it as dropped."""
        if (reason := self._queue(write)) is not None:
            self._drop(1, reason)

    def ask(self, question: Callable[[sqlite3.Connection], Any]) -> Future[Any]:
        """Queue `question`; the future holds its answer or StoreError. Cancel it when nobody waits any more."""
        read = Read(question)
        if (reason := self._queue(read)) is not None:
            read.fail(reason)
        return read.answer

    def close(self) -> None:
        """Take no more; `ended` is set when all that waits has been dealt with."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.ident is None:
            self.ended.set()

    def _queue(self, job: Write | Read) -> str | None:
        """Queue it, or say why not."""
        with self._wake:
            if self.off or self._closing:
                return self.trouble or "history is closed"
            if len(self._waiting) >= self._limit:
                self.trouble = self.trouble or FULL
                return self.trouble
            self._waiting.append(job)
            self._wake.notify()
        return None

    def _take(self) -> list[Write | Read] | None:
        """The next entries, waiting for them; None when there are none and no more will come."""
        with self._wake:
            while not self._waiting:
                if self._closing:
                    return None
                self._wake.wait()
            return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]

    def _drop(self, count: int, reason: str) -> None:
        with self._wake:
            self.dropped += count
        if not self.off:
            self._warn("history is losing entries", reason)

    def _warn(self, event: str, reason: str) -> None:
        """Log trouble, at most once in QUIET seconds."""
        with self._wake:
            now = time.monotonic()
            quiet = now - self._told_at < QUIET
            if not quiet:
                self._told_at = now
        if not quiet:
            _log.warning(event, reason=reason, lost=self.dropped, path=str(self.path))

    # what runs in the thread

    def _run(self) -> None:
        try:
            self._open()
            while (batch := self._take()) is not None:
                self._work(batch)
        except Exception as error:  # our own bug: history ends, the daemon goes on
            self.trouble = f"the history thread died: {error}"
            _log.exception("the history thread died", path=str(self.path))
        finally:
            with self._wake:
                self.off = True
                left = list(self._waiting)
                self._waiting.clear()
            self._refuse(left, self.trouble or "history is closed")
            self._shut()
            self.ended.set()

    def _open(self) -> None:
        """Open the database if it is not; what goes wrong is in `trouble` afterwards."""
        now = time.monotonic()
        if self._db is not None or self.off or now < self._retry_at:
            return
        self._retry_at = now + RETRY
        try:
            try:
                db = self._prepared()
            except sqlite3.DatabaseError as error:
                if not sql.corrupt(error):
                    raise
                aside = sql.set_aside(self.path, time.time())
                _log.warning("history was corrupt, a new one is begun", kept=str(aside), reason=str(error))
                db = self._prepared()
        except sql.NewerSchemaError as error:
            self.off, self.trouble = True, str(error)
            _log.error("history is off", reason=str(error), path=str(self.path))
        except (sqlite3.Error, OSError) as error:
            self.trouble = f"history cannot be opened: {error}"
            self._warn("history cannot be opened", str(error))
        else:
            self._db, self.trouble = db, None

    def _prepared(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        db = self._connect(self.path)
        try:
            sql.prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _work(self, batch: list[Write | Read]) -> None:
        self._open()
        db = self._db
        if db is None:
            self._refuse(batch, self.trouble or "history is off")
            return
        writes = [job for job in batch if not isinstance(job, Read)]
        if writes:
            self._commit(db, writes)
        for job in batch:
            if isinstance(job, Read) and not _answer(job, self._db):
                self._shut()

    def _commit(self, db: sqlite3.Connection, writes: list[Write]) -> None:
        try:
            db.execute("BEGIN")
            written = sum(self._write(write, db) for write in writes)
            self._written += written
            if self._written >= BATCH:
                sql.prune(db)
                self._written = 0
            db.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                db.rollback()
            if sql.corrupt(error):
                self._shut()  # the next entry opens it anew, and sets the file aside
            self.trouble = f"history cannot be written: {error}"
            self._drop(len(writes), self.trouble)
        else:
            if written and self.trouble is not None:
                self.trouble = None
                _log.info("history is written again", lost=self.dropped)

    def _write(self, write: Write, db: sqlite3.Connection) -> int:
        try:
            write(db)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and not isinstance(error, sql.ENTRY_ERRORS):
                raise
            self._drop(1, f"an entry cannot be written: {error}")
            return 0
        return 1

    def _refuse(self, batch: list[Write | Read], reason: str) -> None:
        for job in batch:
            if isinstance(job, Read):
                job.fail(reason)
        writes = sum(not isinstance(job, Read) for job in batch)
        if writes:
            self._drop(writes, reason)

    def _shut(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()


def _answer(read: Read, db: sqlite3.Connection | None) -> bool:
    """Answer it, and say whether the database is sound; None: it was just found not to be."""
    if db is None:
        read.fail("history is damaged; a new one will be begun")
    elif read.answer.set_running_or_notify_cancel():
        try:
            read.answer.set_result(read.ask(db))
        except Exception as error:  # the one who asked is told
            read.fail(f"history cannot be read: {error}")
            return not (isinstance(error, sqlite3.Error) and sql.corrupt(error))
    return True
