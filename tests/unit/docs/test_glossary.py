"""docs/glossary.md, held against the words that the core has for states, verbs, outcomes and alarms."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from enum import Enum

import pytest

from failoverd.core import words
from failoverd.core.effects import AlarmKind
from failoverd.core.ordering import Verdict
from tests.unit.docs.pages import ROOT

TEXT = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
TERMS, RETIRED = TEXT.split("## Do not say")
ENUMS = [each for _, each in inspect.getmembers(words, inspect.isclass) if issubclass(each, Enum) and each is not Enum]


@pytest.mark.parametrize("words", [*ENUMS, AlarmKind, Verdict], ids=lambda each: each.__name__)
def test_every_state_and_outcome_is_explained(words: type[Enum]) -> None:
    for word in words:
        assert re.search(rf"(?<![\w-]){word.value}(?![\w-])", TERMS), word


def test_a_term_is_explained_once() -> None:
    terms = [term for entry in re.findall(r"\*\*([^*]+)\*\*:", TERMS) for term in entry.split(", ")]
    assert [term for term, times in Counter(terms).items() if times > 1] == []
    assert len(terms) > 50
