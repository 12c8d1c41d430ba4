"""The files of the configuration as one set of tables, with the file of each key, and every problem found so far."""

from __future__ import annotations

import errno
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path as File
from typing import Any

from failoverd.daemon.config import nodes, schema
from failoverd.daemon.config.schema import Path

#: How deep tables and lists may be nested. No key needs as much.
MAX_NESTING = 32

_TOO_DEEP = f"tables or lists nested more than {MAX_NESTING} deep; expected at most 6"

#: Of the name of an instance or resource, which is also the name of a file, where a byte may become three.
NAME_MAX_BYTES = 80


class Tables:
    """Collects the tables of all files, the file of each key, and every problem."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.tables: dict[str, Any] = {}
        self.origin: dict[Path, File] = {}
        self.main: File | None = None
        self.owners: dict[str, list[tuple[Path, tuple[str, ...] | None]]] = {}

    def read(self, file: File) -> None:
        """Add the tables of `file`, or its problem."""
        self.main = self.main or file
        try:
            tables = tomllib.loads(_text(file))
        except OSError as error:
            reason = error.strerror or error
            self.problems.append(f"{file}: cannot be read: {reason}; expected a configuration in TOML (see --config)")
        except UnicodeDecodeError as error:
            self.problems.append(f"{file}: cannot be read: byte {error.start + 1} is not UTF-8; expected TOML in UTF-8")
        except tomllib.TOMLDecodeError as error:
            self.problems.append(f"{file}: not valid TOML: {error}")
        except RecursionError:
            self.problems.append(f"{file}: {_TOO_DEEP}")
        else:
            if _deep(tables):
                self.problems.append(f"{file}: {_TOO_DEEP}")
            else:
                self._merge(self.tables, tables, (), file)

    def _merge(self, into: dict[str, Any], tables: Mapping[str, Any], at: Path, file: File) -> None:
        for key, value in tables.items():
            path = (*at, key)
            if isinstance(value, dict) and isinstance(into.setdefault(key, {}), dict):
                self.origin.setdefault(path, file)
                self._merge(into[key], value, path, file)
            elif path in self.origin:
                self.problem(path, f"is also set in {self.origin[path]}; expected in one file only", file)
            else:
                self.origin[path] = file
                into[key] = value

    def problem(self, path: Path, text: str, file: File | None = None) -> None:
        """Add a problem of the key `path`, in `file`, or where the key was set."""
        if file is None:
            known = (self.origin[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.origin)
            file = next(known, self.main)
        key = ".".join(map(schema.quoted, path))
        self.problems.append(f"{file}: {key}: {text}" if key else f"{file}: {text}")

    def own(self, thing: str, path: Path, carriers: tuple[str, ...] | None) -> None:
        """Report a problem where another resource changes `thing` on one of the same nodes."""
        for other, there in self.owners.setdefault(thing, []):
            if nodes.overlap(carriers, there):
                self.problem(path, f"changes {thing}, as {'.'.join(other)} does; expected one of them on a node")
        self.owners[thing].append((path, carriers))

    def check(self, value: Any, table: Mapping[str, Any], at: Path) -> frozenset[str]:
        """Report the problems of the table `value`. Returns its invalid keys; all of them where it is not a table."""
        if _tables(value):
            self.problem(at, no_table(value, at))
            return frozenset(table["properties"])
        found = schema.problems(value, table, at)
        for path, text in found:
            self.problem(path, text)
        return frozenset(key for path, _ in found for key in path[len(at) :][:1] or table["properties"])

    def tables_in(self, value: Any, at: Path) -> Iterator[tuple[str, dict[str, Any], Path]]:
        """Each table in a table of tables, with its name and place; reports the others as problems."""
        if not isinstance(value, dict):
            self.problem(at, no_table(value, at, ".NAME"))
            return
        for name, table in value.items():
            if (wrong := wrong_name(name)) is not None:
                self.problem((*at, name), wrong)
            elif isinstance(table, dict):
                yield name, table, (*at, name)
            else:
                self.problem((*at, name), no_table(table, (*at, name)))


def wrong_name(name: str) -> str | None:
    """Why the name is invalid; None: it is valid. It is used in file names, and in lines for operators."""
    if not 0 < len(name.encode()) <= NAME_MAX_BYTES:
        return f"the name has {len(name.encode())} bytes; expected 1 to {NAME_MAX_BYTES}"
    if not name.isprintable() or name != name.strip() or name.startswith(".") or '"' in name or "%" in name:
        return 'expected a name of printable characters, without " and %, that does not begin with a dot or a space'
    return None


def no_table(value: Any, at: Path, inner: str = "") -> str:
    """What is expected instead of `value`, which is not the table `at`. `inner`: it is a table of such tables."""
    if not _tables(value):
        return "expected a table"
    name = ".".join(map(schema.quoted, at))
    return f"[[{name}]] begins a list of tables; expected one table: write [{name}{inner}] once"


def _tables(value: Any) -> bool:
    """Whether it is an array of tables, [[…]] in TOML."""
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def strings(value: Any) -> tuple[str, ...] | None:
    """`value` as a tuple of strings; None: it is no list of strings, which the schema reports."""
    return tuple(value) if isinstance(value, list) and all(isinstance(each, str) for each in value) else None


def _text(file: File) -> str:
    """The text of a regular file, without a byte order mark. A FIFO or device could block without end: OSError."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        with open(descriptor, encoding="utf-8-sig", closefd=False) as opened:
            return opened.read()
    finally:
        os.close(descriptor)


def _deep(tables: Mapping[str, Any]) -> bool:
    """Whether tables and lists are nested deeper than MAX_NESTING, which Python's recursion could not follow."""
    level: list[Any] = [tables]
    for _ in range(MAX_NESTING):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)
