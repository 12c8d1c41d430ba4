"""The only place that knows structlog: how a line is made, and where it goes.

Events are keyword events (``log.info("step ended", resource=..., outcome=...)``). Identifiers of an event or a
transition are bound once with ``bound``; everything logged below carries them. Who logs never waits: a line is made
and written by a thread of its own (``outbox.py``), and what it cannot get rid of is counted.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast

import structlog

from failoverd import journal
from failoverd.outbox import Outbox

FORMATS = ("console", "json", "journal")

#: The most lines that wait for whoever takes them.
LIMIT = 10_000

#: Seconds without a line being taken that are trouble, and that lines have at the end of the process.
STALLED, FLUSH = 3.0, 2.0

#: Fields that a line of the journal has, and its text does not repeat.
_UNSAID = frozenset({"part", "message_id"})

#: syslog's numbers, which journald's PRIORITY takes.
_PRIORITIES = {"critical": "2", "error": "3", "warning": "4", "info": "6", "debug": "7"}

_STDERR = 2


@dataclass(frozen=True, slots=True)
class _Event:
    """One line in the making. `at`: seconds since the epoch; `exception`: as `logging` has it."""

    at: float
    level: str
    fields: dict[str, Any]
    exception: Any = None

    def traceback(self) -> str | None:
        """What was raised, if anything; reading the source for it may take long."""
        said = structlog.processors.format_exc_info(None, "", {"exc_info": self.exception})
        return cast("str | None", said.get("exception"))


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; `name` is the part of the program that speaks."""
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger(part=name))


def bound(**fields: Any) -> AbstractContextManager[Any]:
    """Within this context, and the tasks started in it, every line carries `fields`."""
    return cast("AbstractContextManager[Any]", structlog.contextvars.bound_contextvars(**fields))


def configure(format: Literal["console", "json", "journal"], level: str = "info") -> None:  # as the option
    """Send every line of `level` and above to stderr, or to journald; may be called again.

    console: for a person, coloured on a terminal only. json: one object a line. journal: journald's own protocol,
    each field upper-cased; where there is no journald it is console, and a line says so. Lines of other libraries
    come the same way, from warning up. ValueError: `format` or `level` is not known.
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
    root.addHandler(_Handler(write, "journald" if journald else "who reads our standard error"))
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
        get("log").warning("journald is not here; logging to stderr")


def catch() -> None:
    """Log what Python itself would write on stderr, and wait there: warnings, and what nobody caught."""
    _log = get("python")
    logging.captureWarnings(capture=True)
    sys.excepthook = lambda *raised: _log.critical("nobody caught this; it is a bug of failoverd", exc_info=raised)
    threading.excepthook = lambda it: _log.error(
        "a thread ended by this; it is a bug of failoverd", exc_info=(it.exc_type, it.exc_value, it.exc_traceback)
    )
    sys.unraisablehook = lambda it: _log.error(
        "nobody could be told of this", where=repr(it.object), exc_info=(it.exc_type, it.exc_value, it.exc_traceback)
    )


def flush(deadline: float = FLUSH) -> None:
    """Wait until all lines are written, at most `deadline` seconds."""
    for handler in _handlers():
        handler.outbox.flush(deadline)


def lost() -> int:
    """How many lines were not written since the start."""
    return sum(handler.outbox.lost for handler in _handlers())


def trouble() -> str | None:
    """Why no line is being written now, in one line; None when all is well."""
    for handler in _handlers():
        stalled = handler.outbox.stalled()
        if stalled > STALLED:
            return f"{handler.reader} has taken no line for {stalled:.0f} s"
    return None


def _handlers() -> list[_Handler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _Handler)]


def _over_to_logging(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> tuple[Any, ...]:
    """Say, in structlog's way: call the standard library's logger with these arguments."""
    return (event,), {}


class _Handler(logging.Handler):
    """Makes one event of a record, ours or another library's, and queues it. `reader`: who is to take the lines."""

    def __init__(self, write: Callable[[_Event], None], reader: str) -> None:
        super().__init__()
        self.reader = reader
        self.outbox = Outbox("log", write, LIMIT)
        self._told = 0

    def emit(self, record: logging.LogRecord) -> None:
        lost = self.outbox.lost
        if lost > self._told and self.outbox.idle:
            self._told = lost
            self.outbox.put(_loss(record.created, lost))
        self.outbox.put(_event(record))


def _loss(at: float, count: int) -> _Event:
    return _Event(at, "error", {"part": "log", "event": "lines of this log were lost", "since_start": count})


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
        line |= {key: _printable(value) for key, value in event.fields.items() if key != "message_id"}  # for programs
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
    """Past Python's own stderr, whose lock a thread that waits would hold until the very end."""
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
        text = str(rest.pop("event", ""))
        said = " ".join(f"{key}={_printable(value)}" for key, value in rest.items() if key not in _UNSAID)
        fields = {journal.name(key): str(value) for key, value in rest.items()}
        fields["SYSLOG_IDENTIFIER"] = "failoverd"
        fields["SYSLOG_TIMESTAMP"] = _local(event.at).isoformat(timespec="milliseconds")
        fields["PRIORITY"] = _PRIORITIES.get(event.level, "6")
        fields["MESSAGE"] = "\n".join(part for part in (f"{text} {said}".strip(), event.traceback()) if part)
        journald.send(fields)

    return write


def _printable(value: Any) -> str:
    """What strangers send must neither break a line in two nor drive the terminal."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return text if text.isprintable() else repr(text)


def _local(at: float) -> datetime:
    return datetime.fromtimestamp(at).astimezone()
