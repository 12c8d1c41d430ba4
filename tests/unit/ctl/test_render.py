"""What a person sees: golden texts, and what counts as wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from failoverd.ctl import render_history, render_plan, render_status, when
from failoverd.ctl.page import Page, clean, plain, terminal

Answer = dict[str, Any]
Status = Callable[..., Answer]

NOW = datetime(2026, 11, 21, 3, 15, tzinfo=UTC)
SINCE = "2026-11-21T03:12:00+00:00"


def resource(level: str, **more: Any) -> Answer:
    return {"driver": "xen", "level": level, "detail": "", "since": SINCE, **more}


def status_text(answer: Answer) -> str:
    return plain(render_status.page(answer, NOW))


def test_status_when_all_is_well(status: Status) -> None:
    assert status_text(status()) == (
        "  node left: all is as it should be\n"
        "  failoverd 0.1.0; events: 41 accepted, 3 duplicate, 0 stale, 1 rejected\n"
        "\n"
        "  VI_1 ACTIVE 3 min ago (keepalived says MASTER, target active)\n"
        "  VI_1  vip       80.67.181.1/32  br-public  present\n"
        "  VI_1  resource  prefix          bird       active   3 min ago  failover_metric = 100\n"
        "  VI_1  resource  web             xen        active   3 min ago  running\n"
    )


def test_status_of_a_failure(status: Status) -> None:
    resources = {"web": resource("failed", detail="no such domain"), "vpn": resource("active")}
    text = status_text(status(phase="failed", reason="web: xl create exited 3", resources=resources))
    assert text == (
        "! node left: NEEDS ATTENTION: VI_1\n"
        "  failoverd 0.1.0; events: 41 accepted, 3 duplicate, 0 stale, 1 rejected\n"
        "\n"
        "! VI_1 FAILED 3 min ago (keepalived says MASTER, target active)\n"
        "! VI_1  reason    web: xl create exited 3\n"
        "  VI_1  vip       80.67.181.1/32  br-public  present\n"
        "! VI_1  resource  web             xen        FAILED   3 min ago  no such domain\n"
        "  VI_1  resource  vpn             xen        active   3 min ago\n"
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"phase": "refused", "reason": "no quorum"}, "! VI_1  reason    no quorum"),
        ({"phase": "unknown", "vrrp_state": None, "target": None}, "(keepalived says nothing, target none)"),
        ({"phase": "a phase of tomorrow"}, "! VI_1 A PHASE OF TOMORROW"),
        ({"resources": {"web": resource("standby")}}, "STANDBY  3 min ago  should be active"),
        ({"resources": {"web": resource("unknown", detail="xl hangs")}}, "UNKNOWN  3 min ago  should be active; xl"),
        ({"resources": {"web": resource("active", alarm="0004 from bird")}}, "ACTIVE   3 min ago  0004 from bird"),
        (
            {"phase": "standby", "target": "standby", "vrrp_state": "FAULT", "vips": [], "released": "web crashes"},
            "! VI_1  released  web crashes; to take it back: failoverctl reset VI_1",
        ),
        (
            {"rivals": [{"from": "2026-11-26T12:00:01+00:00", "to": "2026-11-26T12:01:03+00:00", "gave_way": True}]},
            "! VI_1  rival     was MASTER from 2026-11-26 12:00:01 to 2026-11-26 12:01:03 beside another",
        ),
        (
            {"rivals": [{"from": "2026-11-26T12:00:01+00:00", "to": "2026-11-26T12:01:03+00:00", "gave_way": False}]},
            "! VI_1  rival     another MASTER was heard from 2026-11-26 12:00:01 to 2026-11-26 12:01:03",
        ),
        (
            {
                "phase": "standby",
                "target": "standby",
                "vrrp_state": "BACKUP",
                "vips": [],
                "resources": {"disk": resource("standby", detail="Secondary", obstacle="the data is old")},
            },
            "STANDBY  3 min ago  could not take over: the data is old; Secondary",
        ),
        (
            {"vips": [{"address": "192.0.2.1/24", "interface": "eth0", "present": False}], "resources": {}},
            "! VI_1  vip  192.0.2.1/24  eth0  ABSENT    should be here: keepalived says MASTER",
        ),
        (
            {
                "vrrp_state": "FAULT",
                "phase": "standby",
                "target": "standby",
                "vips": [{"address": "2001:db8::1/64", "interface": "eth0", "present": True}],
                "resources": {},
            },
            "! VI_1  vip  2001:db8::1/64  eth0  PRESENT    should not be here: keepalived says FAULT",
        ),
    ],
)
def test_what_is_wrong_is_marked_and_named_first(status: Status, changed: Answer, said: str) -> None:
    text = status_text(status(**changed))
    assert text.startswith("! node left: NEEDS ATTENTION: VI_1\n")
    assert said in text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"phase": "promoting", "resources": {"web": resource("standby")}}, "node left: moving: VI_1"),
        ({"vips": [{"address": "a", "interface": "b", "present": None}]}, "unknown"),
        ({"vips": None, "resources": None}, "VI_1 ACTIVE"),
    ],
)
def test_what_is_not_wrong_is_not_marked(status: Status, changed: Answer, said: str) -> None:
    text = status_text(status(**changed))
    assert said in text
    assert "!" not in text


def test_status_says_when_history_suffers_and_when_there_is_nothing(status: Status) -> None:
    text = status_text(status() | {"history": {"trouble": "disk full", "dropped": 7}})
    assert "history: disk full (7 entries lost)" in text
    assert "no instance is configured" in status_text({"node": "left"})


def test_status_says_when_the_log_suffers(status: Status) -> None:
    assert "log:" not in status_text(status() | {"log": {"trouble": None, "lost": 0}})
    text = status_text(status() | {"log": {"trouble": "journald has taken no line for 9 s", "lost": 7}})
    assert "log: journald has taken no line for 9 s; 7 lines lost since the start" in text
    assert "log: 7 lines lost" in status_text(status() | {"log": {"trouble": None, "lost": 7}})


def test_trouble_around_failoverd_itself_needs_attention(status: Status) -> None:
    trouble = {"about": "record last", "text": "last cannot be written", "since": "2026-01-01T00:00:00.000+00:00"}
    text = status_text(status() | {"troubles": [trouble]})
    assert text.splitlines()[0].endswith("NEEDS ATTENTION: failoverd itself")
    assert "! trouble   last cannot be written\n" in text
    assert "NEEDS ATTENTION" in status_text(status() | {"troubles": [trouble], "instances": {}})


def test_a_stray_needs_attention_whether_or_not_its_instance_is_still_there(status: Status) -> None:
    strays = [{"instance": name, "resource": "vm", "text": "vm is active, and is no longer followed"} for name in "AB"]
    text = status_text(status() | {"strays": strays})
    assert text.splitlines()[0].endswith("NEEDS ATTENTION: A, B")
    assert "! stray     A: vm is active, and is no longer followed\n" in text


def test_history_is_a_table_newest_first(transition: Answer) -> None:
    older = transition | {"id": 9, "outcome": "standby", "target": "standby", "reason": ""}
    oldest = transition | {"id": 8, "outcome": "interrupted", "ended": None, "reason": ""}
    text = plain(render_history.page({"transitions": [transition, older, oldest]}, NOW))
    assert text == (
        "  id   started              instance  target   outcome      took    why\n"
        "! 118  2026-11-21 03:11:57  VI_1      active   failed       3.33 s  MASTER by fifo: web did not start\n"
        "  9    2026-11-21 03:11:57  VI_1      standby  standby      3.33 s  MASTER by fifo\n"
        "  8    2026-11-21 03:11:57  VI_1      active   interrupted  -       MASTER by fifo\n"
    )
    assert plain(render_history.page({"transitions": []}, NOW)) == "  no transition has been recorded\n"


def test_one_transition_with_its_steps(transition: Answer) -> None:
    assert plain(render_history.page_of_one(transition, NOW)) == (
        "! transition 118: VI_1 to active failed\n"
        "  why      MASTER by fifo\n"
        "! result   web did not start\n"
        "  started  2026-11-21 03:11:57 (3 min ago)\n"
        "  ended    2026-11-21 03:12:00 (took 3.33 s)\n"
        "  after    resource  verb      outcome  took    detail\n"
        "  +0 s     prefix    activate  done     0.24 s  failover_metric = 100\n"
        "      birdc configure check\n"
        "      birdc configure confirm\n"
        "  +0.24 s  web       activate  running  -\n"
    )
    assert "steps    none" in plain(render_history.page_of_one({"id": 1}, NOW))


def test_a_plan_is_commands_in_order(plan: Answer) -> None:
    assert plain(render_plan.page(plan)) == (
        "  plan: VI_1 to active, at worst 2 min; nothing has been run\n"
        "  steps of one wave run side by side; each also waits for what it needs\n"
        "  wave  resource  driver  verb      at worst      after\n"
        "  1     vpn-disk  drbd    activate  30 s          -\n"
        "      drbdadm primary vpn\n"
        "  2     vpn       xen     activate  1 min 30 s    vpn-disk\n"
        "      xl create /etc/xen/vpn.cfg\n"
        "      xl list vpn\n"
        "  2     prefix    bird    activate  done already  -\n"
    )
    assert "nothing to do" in plain(render_plan.page(plan | {"steps": []}))


def pages(status: Answer, transition: Answer, plan: Answer) -> list[Page]:
    return [
        render_status.page(status, NOW),
        render_history.page({"transitions": [transition]}, NOW),
        render_history.page_of_one(transition, NOW),
        render_plan.page(plan),
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminal_shows_the_same_words(
    status: Status, transition: Answer, plan: Answer, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for page in pages(status(phase="failed"), transition, plan):
        drawn = terminal(page, width)
        assert "\x1b[" in drawn
        bare = re.sub(r"\x1b\[[0-9;]*m", "", drawn)
        assert bare.split() == re.sub(r"(?m)^[! ] (VI_1  )?", "", plain(page)).split()


def test_a_terminal_never_breaks_a_command(plan: Answer) -> None:
    plan["steps"][0]["commands"] = ["drbdadm " + "very-long-name " * 20]
    assert plan["steps"][0]["commands"][0].strip() in terminal(render_plan.page(plan), 60)


def test_no_color_is_heeded(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in terminal(render_status.page(status(), NOW), 80)
    assert "\x1b[32m" not in terminal(render_status.page(status(), NOW), 80)


def test_what_a_tool_printed_cannot_drive_the_terminal(status: Status) -> None:
    evil = resource("active", detail="[red]a\x1b[2J\nb\u202e\udcff")
    page = render_status.page(status(resources={"web": evil}), NOW)
    for text in (plain(page), terminal(page, 200)):
        assert r"[red]a\x1b[2J\nb\u202e\udcff" in text
        assert "\x1b[2J" not in text
    assert clean("plain é") == "plain é"


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (0.5, "just now"),
        (42.9, "42 s ago"),
        (3 * 60 + 59, "3 min ago"),
        (2 * 3600 + 300, "2 h 5 min ago"),
        (2 * 3600, "2 h ago"),
        (26 * 3600 + 60, "26 h ago"),
        (3 * 86400 + 5, "3 days ago"),
        (-60, "2026-11-21 03:16:00"),
    ],
)
def test_ages(ago: float, said: str) -> None:
    assert when.age((NOW - timedelta(seconds=ago)).isoformat(), NOW) == said


@pytest.mark.parametrize(
    ("stamp", "said"), [(None, "-"), ("", "-"), ("yesterday", "yesterday"), ("2026-11-21", "2026-11-21"), (7, "7")]
)
def test_times_that_say_nothing(stamp: Any, said: str) -> None:
    assert when.age(stamp, NOW) == said
    assert when.clock(stamp, UTC) == said
    assert when.took(stamp, stamp) == "-"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.126, "0.13 s"),
        (30.0, "30 s"),
        (59.999, "1 min"),
        (90, "1 min 30 s"),
        (3900, "1 h 5 min"),
        ("x", "-"),
    ],
)
def test_spans(seconds: Any, said: str) -> None:
    assert when.span(seconds) == said
