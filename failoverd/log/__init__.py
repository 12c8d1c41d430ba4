"""Logging: the format of a line, and its destination. This is the only package that uses structlog.

Events have keywords (``log.info("step ended", resource=..., outcome=...)``). ``bound`` adds identifiers to all lines
below it. Logging must never block the caller: a thread of its own formats and writes each line (``outbox.py``), and
lines that it cannot write in time are counted.
"""

from __future__ import annotations

import logging
import os
import re
import select
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast

import structlog

from failoverd.log import journal
from failoverd.log.outbox import Outbox

FORMATS = ("console", "json", "journal")

#: The most lines that wait to be written.
QUEUE_MAX_LINES = 10_000
#: A reader that accepts no line for longer is stalled, in seconds.
STALL_TIMEOUT_S = 3.0
#: How long the end of the process waits for the queued lines, in seconds.
FLUSH_TIMEOUT_S = 2.0

#: Fields of a journal entry that its MESSAGE omits.
_OMITTED = frozenset({"part", "message_id"})

#: The last field of a line, without quotes: a sentence, perhaps with a command to paste.
_LAST = "text"

#: A value that needs no quotes between others.
_BARE = re.compile(r"[^\s'\"=]+")

#: syslog's numbers, which journald's PRIORITY takes.
_PRIORITIES = {"critical": "2", "error": "3", "warning": "4", "info": "6", "debug": "7"}

_STDERR = 2


@dataclass(frozen=True, slots=True)
class _Event:
    """One line before it is formatted. `at`: seconds since the epoch. `exception`: `LogRecord.exc_info`."""

    at: float
    level: str
    fields: dict[str, Any]
    exception: Any = None

    def traceback(self) -> str | None:
        """The traceback; None: no exception. It reads source files, so it may block."""
        formatted = structlog.processors.format_exc_info(None, "", {"exc_info": self.exception})
        return cast("str | None", formatted.get("exception"))


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger. `name`: the part of the program, in the field `part`."""
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger(part=name))


def bound(**fields: Any) -> AbstractContextManager[Any]:
    """A context in which every line has `fields`, also the lines of tasks that start in it."""
    return cast("AbstractContextManager[Any]", structlog.contextvars.bound_contextvars(**fields))


def configure(format: Literal["console", "json", "journal"], level: str = "info") -> None:  # as the option
    """Send every line of `level` and above to stderr or journald. It may be called again.

    console: text, coloured on a terminal only. json: one object per line. journal: journald's native protocol, with
    upper-case field names; without journald a warning, and console. Lines of other libraries follow, from warning up.
    ValueError: `format` or `level` is unknown.
    """
    if format not in FORMATS:
        raise ValueError(f"log format {format!r} is not one of {', '.join(FORMATS)}")
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level {level!r} is not one of debug, info, warning, error, critical")
    journald = format == "journal" and Path(journal.SOCKET).exists()
    write = _journal() if journald else (_json() if format == "json" else _console())
    root = logging.getLogger()
    for handler in _handlers():
        root.removeHandler(handler)
    root.addHandler(_Handler(write, "journald" if journald else "the reader of standard error"))
    root.setLevel(max(number, logging.WARNING))
    logging.getLogger("failoverd").setLevel(number)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            _over_to_logging,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=lambda *_: logging.getLogger("failoverd"),
        cache_logger_on_first_use=False,
    )
    if format == "journal" and not journald:
        get("log").warning("journald is not running; logging to stderr")


def catch() -> None:
    """Log warnings and unhandled exceptions, which Python would write to stderr, where it may block."""
    _log = get("python")

    def ends(*raised: Any) -> None:
        _log.critical("unhandled exception; this is a bug in failoverd", exc_info=raised)
        flush()  # the process exits after this

    logging.captureWarnings(capture=True)
    sys.excepthook = ends
    threading.excepthook = lambda it: _log.error(
        "unhandled exception in a thread; this is a bug in failoverd",
        exc_info=(it.exc_type, it.exc_value, it.exc_traceback),
    )
    sys.unraisablehook = lambda it: _log.error(
        "exception ignored; this is a bug in failoverd",
        where=repr(it.object),
        exc_info=(it.exc_type, it.exc_value, it.exc_traceback),
    )


def flush(deadline: float = FLUSH_TIMEOUT_S) -> None:
    """Wait until all queued lines are written, at most `deadline` seconds."""
    for handler in _handlers():
        handler.outbox.flush(deadline)


def lost() -> int:
    """How many lines were lost since the start."""
    return sum(handler.outbox.lost for handler in _handlers())


def trouble() -> str | None:
    """Why no line can be written now, in one line; None: lines are written."""
    for handler in _handlers():
        stalled = handler.outbox.stalled()
        if stalled > STALL_TIMEOUT_S:
            return f"{handler.reader} has taken no line for {stalled:.0f} s"
    return None


def _handlers() -> list[_Handler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _Handler)]


def _over_to_logging(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> tuple[Any, ...]:
    """Be structlog's last processor: return the arguments for the logger of the standard library."""
    return (event,), {}


