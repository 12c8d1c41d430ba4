"""Times as a person reads them. The daemon sends ISO 8601 with a zone, or null where there is no time."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def parsed(stamp: Any) -> datetime | None:
    """The time that `stamp` says; None when it says none, or lacks its zone."""
    try:
        at = datetime.fromisoformat(stamp)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo is not None else None


def age(stamp: Any, now: datetime) -> str:
    """How long ago: "3 min ago"; "-" when unknown. A time that is yet to come (a clock was set) is shown in full."""
    at = parsed(stamp)
    if at is None:
        return str(stamp) if stamp else "-"
    seconds = (now - at).total_seconds()
    if seconds < -1:
        return clock(stamp, now.tzinfo)
    return "just now" if seconds < 1 else f"{_coarse(seconds)} ago"


def clock(stamp: Any, zone: tzinfo | None = None) -> str:
    """The time on the wall, to the second, in `zone` (None: this machine's); "-" when unknown."""
    at = parsed(stamp)
    if at is None:
        return str(stamp) if stamp else "-"
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def took(started: Any, ended: Any) -> str:
    """The time between the two; "-" when one is not known."""
    first, last = parsed(started), parsed(ended)
    return "-" if first is None or last is None else span((last - first).total_seconds())


def span(seconds: Any) -> str:
    """A duration: "0.13 s", "2 min 30 s", "1 h 5 min"; "-" when it is not a number."""
    if not isinstance(seconds, int | float):
        return "-"
    seconds = round(seconds, 2)
    if seconds < _MINUTE:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    for unit, name, smaller, small_name in ((_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", 1, "s")):
        if seconds >= unit:
            rest = int(seconds % unit // smaller)
            return f"{int(seconds // unit)} {name}" + (f" {rest} {small_name}" if rest else "")
    raise AssertionError(seconds)


def _coarse(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{int(seconds)} s"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min"
    if seconds < 2 * _DAY:
        hours, minutes = int(seconds // _HOUR), int(seconds % _HOUR // _MINUTE)
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"  # noqa: PLR2004
    return f"{int(seconds // _DAY)} days"
