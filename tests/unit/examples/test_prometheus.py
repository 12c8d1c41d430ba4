"""The alert rules and the dashboard ask for figures that there are, with labels and words that they have."""

from __future__ import annotations

import json
import re

import pytest

from failoverd.alarms import ALARMS
from failoverd.core.words import Outcome, Phase, Target, VrrpState
from failoverd.daemon.metrics.families import FAMILIES, Kind
from tests.unit.examples.sandbox import EXAMPLES, REPOSITORY

MONITORING = EXAMPLES / "monitoring"
RULES = (MONITORING / "failoverd-rules.yml").read_text(encoding="utf-8")
RULES_TEST = (REPOSITORY / "tests" / "consumers" / "failoverd-rules-test.yml").read_text(encoding="utf-8")
DASHBOARD = json.loads((MONITORING / "grafana-dashboard.json").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
QUERIES += [each["query"]["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
TEXTS = {"rules": RULES, "their test": RULES_TEST, "dashboard": "\n".join(QUERIES)}

#: Those of Prometheus, and of whoever has several clusters.
FOREIGN = {"instance", "job", "cluster"}
#: The words that a label may have, where they are failoverd's own.
WORDS = {
    "phase": {each.value for each in Phase},
    "state": {each.value for each in VrrpState},
    "target": {each.value for each in Target},
    "outcome": {each.value for each in Outcome} | {"active"},
    "code": {each.code for each in ALARMS.values()} | {"record"},
}
SAMPLES = {
    name: family
    for family in FAMILIES
    for name in (
        (f"{family.name}_bucket", f"{family.name}_sum", f"{family.name}_count")
        if family.kind is Kind.HISTOGRAM
        else (family.name,)
    )
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_every_figure_is_one_of_failoverd(text: str) -> None:
    named = set(re.findall(r"\bfailoverd_\w+", text))
    assert named
    assert named <= SAMPLES.keys()


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_every_label_and_word_is_one_that_it_has(text: str) -> None:
    for name, selector in re.findall(r"\b(failoverd_\w+)\{([^}]*)\}", text):
        for label, words in re.findall(r'(\w+)!?=~?"([^"]*)"', selector):
            assert label in {*SAMPLES[name].labels, *FOREIGN}, (name, label)
            if label in WORDS:
                assert set(words.split("|")) <= WORDS[label], (name, label)


def test_every_alert_is_tested() -> None:
    alerts = re.findall(r"^ +- alert: (\w+)$", RULES, re.MULTILINE)
    assert len(set(alerts)) == len(alerts) > 10
    assert set(re.findall(r"alertname: (\w+)", RULES_TEST)) == set(alerts)


def test_every_panel_has_its_own_place() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