class _Handler(logging.Handler):
    """Queues each record, ours or another library's, as an event. `reader`: where the lines go."""

    def __init__(self, write: Callable[[_Event], None], reader: str) -> None:
        super().__init__()
        self.reader = reader
        self.outbox = Outbox("log", write, QUEUE_MAX_LINES)
        self._reported = 0

    def emit(self, record: logging.LogRecord) -> None:
        lost = self.outbox.lost
        if lost > self._reported and self.outbox.idle:
            self._reported = lost
            self.outbox.put(_loss(record.created, lost))
        self.outbox.put(_event(record))


def _loss(at: float, count: int) -> _Event:
    return _Event(at, "error", {"part": "log", "event": "log lines were lost", "since_start": count})


def _event(record: logging.LogRecord) -> _Event:
    if isinstance(record.msg, dict):
        fields = dict(record.msg)
        exception = fields.pop("exc_info", None)
        if exception is True:
            exception = sys.exc_info()
    else:
        fields, exception = {"event": record.getMessage(), "part": record.name}, record.exc_info
        structlog.contextvars.merge_contextvars(None, "", fields)
    return _Event(record.created, record.levelname.lower(), fields, exception)


def _console() -> Callable[[_Event], None]:
    render = structlog.dev.ConsoleRenderer(
        colors=os.isatty(_STDERR) and "NO_COLOR" not in os.environ,
        exception_formatter=structlog.dev.plain_traceback,
        sort_keys=False,
    )

    def write(event: _Event) -> None:
        line: dict[str, Any] = {"timestamp": f"{_local(event.at):%Y-%m-%d %H:%M:%S.%f}"[:-3]}
        fields = {key: _printable(event.fields[key]) for key in sorted(event.fields, key=_LAST.__eq__)}
        line |= {key: text for key, text in fields.items() if text and key != "message_id"}  # which is for programs
        line["level"] = event.level
        if (said := event.traceback()) is not None:
            line["exception"] = said
        _write(str(render(None, "", line)))

    return write


def _json() -> Callable[[_Event], None]:
    render = structlog.processors.JSONRenderer(default=str)

    def write(event: _Event) -> None:
        rest = dict(event.fields)
        first = {"level": event.level, "part": rest.pop("part", ""), "event": rest.pop("event", "")}
        line = {"timestamp": _local(event.at).isoformat(timespec="milliseconds"), **first, **rest}
        if (said := event.traceback()) is not None:
            line["exception"] = said
        _write(cast("str", render(None, "", line)))

    return write


def _write(line: str) -> None:
    """Write to the descriptor, not to sys.stderr: a thread that blocks there would hold its lock until the end."""
    left = memoryview(f"{line}\n".encode(errors="backslashreplace"))
    while left:
        try:
            left = left[os.write(_STDERR, left) :]
        except BlockingIOError:
            select.select([], [_STDERR], [])


def _journal() -> Callable[[_Event], None]:
    journald = journal.Journal()

    def write(event: _Event) -> None:
        rest = dict(event.fields)
        text = _sentence(str(rest.pop("event", "")), rest)
        fields = {journal.name(key): str(value) for key, value in rest.items()}
        fields["SYSLOG_IDENTIFIER"] = "failoverd"
        fields["SYSLOG_TIMESTAMP"] = _local(event.at).isoformat(timespec="milliseconds")
        fields["PRIORITY"] = _PRIORITIES.get(event.level, "6")
        fields["MESSAGE"] = "\n".join(part for part in (text, event.traceback()) if part)
        journald.send(fields)

    return write


def _sentence(event: str, fields: Mapping[str, Any]) -> str:
    """The MESSAGE: the event, its fields, and at the end the text for an operator."""
    rest = {key: _word(value) for key, value in fields.items() if key not in _OMITTED and key != _LAST}
    said = " ".join([event, *(f"{key}={word}" for key, word in rest.items() if word)]).strip()
    last = _printable(fields.get(_LAST, ""))
    return f"{said}: {last}" if last else said


def _word(value: Any) -> str:
    """The value as one word, quoted where it has blanks."""
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if not text or (text.isprintable() and _BARE.fullmatch(text)) else repr(text)


def _printable(value: Any) -> str:
    """The value without newlines and terminal escapes, since it may come from another program."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return text if text.isprintable() else repr(text)


def _local(at: float) -> datetime:
    return datetime.fromtimestamp(at).astimezone()
