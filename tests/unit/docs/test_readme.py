"""README.md, held against the program and the files beside it."""

from __future__ import annotations

import re

from failoverd import drivers
from failoverd.core.words import Phase
from tests.unit.docs.pages import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_driver_is_named() -> None:
    entry = re.search(r"^Drivers: (.*?)\n\n", TEXT, re.MULTILINE | re.DOTALL)
    assert entry is not None
    assert set(re.findall(r"`(\w+)`", entry[1])) == set(drivers.names())


def test_every_phase_is_explained() -> None:
    rows = re.findall(r"^\| (`[a-z`, ]+`) \|", TEXT[TEXT.index("The phases:") :], re.MULTILINE)
    assert {word for row in rows for word in re.findall(r"`(\w+)`", row)} == {phase.value for phase in Phase}


def test_every_link_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^):]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
