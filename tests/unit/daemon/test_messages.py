"""The journal's catalog and the daemon speak of the same things."""

from __future__ import annotations

import re
from pathlib import Path

from failoverd.core.events import Matter
from failoverd.daemon import messages

CATALOG = Path(__file__).parents[3] / "systemd" / "failoverd.catalog"


def test_every_message_has_an_entry_and_every_entry_a_message() -> None:
    text = CATALOG.read_text()
    entries = re.findall(r"^-- ([0-9a-f]{32})$", text, re.MULTILINE)
    assert sorted(entries) == sorted([messages.DONE, messages.TROUBLE, *messages.MATTER.values()])
    assert set(messages.MATTER) == set(Matter)
    assert len(re.findall(r"^Subject: \S", text, re.MULTILINE)) == len(entries)


def test_an_entry_uses_fields_that_its_lines_have() -> None:
    fields = {messages.DONE: {"INSTANCE", "TRANSITION", "OUTCOME"}, messages.TROUBLE: {"ABOUT", "TEXT"}}
    for entry in CATALOG.read_text().split("\n-- ")[1:]:
        there = fields.get(entry[:32], {"INSTANCE", "TEXT"})
        assert set(re.findall(r"@([A-Z_]+)@", entry)) <= there, entry.splitlines()[1]
