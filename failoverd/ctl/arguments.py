"""Arguments that several verbs take, with their completion in the shell.

An argument of one verb only belongs into the file of that verb.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Literal

from failoverd.ctl import completion

#: The units of a time, in seconds, and the longest time.
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_S = 366 * 86400


def completed(action: argparse.Action, completer: Callable[..., Any]) -> None:
    """Let the shell complete `action` with the candidates that `completer` returns."""
    action.completer = completer  # type: ignore[attr-defined]  # where argcomplete looks for it


def instance(parser: argparse.ArgumentParser, nargs: Literal["?"] | None = None) -> None:
    """Add INSTANCE to `parser`; with `nargs` "?" it is optional, and None if absent."""
    text = "the instance's name, as in keepalived.conf"
    completed(parser.add_argument("instance", metavar="INSTANCE", nargs=nargs, help=text), completion.instances)


def instance_or_all(parser: argparse.ArgumentParser) -> None:
    """Add INSTANCE and ``--all``, one of which must be given."""
    either = parser.add_mutually_exclusive_group(required=True)
    text = "the instance's name, as in keepalived.conf"
    completed(either.add_argument("instance", metavar="INSTANCE", nargs="?", help=text), completion.instances)
    either.add_argument("--all", action="store_true", help="every instance of this node")


def chosen(asked: argparse.Namespace) -> dict[str, Any]:
    """The keys of a request for the instance that was named, or for all."""
    return {"all": True} if asked.all else {"instance": asked.instance}


def count(text: str) -> int:
    """Parse `text` as a whole number from 1 up, below 2**62; argparse.ArgumentTypeError where it is none."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 62:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def duration(text: str) -> int:
    """Parse ``90s``, ``30m``, ``2h`` or ``1d`` as seconds; argparse.ArgumentTypeError where it is none of these."""
    number, unit = text[:-1], _SECONDS.get(text[-1:])
    if unit is None or not number.isascii() or not number.isdigit() or not 0 < int(number) * unit <= _LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90s, 30m, 2h or 1d, at most 366d")
    return int(number) * unit
