"""`python -m tests.bench [NAME...]`: measure (all, or what is named), and print the table."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from . import burst, failoverctl, handover, hook, idle, many, transition, upstream
from .row import Row, show

_MEASURES = {
    "hook": hook.measure,
    "first": transition.first_command,
    "addresses": transition.addresses,
    "chain": transition.chain,
    "wide": transition.wide,
    "many": many.measure,
    "burst": burst.measure,
    "failoverctl": failoverctl.measure,
    "start": idle.starts,
    "upstream": upstream.by_hand,
    "failover": upstream.failovers,
    "handover": handover.measure,
}
_IDLE = "idle"


def main() -> None:
    """Measure and print; the exit status only says whether it could be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*_MEASURES, _IDLE]))
    names = parser.parse_args().names or [*_MEASURES, _IDLE]
    for name in names:
        if name not in (*_MEASURES, _IDLE):
            parser.error(f"there is no {name}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    load, _, _ = os.getloadavg()
    rows: list[Row] = []
    if _IDLE in names:
        with idle.Idle() as sleepers:
            rows += _run(names)
            rows += sleepers.rows()
    else:
        rows += _run(names)
    show(rows, load)


def _run(names: list[str]) -> list[Row]:
    rows: list[Row] = []
    for name, measure in _MEASURES.items():
        if name in names:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            rows += measure()
    return rows


if __name__ == "__main__":
    main()
