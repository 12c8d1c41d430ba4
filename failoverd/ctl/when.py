"""Times and durations in words. The daemon sends ISO 8601 with a zone, or null where there is no time.

No function fails on a malformed time: it shows the time as it was sent.
"""

from __future__ import annotations

import math
from datetime import datetime, tzinfo
from typing import Any

_MINUTE, _HOUR, _DAY = 60, 3600, 86400

#: Seconds: a shorter span would be "0 s".
_SHORT_S = 0.01


def _parsed(stamp: Any) -> datetime | None:
    """`stamp` as a time; None where it is none, or has no zone."""
    try:
        at = datetime.fromisoformat(stamp)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo is not None else None


def age(stamp: Any, now: datetime) -> str:
    """The age of `stamp`: "3 min ago"; "-" without one. A time in the future (the clock was set) is shown in full."""
    at = _parsed(stamp)
    if at is None:
        return str(stamp) if stamp else "-"
    seconds = (now - at).total_seconds()
    if seconds < -1:
        return clock(stamp, now.tzinfo)
    return "just now" if seconds < 1 else f"{_coarse(seconds)} ago"


def moment(stamp: Any, now: datetime) -> str:
    """`stamp` as a time of day, with its distance: "03:15:04 (in 4 s)"; with the date where that is another one."""
    at = _parsed(stamp)
    if at is None:
        return str(stamp) if stamp else "-"
    local = at.astimezone(now.tzinfo)
    day = "" if local.date() == now.date() else f"{local:%Y-%m-%d} "
    ahead = (at - now).total_seconds()
    distance = f"in {_coarse(math.ceil(ahead))}" if ahead > 0 else age(stamp, now)
    return f"{day}{local:%H:%M:%S} ({distance})"


def clock(stamp: Any, zone: tzinfo | None = None) -> str:
    """`stamp` to the second in `zone` (None: of this machine); "-" without one."""
    at = _parsed(stamp)
    if at is None:
        return str(stamp) if stamp else "-"
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def elapsed(stamp: Any, now: datetime) -> str:
    """The time from `stamp` to `now`, to the second below a minute: "3 s"; "-" without a time."""
    at = _parsed(stamp)
    return "-" if at is None else _coarse(max((now - at).total_seconds(), 0.0))


def left(stamp: Any, now: datetime) -> str:
    """The time from `now` to `stamp`: "27 s"; "0 s" after it; "-" without a time."""
    at = _parsed(stamp)
    return "-" if at is None else _coarse(max((at - now).total_seconds(), 0.0))


def took(started: Any, ended: Any) -> str:
    """The duration from `started` to `ended`, below a second in milliseconds; "-" where one of them is no time."""
    first, last = _parsed(started), _parsed(ended)
    if first is None or last is None:
        return "-"
    seconds = (last - first).total_seconds()
    return part(seconds, seconds)


def span(seconds: Any) -> str:
    """`seconds` in words: "4 ms", "0.13 s", "2 min 30 s", "1 h 5 min"; "-" where it is not a number."""
    if not isinstance(seconds, int | float):
        return "-"
    if 0 < seconds < _SHORT_S:
        return _milliseconds(seconds)
    seconds = round(seconds, 2)
    if seconds < _MINUTE:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    for unit, name, smaller, small_name in ((_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", 1, "s")):
        if seconds >= unit:
            rest = int(seconds % unit // smaller)
            return f"{int(seconds // unit)} {name}" + (f" {rest} {small_name}" if rest else "")
    raise AssertionError(seconds)


def part(seconds: float, whole: float) -> str:
    """`seconds`, a part of `whole` seconds, as `span`; every part of less than a second is in milliseconds."""
    return _milliseconds(seconds) if 0 <= whole < 1 else span(seconds)


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000, 1 if seconds < _SHORT_S else None):g} ms"


def _coarse(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{int(seconds)} s"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min"
    if seconds < 2 * _DAY:
        hours, minutes = int(seconds // _HOUR), int(seconds % _HOUR // _MINUTE)
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"  # noqa: PLR2004
    return f"{int(seconds // _DAY)} days"
