"""The history in SQLite: the schema and every statement. ``process.py`` runs them.

The columns at, started and ended hold seconds since the epoch; answers have ISO 8601 with a zone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

#: The database's user_version; each change of SCHEMA increments it.
SCHEMA_VERSION = 1

#: Older ones are deleted.
KEPT_TRANSITIONS = 1_000
KEPT_EVENTS = 10_000
KEPT_CORRUPT_FILES = 3

#: Of the steps of one resource, that many of the newest count for its expected time.
MAX_SAMPLES = 200

#: How long a statement waits for another program's lock on the database, in seconds.
LOCK_TIMEOUT_S = 5.0

#: SQLite raises these for an entry that it cannot store; every other error is one of the database.
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

#: Added later, without another version: an earlier failoverd needs none of it.
ADDITIONS = """
CREATE TABLE IF NOT EXISTS waits (
    transition_id INTEGER NOT NULL, resource TEXT NOT NULL, kind TEXT NOT NULL, names TEXT NOT NULL,
    started REAL NOT NULL, ended REAL NOT NULL);
"""

_TRANSITION = "SELECT id, instance, target, cause, started, ended, outcome, reason FROM transitions"
_STEPS = (
    "SELECT transition_id, resource, verb, started, ended, outcome, command, detail FROM steps "
    "WHERE transition_id BETWEEN ? AND ? ORDER BY started, rowid"
)


class NewerSchemaError(Exception):
    """A newer failoverd has written the database. The message names the remedy."""


class CorruptError(sqlite3.DatabaseError):
    """SQLite's quick_check found the file corrupt."""


def connect(path: Path) -> sqlite3.Connection:
    """Open or create the database; the caller begins and commits transactions. Raises sqlite3.Error."""
    return sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None)


def prepare(db: sqlite3.Connection) -> None:
    """Check the file, create the tables, and mark what an earlier daemon left open as interrupted.

    Raises sqlite3.Error or NewerSchemaError.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"a newer failoverd has written the history (schema {version}, this one has {SCHEMA_VERSION}): "
            "upgrade failoverd, or move the file away"
        )
    db.execute("PRAGMA journal_mode = WAL").fetchone()
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA journal_size_limit = 1048576")
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise CorruptError(verdict)
    if version == 0:
        db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    db.executescript(ADDITIONS)
    db.execute("BEGIN")
    db.execute("UPDATE transitions SET outcome = 'interrupted' WHERE outcome IS NULL")
    db.execute("UPDATE steps SET outcome = 'interrupted' WHERE outcome IS NULL")
    prune(db)
    db.execute("COMMIT")


def corrupt(error: sqlite3.Error) -> bool:
    """Whether the file is corrupt, or is not a database."""
    code = getattr(error, "sqlite_errorcode", None)
    damaged = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(error, CorruptError) or (code is not None and code & 0xFF in damaged)


def set_aside(path: Path, now: float) -> Path:
    """Rename the corrupt file with its -wal and -shm, and return its new name. Raises OSError."""
    aside = path.with_name(f"{path.name}.corrupt-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    kept = sorted(p for p in path.parent.glob(f"{path.name}.corrupt-*Z"))
    for old in kept[:-KEPT_CORRUPT_FILES]:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{old}{suffix}").unlink(missing_ok=True)
    return aside


def prune(db: sqlite3.Connection) -> None:
    """Delete all but the newest KEPT_EVENTS and KEPT_TRANSITIONS."""
    db.execute("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (KEPT_EVENTS,))
    oldest = db.execute(
        "SELECT id FROM transitions ORDER BY id DESC LIMIT 1 OFFSET ?", (KEPT_TRANSITIONS - 1,)
    ).fetchone()
    if oldest is not None:
        db.execute("DELETE FROM transitions WHERE id < ?", oldest)
        db.execute("DELETE FROM steps WHERE transition_id < ?", oldest)
        db.execute("DELETE FROM waits WHERE transition_id < ?", oldest)


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
    """Add a running step: (transition id, resource, verb, started)."""
    db.execute("INSERT OR IGNORE INTO steps (transition_id, resource, verb, started) VALUES (?, ?, ?, ?)", key)


def end_step(db: sqlite3.Connection, key: tuple[Any, ...], told: tuple[Any, ...]) -> None:
    """Complete a step, or add it if its start was dropped: its key, and (ended, outcome, command, detail)."""
    db.execute(
        "INSERT INTO steps (transition_id, resource, verb, started, ended, outcome, command, detail) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "ended = excluded.ended, outcome = excluded.outcome, command = excluded.command, detail = excluded.detail",
        (*key, *told),
    )


def insert_wait(db: sqlite3.Connection, row: tuple[Any, ...]) -> None:
    """Add (transition id, resource, kind, names, started, ended); `names`: one per line."""
    db.execute(
        "INSERT INTO waits (transition_id, resource, kind, names, started, ended) VALUES (?, ?, ?, ?, ?, ?)", row
    )


def transitions(db: sqlite3.Connection, n: int) -> list[dict[str, Any]]:
    """The newest `n`, newest first, with their steps in the order of their start."""
    rows = db.execute(f"{_TRANSITION} ORDER BY id DESC LIMIT ?", (max(n, 0),)).fetchall()
    return _with_steps(db, rows)


def transition(db: sqlite3.Connection, number: int) -> dict[str, Any] | None:
    """One transition with its steps and waits; None: there is none of that id."""
    found = _with_steps(db, db.execute(f"{_TRANSITION} WHERE id = ?", (number,)).fetchall())
    if not found:
        return None
    query = "SELECT resource, kind, names, started, ended FROM waits WHERE transition_id = ? ORDER BY started, rowid"
    waits = [_entry(("resource", "kind", "names", "started", "ended"), row) for row in db.execute(query, (number,))]
    return {**found[0], "waits": [{**wait, "names": wait["names"].splitlines()} for wait in waits]}


def durations(db: sqlite3.Connection, instance: str, verb: str) -> dict[str, dict[str, Any]]:
    """How long the newest successful steps of each resource took, in seconds: samples, median, 95th percentile."""
    query = (
        "SELECT resource, steps.ended - steps.started FROM steps JOIN transitions ON id = transition_id "
        "WHERE instance = ? AND verb = ? AND steps.outcome = 'done' ORDER BY transition_id DESC"
    )
    found: dict[str, list[float]] = {}
    for resource, seconds in db.execute(query, (instance, verb)):
        samples = found.setdefault(resource, [])
        if len(samples) < MAX_SAMPLES and seconds is not None:
            samples.append(max(seconds, 0.0))
    return {resource: summary(sorted(samples)) for resource, samples in found.items() if samples}


def summary(samples: list[float]) -> dict[str, Any]:
    """Number, median and 95th percentile of samples, which are sorted and not empty.

    The percentile is the smallest sample that 95 % of them do not exceed.
    """
    number = len(samples)
    median = (samples[(number - 1) // 2] + samples[number // 2]) / 2
    return {"samples": number, "median": median, "p95": samples[-(-95 * number // 100) - 1]}


def free_id(db: sqlite3.Connection) -> int:
    """The highest id in use, plus 1. Steps count too, because their transition's own entry may have been dropped."""
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
