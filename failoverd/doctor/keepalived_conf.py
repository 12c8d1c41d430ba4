"""Reads the structure of keepalived.conf: which lines are in effect on this node, and in which file each one is.

keepalived itself decides whether the file is valid (``keepalived --config-test``), and this module does not check it
again. But keepalived can print only the configuration of a process that runs, without the lines it came from. Format:
keepalived.conf(5), CONFIGURATION PARSER; ``lib/parser.c`` of keepalived 2.2.7.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_INCLUDE = re.compile(r"include[rmwbat]*")
_DEFINITION = re.compile(r"\$(\w+)=(.*)", re.DOTALL)
_USE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_CONDITION = re.compile(r"@(\^?)(\S+)\s+(.*)", re.DOTALL)
_MAX_DEPTH = 20


class Unreadable(ValueError):
    """The file uses a construct that this module does not read. One line, with the file and the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One line: its words, without quotes, and the statements in its braces; empty: it has none, or nothing in them."""

    words: tuple[str, ...]
    file: Path
    line: int
    block: tuple[Statement, ...] = ()

    @property
    def at(self) -> str:
        """Where it is: FILE:LINE."""
        return f"{self.file}:{self.line}"

    @property
    def name(self) -> str:
        """Its second word: the name of a block, or the value of a setting; empty: it has none."""
        return self.words[1] if len(self.words) > 1 else ""

    def all(self, *keywords: str) -> list[Statement]:
        """The statements in its block that begin with one of these words."""
        return [each for each in self.block if each.words[0] in keywords]

    def last(self, *keywords: str) -> Statement | None:
        """The last of them, which is the one that counts for keepalived; None: there is none."""
        return next(reversed(self.all(*keywords)), None)

    def items(self, keyword: str) -> list[Statement]:
        """The entries of every block of that name in its block, such as ``virtual_ipaddress``."""
        return [entry for each in self.all(keyword) for entry in each.block]


class _Mark(enum.Enum):
    OPEN = "{"
    CLOSE = "}"
    END = "end of line"


@dataclass(slots=True, kw_only=True)
class _Reader:
    config_id: str
    files: list[Path] = field(default_factory=list)
    definitions: dict[str, str] = field(default_factory=dict)

    def lines(self, file: Path, depth: int = 0) -> Iterator[tuple[str, Path, int]]:
        """Every line in effect, without comments, with its file and number. OSError: a file cannot be read."""
        if depth > _MAX_DEPTH:
            raise Unreadable(f"{file}: included more than {_MAX_DEPTH} deep")
        self.files.append(file)
        yield from self.lines_of(file.read_text(encoding="utf-8", errors="replace"), file, depth)

    def lines_of(self, whole: str, file: Path, depth: int = 0) -> Iterator[tuple[str, Path, int]]:
        """The same of a text that is the content of `file`."""
        for text, number in _joined(whole):
            for line in self._in_effect(text, file):
                if "~SEQ" in line or "~LST" in line:
                    raise Unreadable(f"{file}:{number}: ~SEQ and ~LST are not supported here")
                words = line.split()
                if _INCLUDE.fullmatch(words[0]) and len(words) > 1:
                    for found in sorted(file.parent.glob(words[1]) if words[1][0] != "/" else _glob(words[1])):
                        yield from self.lines(found, depth + 1)
                else:
                    yield line, file, number

    def _in_effect(self, text: str, file: Path) -> Iterator[str]:
        """The lines that a line stands for: none on another node; several where it uses a definition of several."""
        text = self._unconditional(text)
        if (definition := _DEFINITION.fullmatch(text)) is not None:
            self.definitions[definition[1]] = self._expanded(definition[2], file)
            return
        for line in self._expanded(text.replace("\n", " "), file).split("\n"):
            if unconditional := self._unconditional(line):
                yield unconditional

    def _unconditional(self, text: str) -> str:
        """The line without its condition; empty: it is not in effect on this node."""
        condition = _CONDITION.fullmatch(text.strip())
        if condition is None:
            return text.strip()
        return condition[3] if (condition[2] == self.config_id) is not bool(condition[1]) else ""

    def _expanded(self, text: str, file: Path) -> str:
        known: Mapping[str, str] = {"_INSTANCE": self.config_id, "_PWD": str(file.parent)} | self.definitions
        return _USE.sub(lambda use: known.get(use[1] or use[2], use[0]), text)


def read(file: Path, config_id: str) -> tuple[Statement, tuple[Path, ...]]:
    """The statements of `file` and all that it includes, below one nameless statement; and these files.

    `config_id`: keepalived's, by default the host name. OSError: a file cannot be read. Raises Unreadable.
    """
    reader = _Reader(config_id=config_id)
    found = _tokens(reader.lines(file))
    return Statement(words=("",), file=file, line=1, block=_block(found)), tuple(reader.files)


def words(file: Path, config_id: str, text: str | None = None) -> list[str]:
    """All words and braces of `file` and what it includes, or of `text` in its place; in order, on whatever lines.

    Raises as `read`.
    """
    reader = _Reader(config_id=config_id)
    lines = reader.lines(file) if text is None else reader.lines_of(text, file)
    marks = (token.value if isinstance(token, _Mark) else token for token, _, _ in _tokens(lines))
    return [each for each in marks if each != _Mark.END.value]


def _glob(pattern: str) -> Iterator[Path]:
    return Path("/").glob(pattern.lstrip("/"))


def _joined(text: str) -> Iterator[tuple[str, int]]:
    """Each line without its comment, and those that a backslash continues as one, with newlines between the parts."""
    whole, first = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        code = _uncommented(line)
        first = first if whole else number
        if code.rstrip().endswith("\\"):
            whole += code.rstrip()[:-1] + "\n"
            continue
        yield whole + code, first
        whole = ""
    if whole:
        yield whole, first


def _uncommented(line: str) -> str:
    quoted = escaped = False
    for place, character in enumerate(line):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character in "#!" and not quoted:
            return line[:place]
    return line


def _tokens(lines: Iterator[tuple[str, Path, int]]) -> Iterator[tuple[str | _Mark, Path, int]]:
    for line, file, number in lines:
        for quoted, word, brace in re.findall(r'"((?:\\.|[^"\\])*)"?|((?:\\.|[^\s{}"])+)|([{}])', line):
            yield _Mark(brace) if brace else word or quoted, file, number
        yield _Mark.END, file, number


def _block(tokens: Iterator[tuple[str | _Mark, Path, int]]) -> tuple[Statement, ...]:
    """The statements up to the closing brace, or to the end."""
    found: list[Statement] = []
    words: list[str] = []
    at = (Path(), 0)
    for token, file, line in tokens:
        if isinstance(token, str):
            at = at if words else (file, line)
            words.append(token)
            continue
        if words:
            found.append(Statement(words=tuple(words), file=at[0], line=at[1]))
            words = []
        if token is _Mark.CLOSE:
            return tuple(found)
        if token is _Mark.OPEN:
            inner = _block(tokens)
            if found:
                last = found.pop()
                found.append(Statement(words=last.words, file=last.file, line=last.line, block=inner))
    return tuple(found)
