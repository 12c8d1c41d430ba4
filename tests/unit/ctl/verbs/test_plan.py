"""``failoverctl plan``: commands in order, with their times."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.ctl.conftest import FakeDaemon
from tests.unit.ctl.test_failoverctl import at
from tests.unit.ctl.verbs.pages import shown

Answer = dict[str, Any]


def test_a_plan_is_commands_in_order(plan: Answer) -> None:
    assert shown("plan", plan) == (
        "  plan: VI_1 to active, expected 9.3 s (95 %: 14 s), at most 2 min; nothing was run\n"
        "  the steps of a wave run in parallel; each step also waits for the resources that it needs\n"
        "  wave  resource  driver  verb      median  95 %    n   at most       needs\n"
        "  1     vpn-disk  drbd    activate  0.3 s   1 s     38  30 s          -\n"
        "      drbdadm primary vpn\n"
        "  2     vpn       xen     activate  9 s     13 s    12  1 min 30 s    vpn-disk\n"
        "      xl create /etc/xen/vpn.cfg\n"
        "      xl list vpn\n"
        "  2     prefix    bird    activate  0.02 s  0.05 s  40  already done  -\n"
    )
    assert "no steps" in shown("plan", plan | {"steps": []})


def test_what_comes_before_the_first_step_is_named_with_its_time(plan: Answer) -> None:
    before = [
        {"what": "witnesses", "names": ["icmp://192.0.2.254"], "worst_case": 1.5},
        {"what": "peers", "names": ["right", "center"], "worst_case": 75.0},
        {"what": "fencing", "names": ["right"], "worst_case": 105.0},
    ]
    text = shown("plan", plan | {"before": before})
    assert "  before the first step the witnesses answer: at most 1.5 s\n" in text
    assert "  before the first step right and center must have stopped, and say so: at most 1 min 15 s\n" in text
    assert "  a node that is silent, or does not stop, is fenced: right: at most 1 min 45 s\n" in text


def test_a_step_that_never_succeeded_here_makes_the_whole_unknown(plan: Answer) -> None:
    plan["steps"][1]["expected"] = None
    text = shown("plan", plan | {"expected": None})
    assert text.startswith("  plan: VI_1 to active, at most 2 min; nothing was run\n")
    assert "  the expected time is unknown: no successful step of vpn is in the history\n" in text
    assert "  2     vpn       xen     activate  -       -       0   1 min 30 s    vpn-disk\n" in text


def test_a_history_that_cannot_be_read_hides_no_plan(plan: Answer) -> None:
    text = shown("plan", plan | {"expected": None, "history": {"trouble": "the disk is slow or hangs"}})
    assert "  the expected time is unknown: the disk is slow or hangs\n" in text
    assert "drbdadm primary vpn" in text


def test_a_plan_of_a_daemon_that_knows_no_expected_times(plan: Answer) -> None:
    for step in plan["steps"]:
        del step["expected"]
    del plan["expected"]
    text = shown("plan", plan)
    assert "at most 2 min" in text
    assert "unknown" not in text


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (None, []),
        (120.0, ["  within the budget of 2 min, even in the worst case"]),
        (60.0, ["! over the budget of 1 min: the worst case is 2 min, along vpn-disk > vpn (timeouts and retries)"]),
        (
            10.0,
            [
                "! over the budget of 10 s: the expected time (95 %) is 14 s, along vpn-disk > vpn",
                "! over the budget of 10 s: the worst case is 2 min, along vpn-disk > vpn (timeouts and retries)",
            ],
        ),
        (
            5.0,
            [
                "! over the budget of 5 s: the expected time (median) is 9.3 s, along vpn-disk > vpn",
                "! over the budget of 5 s: the worst case is 2 min, along vpn-disk > vpn (timeouts and retries)",
            ],
        ),
    ],
)
def test_what_is_over_the_budget_is_marked(plan: Answer, budget: float | None, said: list[str]) -> None:
    assert [line for line in shown("plan", plan | {"budget": budget}).splitlines() if "budget" in line] == said


@pytest.mark.parametrize(
    ("word", "target"), [("master", "active"), ("Backup", "standby"), ("ACTIVE", "active"), ("standby", "standby")]
)
def test_the_words_of_keepalived_and_of_failoverd_are_accepted(
    daemon: FakeDaemon, plan: Answer, word: str, target: str
) -> None:
    daemon.answers(plan)
    assert at(daemon, "plan", "VI_1", word).returncode == 0
    assert daemon.asked == [{"version": 1, "verb": "plan", "instance": "VI_1", "target": target}]
