"""What the history looks like in SQLite: the schema, and every statement that ``store.py`` runs, in its thread.

Columns named at, started and ended hold seconds since the epoch; an entry that goes out has ISO 8601 with a zone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

#: Kept in the database's user_version; a change of SCHEMA makes it one more.
VERSION = 1

#: How much is kept.
TRANSITIONS, EVENTS, CORRUPT_FILES = 1_000, 10_000, 3

#: Seconds that the thread waits for another program that holds the database's lock.
BUSY = 5.0

#: What SQLite raises for an entry that it cannot take; all else is trouble with the database.
ENTRY_ERRORS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)

SCHEMA = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, boot_id TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    state TEXT NOT NULL, source TEXT NOT NULL, verdict TEXT NOT NULL);
CREATE TABLE transitions (
    id INTEGER PRIMARY KEY, instance TEXT NOT NULL, target TEXT NOT NULL, cause TEXT NOT NULL, started REAL NOT NULL,
    ended REAL, outcome TEXT, reason TEXT NOT NULL DEFAULT '');
CREATE TABLE steps (
    transition_id INTEGER NOT NULL, resource TEXT NOT NULL, verb TEXT NOT NULL, started REAL NOT NULL,
    ended REAL, outcome TEXT, command TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '',
    UNIQUE (transition_id, resource, verb, started));
"""

_TRANSITION = "SELECT id, instance, target, cause, started, ended, outcome, reason FROM transitions"
_STEPS = (
    "SELECT transition_id, resource, verb, started, ended, outcome, command, detail FROM steps "
    "WHERE transition_id BETWEEN ? AND ? ORDER BY started, rowid"
)


class NewerSchemaError(Exception):
    """The database was written by a newer failoverd. The message says so, with the remedy."""


class CorruptError(sqlite3.DatabaseError):
    """SQLite's own check found the file damaged."""


def connect(path: Path) -> sqlite3.Connection:
    """Open or create the database; transactions are begun and ended by the caller. Raises sqlite3.Error."""
    return sqlite3.connect(path, timeout=BUSY, isolation_level=None)


