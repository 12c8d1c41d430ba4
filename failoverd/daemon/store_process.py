"""The process that owns the database of the history: it is told by ``store_link.py`` what to write and to read.

It is a process because a disk may hang, and what waits for it cannot be killed: a thread of the daemon's that hangs
would keep a daemon that was killed from ending, with its locks and its sockets, and the next one from starting. This
one has nothing of the daemon's but one end of a socket, and ends when the other is closed.

A line each way is JSON: ``[number or null, name, arguments]`` in; out comes for each batch ``{"done", "dropped",
"trouble", "note"}``, and then for each question ``{"number", "answer"}`` or ``{"number", "error"}``. Writes are
committed in batches, so a burst costs one commit, not thousands. It imports little, to be there soon.
"""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from failoverd.daemon import store_sql as sql

#: The most entries in one commit, and the bytes read at once.
BATCH, CHUNK = 500, 64 * 1024

#: Seconds between two attempts to open a database that would not open.
RETRY = 10.0

_WRITES = {
    it.__name__: it
    for it in (sql.insert_event, sql.insert_transition, sql.end_transition, sql.insert_step, sql.end_step)
}
_READS = {it.__name__: it for it in (sql.transitions, sql.transition, sql.last_events, sql.free_id)}

Message = dict[str, Any]
#: A number where an answer is wanted, the function of ``store_sql``, and its arguments.
Job = Sequence[Any]
Connect = Callable[[Path], sqlite3.Connection]


def serve(channel: socket.socket, path: Path, connect: Connect = sql.connect) -> None:
    """Do what comes in, until the other end is closed."""
    worker = Worker(path, connect)
    _send(channel, worker.work([]))
    rest = b""
    while data := channel.recv(CHUNK):
        *lines, rest = (rest + data).split(b"\n")
        for at in range(0, len(lines), BATCH):
            _send(channel, worker.work([json.loads(line) for line in lines[at : at + BATCH]]))
    worker.shut()


def _send(channel: socket.socket, messages: Iterator[Message]) -> None:
    for message in messages:
        with suppress(OSError):  # nobody is there any more; what it left to be written is written all the same
            channel.sendall(json.dumps(message).encode() + b"\n")


class Worker:
    """Writes and reads. What cannot be written is counted and dropped (I10)."""

    def __init__(self, path: Path, connect: Connect) -> None:
        self._path = path
        self._connect = connect
        self._dropped = 0
        self._trouble: str | None = None
        self._off = False
        self._note: dict[str, str] | None = None
        self._retry_at = float("-inf")
        self._db: sqlite3.Connection | None = None
        self._written = 0

    def work(self, jobs: Sequence[Job]) -> Iterator[Message]:
        """Do them: yield what became of those that write, and then the answers to the others, which are questions."""
        self._open()
        writes = [job for job in jobs if job[0] is None]
        if writes and self._db is None:
            self._dropped += len(writes)
        elif writes:
            self._commit(writes)
        yield {"done": len(writes), "dropped": self._dropped, "trouble": self._trouble, "note": self._note}
        self._note = None
        for job in jobs:
            if job[0] is not None:
                yield self._answer(*job)

    def shut(self) -> None:
        """Close the database, until the next job."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def _open(self) -> None:
        """Open the database if it is not; what goes wrong is in `_trouble` afterwards."""
        now = time.monotonic()
        if self._db is not None or self._off or now < self._retry_at:
            return
        self._retry_at = now + RETRY
        try:
            try:
                db = self._prepared()
            except sqlite3.DatabaseError as error:
                if not sql.corrupt(error):
                    raise
                aside = sql.set_aside(self._path, time.time())
                event = "history was corrupt, a new one is begun"
                self._note = {"event": event, "kept": str(aside), "reason": str(error)}
                db = self._prepared()
        except sql.NewerSchemaError as error:
            self._off, self._trouble = True, str(error)
        except (sqlite3.Error, OSError) as error:
            self._trouble = f"history cannot be opened: {error}"
        else:
            self._db, self._trouble = db, None

    def _prepared(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        db = self._connect(self._path)
        try:
            sql.prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _commit(self, writes: Sequence[Job]) -> None:
        assert self._db is not None
        db = self._db
        try:
            db.execute("BEGIN")
            written = sum(self._write(db, name, arguments) for _, name, arguments in writes)
            self._written += written
            if self._written >= BATCH:
                sql.prune(db)
                self._written = 0
            db.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                db.rollback()
            if sql.corrupt(error):
                self.shut()  # the next job opens it anew, and sets the file aside
            self._trouble = f"history cannot be written: {error}"
            self._dropped += len(writes)
        else:
            if written:
                self._trouble = None

    def _write(self, db: sqlite3.Connection, name: str, arguments: Sequence[Any]) -> int:
        try:
            _WRITES[name](db, *arguments)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and not isinstance(error, sql.ENTRY_ERRORS):
                raise
            self._dropped += 1
            self._note = {"event": "an entry cannot be written", "reason": str(error)}
            return 0
        return 1

    def _answer(self, number: int, name: str, arguments: Sequence[Any]) -> Message:
        if self._db is None:
            return {"number": number, "error": self._trouble or "history is damaged; a new one will be begun"}
        try:
            return {"number": number, "answer": _READS[name](self._db, *arguments)}
        except Exception as error:
            if isinstance(error, sqlite3.Error) and sql.corrupt(error):
                self.shut()
            return {"number": number, "error": f"history cannot be read: {error}"}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, where the daemon gets it too
    with socket.socket(fileno=sys.stdin.fileno()) as it:
        serve(it, Path(sys.argv[1]))
