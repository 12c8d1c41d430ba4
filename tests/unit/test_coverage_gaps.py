"""The modules that need a reason for their coverage, and the reasons that must be removed."""

from __future__ import annotations

import pytest

from tests.coverage_gaps import Lines, complaints, table

A, B = "failoverd/a.py", "failoverd/b.py"


def wrong(executed: int, *, reason: bool, of: int = 1000) -> list[str]:
    return list(complaints({A: Lines(executed, of)}, {A: "it needs DRBD 9"} if reason else {}))


@pytest.mark.parametrize("executed", [0, 849])
def test_a_module_below_the_floor_needs_a_reason(executed: int) -> None:
    assert "is below 85 %" in wrong(executed, reason=False)[0]
    assert wrong(executed, reason=True) == []


@pytest.mark.parametrize("executed", [850, 899])
def test_a_little_above_the_floor_a_reason_may_stay_or_go(executed: int) -> None:
    assert wrong(executed, reason=False) == []
    assert wrong(executed, reason=True) == []


@pytest.mark.parametrize("executed", [900, 1000])
def test_a_reason_must_go_once_the_module_is_well_above(executed: int) -> None:
    assert wrong(executed, reason=False) == []
    assert "remove its reason" in wrong(executed, reason=True)[0]


def test_a_module_without_lines_needs_no_reason() -> None:
    assert wrong(0, reason=False, of=0) == []


def test_a_reason_without_a_module_must_go() -> None:
    assert "does not exist" in next(complaints({}, {A: "it needs DRBD 9"}))


def test_the_table_has_the_total_and_the_modules_below_the_floor() -> None:
    total, *rows = table({A: Lines(84, 100), B: Lines(85, 100), "failoverd/core/c.py": Lines(0, 100)}, {A: "it needs"})
    assert total.endswith("56.3 % of 300 lines")
    assert [row.split() for row in rows] == [
        ["failoverd/core/c.py", "0.0", "%", "(no", "reason", "is", "given)"],
        [A, "84.0", "%", "it", "needs"],
    ]