def prepare(db: sqlite3.Connection) -> None:
    """Check it, make the tables, and close what an earlier daemon left open. Raises sqlite3.Error, NewerSchemaError."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise NewerSchemaError(
            f"history was written by a newer failoverd (schema {version}, this one knows {VERSION}): "
            "upgrade failoverd, or move the file away"
        )
    db.execute("PRAGMA journal_mode = WAL").fetchone()
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA journal_size_limit = 1048576")
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise CorruptError(verdict)
    if version == 0:
        db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    db.execute("BEGIN")
    db.execute("UPDATE transitions SET outcome = 'interrupted' WHERE outcome IS NULL")
    db.execute("UPDATE steps SET outcome = 'interrupted' WHERE outcome IS NULL")
    prune(db)
    db.execute("COMMIT")


def corrupt(error: sqlite3.Error) -> bool:
    """Whether `error` says that the file is damaged, or is no database at all."""
    code = getattr(error, "sqlite_errorcode", None)
    damaged = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(error, CorruptError) or (code is not None and code & 0xFF in damaged)


def set_aside(path: Path, now: float) -> Path:
    """Rename the damaged file and what belongs to it, and return its new name. Raises OSError."""
    aside = path.with_name(f"{path.name}.corrupt-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    kept = sorted(p for p in path.parent.glob(f"{path.name}.corrupt-*Z"))
    for old in kept[:-CORRUPT_FILES]:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{old}{suffix}").unlink(missing_ok=True)
    return aside


def prune(db: sqlite3.Connection) -> None:
    """Delete what is older than what is kept."""
    db.execute("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (EVENTS,))
    oldest = db.execute("SELECT id FROM transitions ORDER BY id DESC LIMIT 1 OFFSET ?", (TRANSITIONS - 1,)).fetchone()
    if oldest is not None:
        db.execute("DELETE FROM transitions WHERE id < ?", oldest)
        db.execute("DELETE FROM steps WHERE transition_id < ?", oldest)


def insert_event(db: sqlite3.Connection, row: tuple[Any, ...]) -> None:
    """Add (at, boot_id, kind, name, state, source, verdict)."""
    db.execute("INSERT INTO events (at, boot_id, kind, name, state, source, verdict) VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def insert_transition(db: sqlite3.Connection, row: tuple[Any, ...]) -> None:
    """Add (id, instance, target, cause, started)."""
    db.execute("INSERT OR REPLACE INTO transitions (id, instance, target, cause, started) VALUES (?, ?, ?, ?, ?)", row)


def end_transition(db: sqlite3.Connection, number: int, told: tuple[str, str, float]) -> None:
    """Complete a transition with (outcome, reason, ended)."""
    db.execute("UPDATE transitions SET outcome = ?, reason = ?, ended = ? WHERE id = ?", (*told, number))


def insert_step(db: sqlite3.Connection, key: tuple[Any, ...]) -> None:
    """Add a step that runs: (transition id, resource, verb, started)."""
    db.execute("INSERT OR IGNORE INTO steps (transition_id, resource, verb, started) VALUES (?, ?, ?, ?)", key)


def end_step(db: sqlite3.Connection, key: tuple[Any, ...], told: tuple[Any, ...]) -> None:
    """Complete a step, or add it whole if its start was lost: its key, and (ended, outcome, command, detail)."""
    db.execute(
        "INSERT INTO steps (transition_id, resource, verb, started, ended, outcome, command, detail) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "ended = excluded.ended, outcome = excluded.outcome, command = excluded.command, detail = excluded.detail",
        (*key, *told),
    )


def transitions(db: sqlite3.Connection, n: int) -> list[dict[str, Any]]:
    """The newest `n`, newest first, with their steps in the order in which they began."""
    rows = db.execute(f"{_TRANSITION} ORDER BY id DESC LIMIT ?", (max(n, 0),)).fetchall()
    return _with_steps(db, rows)


def transition(db: sqlite3.Connection, number: int) -> dict[str, Any] | None:
    """One with its steps; None when there is none."""
    found = _with_steps(db, db.execute(f"{_TRANSITION} WHERE id = ?", (number,)).fetchall())
    return found[0] if found else None


def last_events(db: sqlite3.Connection, boot_id: str) -> list[dict[str, Any]]:
    """Of each (kind, name) the last accepted event of that boot, oldest first; `at` in seconds since the epoch."""
    rows = db.execute(
        "SELECT at, kind, name, state, source FROM events WHERE id IN "
        "(SELECT max(id) FROM events WHERE boot_id = ? AND verdict = 'accepted' GROUP BY kind, name) ORDER BY id",
        (boot_id,),
    )
    return [dict(zip(("at", "kind", "name", "state", "source"), row, strict=True)) for row in rows]


def free_id(db: sqlite3.Connection) -> int:
    """One more than any id that was used; steps count, as their transition's own entry may have been lost."""
    (number,) = db.execute(
        "SELECT max(coalesce((SELECT max(id) FROM transitions), 0), "
        "coalesce((SELECT max(transition_id) FROM steps), 0)) + 1"
    ).fetchone()
    return int(number)


def _with_steps(db: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    if not rows:
        return []
    keys = ("id", "instance", "target", "cause", "started", "ended", "outcome", "reason")
    found = [{**_entry(keys, row), "steps": []} for row in rows]
    by_id = {entry["id"]: entry for entry in found}
    for number, *row in db.execute(_STEPS, (min(by_id), max(by_id))):
        if number in by_id:
            step = _entry(("resource", "verb", "started", "ended", "outcome", "command", "detail"), row)
            by_id[number]["steps"].append(step)
    return found


def _entry(keys: tuple[str, ...], row: Iterable[Any]) -> dict[str, Any]:
    entry = dict(zip(keys, row, strict=True))
    for key in ("started", "ended"):
        if entry[key] is not None:
            entry[key] = datetime.fromtimestamp(entry[key]).astimezone().isoformat(timespec="milliseconds")
    return entry
