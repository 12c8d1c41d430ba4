"""The process that owns the database of the history; ``link.py`` sends it the entries and the queries.

It is a process because a disk may hang, and a thread that waits for it cannot be killed: such a thread would keep a
killed daemon, with its locks and sockets, from exiting, and the next one from starting. It must not hold anything of
the daemon's but one end of a socket pair, and exits when the other end is closed.

Each message is a line of JSON. It receives ``[number or null, name, arguments]``, where null marks an entry. It sends
``{"done", "dropped", "trouble", "note"}`` for each batch, then ``{"number", "answer"}`` or ``{"number", "error"}`` for
each query. One commit per batch: a burst costs one, not thousands. It imports little, to start quickly.
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

from failoverd.daemon.history import faults, sql

#: The most entries in one commit.
BATCH_MAX_ENTRIES = 500
#: Bytes per recv(2).
RECEIVE_BYTES = 64 * 1024
#: Between two attempts to open the database, in seconds.
OPEN_RETRY_INTERVAL_S = 10.0

_WRITES = {
    it.__name__: it
    for it in (
        sql.insert_event,
        sql.insert_transition,
        sql.end_transition,
        sql.insert_step,
        sql.end_step,
        sql.insert_wait,
    )
}
_READS = {it.__name__: it for it in (sql.transitions, sql.transition, sql.durations, sql.free_id, faults.faults)}

Message = dict[str, Any]
#: The number of a query, or None for an entry; the function of ``sql``; its arguments.
Job = Sequence[Any]
Connect = Callable[[Path], sqlite3.Connection]


def serve(channel: socket.socket, path: Path, connect: Connect = sql.connect) -> None:
    """Handle messages until the other end is closed."""
    worker = Worker(path, connect)
    _send(channel, worker.work([]))
    rest = b""
    with suppress(ConnectionResetError):  # the other end was closed with answers unread
        while data := channel.recv(RECEIVE_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            for at in range(0, len(lines), BATCH_MAX_ENTRIES):
                _send(channel, worker.work([json.loads(line) for line in lines[at : at + BATCH_MAX_ENTRIES]]))
    worker.shut()


def _send(channel: socket.socket, messages: Iterator[Message]) -> None:
    for message in messages:
        with suppress(OSError):  # the daemon is gone; its remaining entries are written all the same
            channel.sendall(json.dumps(message).encode() + b"\n")


class Worker:
    """Writes entries and answers queries. Entries that cannot be written are counted and dropped (I10)."""

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
        """Write the entries and yield one report on them; then yield the answer to each query."""
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
        """Close the database; the next job opens it again."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def _open(self) -> None:
        """Open the database unless it is open; `_trouble` has the reason where that fails."""
        now = time.monotonic()
        if self._db is not None or self._off or now < self._retry_at:
            return
        self._retry_at = now + OPEN_RETRY_INTERVAL_S
        try:
            try:
                db = self._prepared()
            except sqlite3.DatabaseError as error:
                if not sql.corrupt(error):
                    raise
                aside = sql.set_aside(self._path, time.time())
                event = "history was corrupt; started a new one"
                self._note = {"event": event, "kept": str(aside), "reason": str(error)}
                db = self._prepared()
        except sql.NewerSchemaError as error:
            self._off, self._trouble = True, str(error)
        except (sqlite3.Error, OSError) as error:
            self._trouble = f"cannot open the history: {error}"
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
            if self._written >= BATCH_MAX_ENTRIES:
                sql.prune(db)
                self._written = 0
            db.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                db.rollback()
            if sql.corrupt(error):
                self.shut()  # the next job renames the file and starts a new one
            self._trouble = f"cannot write the history: {error}"
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
            self._note = {"event": "cannot write an entry", "reason": str(error)}
            return 0
        return 1

    def _answer(self, number: int, name: str, arguments: Sequence[Any]) -> Message:
        if self._db is None:
            return {"number": number, "error": self._trouble or "the history is corrupt; failoverd starts a new one"}
        try:
            return {"number": number, "answer": _READS[name](self._db, *arguments)}
        except Exception as error:
            if isinstance(error, sqlite3.Error) and sql.corrupt(error):
                self.shut()
            return {"number": number, "error": f"cannot read the history: {error}"}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal also reaches the daemon, which exits first
    with socket.socket(fileno=sys.stdin.fileno()) as it:
        serve(it, Path(sys.argv[1]))
