"""docs/invariants.md, held against the tests that it names and the numbers that the code and the tests use."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator

import pytest

from tests.unit.docs.pages import ROOT

TEXT = (ROOT / "docs/invariants.md").read_text(encoding="utf-8")
_, *PARTS = re.split(r"^## (I\d+): ", TEXT, flags=re.MULTILINE)
INVARIANTS = dict(zip(PARTS[::2], PARTS[1::2], strict=True))
NAMED = re.compile(r"`(tests/[\w/]+\.py)::([\w.]+)`")
PROGRAMS = [*(ROOT / "failoverd").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), ROOT / "hooks/notify"]


@functools.cache
def names(file: str) -> frozenset[str]:
    """The functions and classes of a file, and the methods as CLASS.METHOD; none where there is no file."""
    if not (ROOT / file).exists():
        return frozenset()
    return frozenset(_names(ast.parse((ROOT / file).read_text(encoding="utf-8")), ""))


def _names(node: ast.AST, before: str) -> Iterator[str]:
    for each in ast.iter_child_nodes(node):
        if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{before}{each.name}"
            if isinstance(each, ast.ClassDef):
                yield from _names(each, f"{each.name}.")


def test_the_numbers_have_no_gap() -> None:
    assert list(INVARIANTS) == [f"I{number}" for number in range(1, len(INVARIANTS) + 1)]


@pytest.mark.parametrize("number", INVARIANTS)
def test_a_test_holds_it(number: str) -> None:
    assert (found := NAMED.findall(INVARIANTS[number]))
    assert [f"{file}::{name}" for file, name in found if name not in names(file)] == []


def test_every_test_is_named_in_full() -> None:
    assert len(NAMED.findall(TEXT)) == TEXT.count(".py::")


def test_every_number_that_is_used_is_explained() -> None:
    used = {number for file in PROGRAMS for number in re.findall(r"\bI\d{1,2}\b", file.read_text(encoding="utf-8"))}
    assert used - set(INVARIANTS) == set()
    assert used
