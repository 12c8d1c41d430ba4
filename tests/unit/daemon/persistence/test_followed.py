"""What is followed outlives the daemon, with all that it takes to look at it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from failoverd import drivers
from failoverd.core.spec import ResourceSpec
from failoverd.daemon import config
from failoverd.daemon.persistence import followed
from failoverd.records import Records

EXAMPLES = Path(__file__).parents[4] / "examples"


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Records:
    made = Records(tmp_path)
    monkeypatch.setattr(followed, "records", made)
    return made


def specs(file: Path) -> list[ResourceSpec]:
    """Of every node that the file names."""
    nodes = {
        "any",
        *re.findall(r'"([a-z0-9-]+)"', " ".join(re.findall(r"^nodes = (.*)$", file.read_text(), re.MULTILINE))),
    }
    configurations = (config.load(file, node).core for node in sorted(nodes))
    return [r for each in configurations for i in each.instances.values() for r in i.resources.values()]


@pytest.mark.usefixtures("records")
@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("**/failoverd.toml")), ids=lambda file: file.parent.name)
def test_options_come_back_as_they_were(file: Path) -> None:
    before = specs(file)
    assert before
    needs = frozenset({"the unit a.service"})
    followed.remember((spec, needs) for spec in before)
    after = list(followed.recall())
    assert [spec.options for spec, _ in after] == [spec.options for spec in before]
    assert [spec.things for spec, _ in after] == [spec.things for spec in before]
    assert [found for _, found in after] == [needs] * len(before)
    for spec, _ in after:
        assert drivers.find(spec.driver).make(spec.options, spec)


@pytest.mark.usefixtures("records")
def test_nothing_was_ever_followed() -> None:
    assert list(followed.recall()) == []


def test_what_this_release_does_not_know_cannot_be_looked_at(records: Records) -> None:
    (spec,) = specs(next(EXAMPLES.glob("loadbalancer/**/failoverd.toml")))[:1]
    content = followed._content(replace(spec, driver="vanished"), frozenset())
    other = followed._content(spec, frozenset()) | {"options": {"no": "such key"}}
    records.write("followed", {"resources": [content, other]})
    assert [found.options for found, _ in followed.recall()] == [None, None]
