"""``failoverctl drill``: the faults that have happened, as a table and as Markdown."""

from __future__ import annotations

import re
from argparse import Namespace
from typing import Any

import pytest

from failoverd.ctl import client
from failoverd.ctl.page import plain
from failoverd.ctl.rehearsal import Leg
from failoverd.ctl.signals import Ended
from failoverd.ctl.verbs import Request, drill
from tests.unit.ctl.conftest import FakeDaemon
from tests.unit.ctl.terminal import Terminal, golden
from tests.unit.ctl.test_failoverctl import at
from tests.unit.ctl.verbs.pages import NOW, shown


def fault(kind: str, time: tuple[float, float] | None = None, last: int = 7, **results: int) -> dict[str, Any]:
    told = {"transition": last, "at": "2026-11-21T03:00:00+00:00", "result": next(iter(results))}
    summary = None if time is None else {"samples": sum(results.values()), "median": time[0], "p95": time[1]}
    return {"kind": kind, "results": results, "time": summary, "last": told}


def answer(*faults: dict[str, Any], transitions: int = 131) -> dict[str, Any]:
    since = "2026-11-01T12:00:00+00:00" if transitions else None
    return {"node": "left", "transitions": transitions, "since": since, "faults": list(faults)}


HAPPENED = answer(
    fault("step-timed-out", None, 81, **{"given up": 1}),
    fault("backup", (0.9, 2.5), 130, standby=12),
    fault("master", (1.01, 9.3), 131, active=12, failed=1),
    fault("keepalived-died", (0.4, 0.4), 99, standby=1),
)


def test_the_table_has_the_faults_in_a_fixed_order_and_marks_the_unexpected() -> None:
    assert shown("drill", HAPPENED) == (
        "  faults on left: 131 transitions since 2026-11-01 12:00:00\n"
        "  event                    expected        observed             time\n"
        "! other node gone: MASTER  all active      12 active, 1 failed  1.01 s (95 %: 9.3 s)\n"
        "      failoverctl history show 131\n"
        "  MASTER lost: BACKUP      all at standby  12 standby           0.9 s (95 %: 2.5 s)\n"
        "  keepalived died          all at standby  1 standby            0.4 s\n"
        "! step timed out           retry succeeds  1 given up           -\n"
        "      failoverctl history show 81\n"
    )


def test_a_node_on_which_nothing_happened() -> None:
    assert shown("drill", answer(transitions=0)) == "  no transition\n  no fault has happened here yet\n"


def test_a_kind_of_a_later_daemon_is_shown_by_its_name() -> None:
    assert re.search(r"^  moon  +-  +2 full  +-$", shown("drill", answer(fault("moon", full=2))), re.MULTILINE)


@pytest.mark.parametrize("columns", [80, 200])
def test_on_a_terminal(daemon: FakeDaemon, columns: int) -> None:
    daemon.answers(HAPPENED)
    terminal = Terminal(["--socket", str(daemon.path), "drill"], columns=columns, TZ="UTC")
    try:
        assert terminal.end() == 0
        golden(f"drill_{columns}.txt", terminal)
    finally:
        terminal.close()


def test_markdown_is_a_table(daemon: FakeDaemon) -> None:
    daemon.answers(HAPPENED)
    done = at(daemon, "drill", "--markdown")
    assert (done.returncode, done.stderr) == (0, "")
    heading, empty, *table = done.stdout.splitlines()
    assert heading.startswith("# faults on left: 131 transitions since ")
    assert empty == ""
    assert table[:3] == [
        "| event | expected | observed | time |",
        "| --- | --- | --- | --- |",
        "| other node gone: MASTER | all active | 12 active, 1 failed (last: transition 131) | 1.01 s (95 %: 9.3 s) |",
    ]
    assert len(table) == 6
    assert daemon.asked == [{"version": 1, "verb": "drill"}]


def test_no_name_breaks_the_markdown() -> None:
    evil = "a | b\n<script>"
    text = drill._markdown(answer(fault(evil, full=2)) | {"node": evil}, (), NOW)
    assert r"| a \| b\\n&lt;script> | - |" in text
    assert "<script>" not in text


LEGS = (
    Leg("handover to right", "right active", "right active", 1.25, good=True),
    Leg("handover to left", "left active", "left: prefix: bird is not running", None, good=False),
)


def test_a_rehearsal_stands_above_the_table() -> None:
    action = drill.VERB.action
    assert isinstance(action, Request)
    text = plain(action.page(answer(transitions=0), Namespace(legs=LEGS), NOW))
    assert text.startswith(
        "  rehearsed now\n"
        "  event              expected      observed                           time\n"
        "  handover to right  right active  right active                       1.25 s\n"
        "! handover to left   left active   left: prefix: bird is not running  -\n"
    )


def test_a_rehearsal_is_in_the_document() -> None:
    text = drill._markdown(answer(transitions=0), LEGS, NOW)
    assert "| handover to right (now) | right active | right active | 1.25 s |\n" in text


def test_an_instance_is_for_a_rehearsal_only(daemon: FakeDaemon) -> None:
    done = at(daemon, "drill", "VI_1")
    assert done.returncode == 64
    assert "INSTANCE is for --live" in done.stderr


def test_markdown_without_a_fault_says_so() -> None:
    assert drill._markdown(answer(transitions=0), (), NOW) == "# no transition\n\nNo fault has happened here yet.\n"


def test_markdown_and_json_exclude_each_other(daemon: FakeDaemon) -> None:
    done = at(daemon, "drill", "--markdown", "--json")
    assert done.returncode == 64
    assert "--markdown and --json exclude each other" in done.stderr


def test_an_odd_answer_is_one_line(daemon: FakeDaemon) -> None:
    daemon.answers({"faults": [7]})
    for words in (("drill",), ("drill", "--markdown")):
        done = at(daemon, *words)
        assert done.returncode == 1
        assert "cannot show the answer" in done.stderr


@pytest.mark.parametrize("end", [KeyboardInterrupt(), Ended(2)])
def test_an_interrupted_rehearsal_says_how_to_end_it(monkeypatch: pytest.MonkeyPatch, end: BaseException) -> None:
    def there_and_back(*_: Any) -> None:
        raise end

    monkeypatch.setattr("failoverd.ctl.rehearsal.there_and_back", there_and_back)
    with pytest.raises(client.CtlError, match="another node may be active") as caught:
        drill._params(Namespace(live="handover", instance="VI_1", socket="/run/x"))
    assert caught.value.status == 130
    assert "failoverctl status --all" in caught.value.hint
