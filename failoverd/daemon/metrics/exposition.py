"""Prometheus' text format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from failoverd.daemon.metrics.counts import BUCKETS, Histogram
from failoverd.daemon.metrics.families import FAMILIES, Family

#: What a server says of the text.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LINES_AT_ONCE = 1000

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def labels(**values: str) -> str:
    """Labels as a sample has them."""
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in values.items())


class Exposition:
    """Collects samples, and writes those of one metric below each other, as the format demands."""

    def __init__(self) -> None:
        self._lines: dict[Family, list[str]] = {family: [] for family in FAMILIES}

    def add(self, family: Family, labels: str, value: float) -> None:
        """Add a sample. `labels`: made by `labels`, or empty."""
        self._lines[family].append(f"{family.name}{{{labels}}} {+value}" if labels else f"{family.name} {+value}")

    def one_of(self, family: Family, labels: str, name: str, words: Iterable[str], now: str | None) -> None:
        """Add a sample for each of the words: 1 for the present one, 0 for every other. None: no word is present."""
        lines = self._lines[family]
        for word in words:
            lines.append(f'{family.name}{{{labels},{name}="{word}"}} {int(word == now)}')

    def histogram(self, family: Family, labels: str, durations: Histogram) -> None:
        """Add the samples of a histogram."""
        lines, count = self._lines[family], 0
        for bound, number in zip((*map(str, BUCKETS), "+Inf"), durations.counts, strict=True):
            count += number
            lines.append(f'{family.name}_bucket{{{labels},le="{bound}"}} {count}')
        lines.append(f"{family.name}_sum{{{labels}}} {durations.sum}")
        lines.append(f"{family.name}_count{{{labels}}} {count}")

    def pieces(self) -> Iterator[bytes]:
        """The text, in pieces that take less than a millisecond each. A family without samples is left out."""
        for family, samples in self._lines.items():
            if samples:
                yield f"# HELP {family.name} {family.text}.\n# TYPE {family.name} {family.kind.value}\n".encode()
            for first in range(0, len(samples), _LINES_AT_ONCE):
                yield "\n".join((*samples[first : first + _LINES_AT_ONCE], "")).encode()
