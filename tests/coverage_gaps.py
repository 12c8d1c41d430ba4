"""`python -m tests.coverage_gaps`: the coverage of failoverd/ by the unit tests, as `make unit` has measured it.

Lines are counted, in the tests and in the Python processes that they start; a process that ends by SIGKILL writes no
data. A module below FLOOR needs a reason in coverage_gaps.toml. At SETTLED the reason must be removed. Between the two
both are right, because a few lines depend on the timing of a run.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).parents[1]
GAPS = "tests/coverage_gaps.toml"

#: Percent.
FLOOR = 85.0
SETTLED = 90.0


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of one module, or of several."""

    executed: int
    all: int

    @property
    def percent(self) -> float:
        """100 where there is nothing to execute."""
        return 100.0 * self.executed / self.all if self.all else 100.0


def measured() -> dict[str, Lines]:
    """The lines of each module of failoverd/, by its path in the repository. CoverageException: there is no data."""
    coverage = Coverage(config_file=str(ROOT / "pyproject.toml"))
    coverage.load()
    lines = {}
    for path in sorted((ROOT / "failoverd").rglob("*.py")):
        _, statements, _, missing, _ = coverage.analysis2(str(path))
        lines[str(path.relative_to(ROOT))] = Lines(len(statements) - len(missing), len(statements))
    return lines


def table(modules: Mapping[str, Lines], reasons: Mapping[str, str]) -> Iterator[str]:
    """The total, and the modules below the floor."""
    total = Lines(sum(each.executed for each in modules.values()), sum(each.all for each in modules.values()))
    yield f"coverage of failoverd/ by the unit tests: {total.percent:.1f} % of {total.all} lines"
    below = {path: lines for path, lines in modules.items() if lines.percent < FLOOR}
    width = max(map(len, below), default=0)
    for path, lines in sorted(below.items(), key=lambda item: item[1].percent):
        yield f"  {path:{width}}  {lines.percent:4.1f} %  {reasons.get(path, '(no reason is given)')}"


def complaints(modules: Mapping[str, Lines], reasons: Mapping[str, str]) -> Iterator[str]:
    """Every module that lacks its reason, and every reason that is out of date."""
    for path, lines in modules.items():
        if lines.percent < FLOOR and path not in reasons:
            yield f"{path} is below {FLOOR:g} %: test it, or give the reason in {GAPS}"
    for path in reasons:
        if path not in modules:
            yield f"{path} does not exist: remove its reason from {GAPS}"
        elif modules[path].percent >= SETTLED:
            yield f"{path} has {SETTLED:g} % or more: remove its reason from {GAPS}"


def main() -> int:
    """The exit status: 0 when the reasons are complete and up to date."""
    modules, reasons = measured(), tomllib.loads((ROOT / GAPS).read_text(encoding="utf-8"))
    print(*table(modules, reasons), sep="\n")
    wrong = list(complaints(modules, reasons))
    print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
