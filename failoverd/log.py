"""The only place that knows structlog: how a line is made, and where it goes.

Events are keyword events (``log.info("step ended", resource=..., outcome=...)``). Identifiers of an event or a
transition are bound once with ``bound``; everything logged below carries them.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast

import structlog

FORMATS = ("console", "json", "journal")

#: Where journald listens; when it is absent, nobody does.
JOURNAL_SOCKET = "/run/systemd/journal/socket"

#: Fields that a line of the journal has, and its text does not repeat.
_UNSAID = frozenset({"part", "message_id"})

#: syslog's numbers, which journald's PRIORITY takes.
_PRIORITIES = {"critical": "2", "error": "3", "warning": "4", "info": "6", "debug": "7"}

_Event = dict[str, Any]


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
    put = _journal() if format == "journal" else None
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Handler):
            root.removeHandler(handler)
    root.addHandler(_Handler(put or (_json() if format == "json" else _console())))
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
    if format == "journal" and put is None:
        get("log").warning("journald is not here; logging to stderr")


def _over_to_logging(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> tuple[Any, ...]:
    """Say, in structlog's way: call the standard library's logger with these arguments."""
    return (event,), {}


class _Handler(logging.Handler):
    """Makes one event of a record, ours or another library's, and puts it. A line that cannot be written is lost."""

    def __init__(self, put: Callable[[_Event], None]) -> None:
        super().__init__()
        self._put = put

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._put(_event(record))
        except Exception:  # a full disk or a closed pipe behind stderr must not hurt the speaker
            return


def _event(record: logging.LogRecord) -> _Event:
    if isinstance(record.msg, dict):
        event: _Event = dict(record.msg)
    else:
        event = {"event": record.getMessage(), "part": record.name, "exc_info": record.exc_info}
        structlog.contextvars.merge_contextvars(None, "", event)
    event["level"] = record.levelname.lower()
    return cast("_Event", structlog.processors.format_exc_info(None, "", event))


def _console() -> Callable[[_Event], None]:
    stream = sys.stderr
    render = structlog.dev.ConsoleRenderer(
        colors=stream.isatty() and "NO_COLOR" not in os.environ,
        exception_formatter=structlog.dev.plain_traceback,
        sort_keys=False,
    )

    def put(event: _Event) -> None:
        exception = event.pop("exception", None)
        event.pop("message_id", None)  # is for programs
        line = {"timestamp": f"{_now():%Y-%m-%d %H:%M:%S.%f}"[:-3]}
        line |= {key: _printable(value) for key, value in event.items()}
        if exception is not None:
            line["exception"] = exception
        stream.write(f"{render(None, '', line)}\n")
        stream.flush()

    return put


def _json() -> Callable[[_Event], None]:
    stream = sys.stderr
    render = structlog.processors.JSONRenderer(default=str)

    def put(event: _Event) -> None:
        first = {key: event.pop(key, "") for key in ("level", "part", "event")}
        line = {"timestamp": _now().isoformat(timespec="milliseconds"), **first, **event}
        stream.write(f"{cast('str', render(None, '', line))}\n")
        stream.flush()

    return put


def _journal() -> Callable[[_Event], None] | None:
    """None when journald is not here: its library would lose every line without a word."""
    if not Path(JOURNAL_SOCKET).exists():
        return None
    try:
        from systemd import journal  # the other formats do without it
    except ImportError:
        return None

    def put(event: _Event) -> None:
        level = event.pop("level")
        exception = event.pop("exception", None)
        text = str(event.pop("event", ""))
        said = " ".join(f"{key}={_printable(value)}" for key, value in event.items() if key not in _UNSAID)
        fields = {_journal_name(key): _text(value) for key, value in event.items()}
        fields["SYSLOG_IDENTIFIER"] = "failoverd"
        fields["PRIORITY"] = _PRIORITIES.get(level, "6")
        fields["MESSAGE"] = "\n".join(part for part in (f"{text} {said}".strip(), exception) if part)
        journal.sendv(*(f"{key}={value}" for key, value in fields.items()))

    return put


def _journal_name(key: str) -> str:
    """`key` as journald takes it: capitals, digits and underscores, not first an underscore or digit, 64 at most."""
    name = re.sub(r"[^A-Z0-9_]", "_", key.upper()).lstrip("_0123456789")
    return name[:64] or "FIELD"


def _text(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()


def _printable(value: Any) -> str:
    """What strangers send must neither break a line in two nor drive the terminal."""
    text = _text(value)
    return text if text.isprintable() else repr(text)


def _now() -> datetime:
    return datetime.now().astimezone()
