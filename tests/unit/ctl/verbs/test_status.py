"""``failoverctl status``: golden texts, and what counts as wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.ctl.verbs.pages import shown

Answer = dict[str, Any]
Status = Callable[..., Answer]

SINCE = "2026-11-21T03:12:00+00:00"


def resource(level: str, **more: Any) -> Answer:
    return {"driver": "xen", "level": level, "detail": "", "since": SINCE, **more}


def status_text(answer: Answer) -> str:
    return shown("status", answer)


def test_status_when_all_is_well(status: Status) -> None:
    assert status_text(status()) == (
        "  node left: healthy\n"
        "  failoverd 0.1.0; events: 41 accepted, 3 duplicate, 0 stale, 1 rejected\n"
        "\n"
        "  VI_1 ACTIVE 3 min ago (keepalived reports MASTER, target active)\n"
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
        "! VI_1 FAILED 3 min ago (keepalived reports MASTER, target active)\n"
        "! VI_1  reason    web: xl create exited 3\n"
        "  VI_1  vip       80.67.181.1/32  br-public  present\n"
        "! VI_1  resource  web             xen        FAILED   3 min ago  no such domain\n"
        "  VI_1  resource  vpn             xen        active   3 min ago\n"
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"phase": "refused", "reason": "no quorum"}, "! VI_1  reason    no quorum"),
        ({"phase": "unknown", "vrrp_state": None, "target": None}, "(keepalived reports no state, target none)"),
        ({"phase": "a phase of tomorrow"}, "! VI_1 A PHASE OF TOMORROW"),
        ({"resources": {"web": resource("standby")}}, "STANDBY  3 min ago  expected active"),
        ({"resources": {"web": resource("unknown", detail="xl hangs")}}, "UNKNOWN  3 min ago  expected active; xl"),
        ({"resources": {"web": resource("active", alarm="0004 from bird")}}, "ACTIVE   3 min ago  0004 from bird"),
        (
            {"phase": "standby", "target": "standby", "vrrp_state": "FAULT", "vips": [], "released": "web crashes"},
            "! VI_1  released  web crashes; to take back mastership: failoverctl reset VI_1",
        ),
        (
            {"rivals": [{"from": "2026-11-26T12:00:01+00:00", "to": "2026-11-26T12:01:03+00:00", "gave_way": True}]},
            "! VI_1  rival     this node was MASTER beside another from 2026-11-26 12:00:01 to 2026-11-26 12:01:03",
        ),
        (
            {"rivals": [{"from": "2026-11-26T12:00:01+00:00", "to": "2026-11-26T12:01:03+00:00", "gave_way": False}]},
            "! VI_1  rival     another node was MASTER from 2026-11-26 12:00:01 to 2026-11-26 12:01:03",
        ),
        (
            {
                "rivals": [
                    {
                        "from": "2026-11-26T12:00:01+00:00",
                        "to": "2026-11-26T12:01:03+00:00",
                        "gave_way": False,
                        "station": "02:00:00:00:00:02",
                        "address": "192.0.2.1",
                    }
                ]
            },
            "! VI_1  rival     another station (02:00:00:00:00:02) had 192.0.2.1 too from 2026-11-26 12:00:01",
        ),
        (
            {
                "rivals": [
                    {
                        "from": "2026-11-26T12:00:01+00:00",
                        "to": "2026-11-26T12:01:03+00:00",
                        "gave_way": False,
                        "peer": "right",
                    }
                ]
            },
            "! VI_1  rival     right was MASTER from 2026-11-26 12:00:01 to 2026-11-26 12:01:03",
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
        ({"alarm": "two nodes have it", "reason": "keepalived reported MASTER"}, "! VI_1  alarm     two nodes have it"),
        (
            {"vips": [{"address": "192.0.2.1/24", "interface": "eth0", "present": False}], "resources": {}},
            "! VI_1  vip  192.0.2.1/24  eth0  ABSENT    expected here: keepalived reports MASTER",
        ),
        (
            {
                "vips": [{"address": "::1/64", "interface": "a", "present": False, "detail": "is on b, not on a"}],
                "resources": {},
            },
            "! VI_1  vip  ::1/64  a  ABSENT    expected here: keepalived reports MASTER; is on b, not on a",
        ),
        (
            {
                "vrrp_state": "FAULT",
                "phase": "standby",
                "target": "standby",
                "vips": [{"address": "2001:db8::1/64", "interface": "eth0", "present": True}],
                "resources": {},
            },
            "! VI_1  vip  2001:db8::1/64  eth0  PRESENT    not expected here: keepalived reports FAULT",
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
        ({"phase": "promoting", "resources": {"web": resource("standby")}}, "node left: in transition: VI_1"),
        ({"vips": [{"address": "a", "interface": "b", "present": None}]}, "unknown"),
        ({"vips": None, "resources": None}, "VI_1 ACTIVE"),
    ],
)
def test_what_is_not_wrong_is_not_marked(status: Status, changed: Answer, said: str) -> None:
    text = status_text(status(**changed))
    assert said in text
    assert "!" not in text


def test_an_alarm_that_is_the_reason_is_said_once(status: Status) -> None:
    text = status_text(status(alarm="two nodes have it", reason="MASTER, but two nodes have it"))
    assert text.count("two nodes have it") == 1


def test_status_says_when_history_suffers_and_when_there_is_nothing(status: Status) -> None:
    text = status_text(status() | {"history": {"trouble": "disk full", "dropped": 7}})
    assert "history: disk full (7 entries lost)" in text
    assert "no instance is configured; edit failoverd.toml, then: systemctl reload failoverd" in status_text(
        {"node": "left"}
    )


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
    strays = [{"instance": name, "resource": "vm", "text": "vm is active, and no longer configured"} for name in "AB"]
    text = status_text(status() | {"strays": strays})
    assert text.splitlines()[0].endswith("NEEDS ATTENTION: A, B")
    assert "! stray     A: vm is active, and no longer configured\n" in text


def test_the_witnesses_are_shown_with_their_last_answer(status: Status) -> None:
    votes = {
        "icmp://192.0.2.254": {"granted": True, "said": "answered in 0.3 ms", "asked": SINCE},
        "tcp://192.0.2.9:22": {"granted": None, "said": "no answer within 1 s", "asked": SINCE},
    }
    lease = {"etcd://192.0.2.8:2379": {"granted": True, "said": "renewed by 192.0.2.8:2379 in 3 ms", "asked": SINCE}}
    answer = status(leases=lease) | {"quorum": {"need": 1, "asking": True, "witnesses": votes}}
    text = status_text(answer)
    assert "! node left: NEEDS ATTENTION: the witnesses\n" in text
    assert "  witness   icmp://192.0.2.254: answered in 0.3 ms, asked 3 min ago\n" in text
    assert "! witness   tcp://192.0.2.9:22: no answer within 1 s, asked 3 min ago\n" in text
    assert "VI_1  lease     etcd://192.0.2.8:2379: renewed by 192.0.2.8:2379 in 3 ms, asked 3 min ago\n" in text


def test_a_node_that_is_off_and_a_fencing_are_shown(status: Status) -> None:
    off = {"right": {"since": SINCE, "said": "fence_ipmilan: status 2"}}
    failed = {"asked": SINCE, "instance": "VI_1", "failed": 2, "said": "no connection", "running": False}
    begun = {"asked": SINCE, "instance": "VI_1", "failed": 0, "said": None, "running": True}
    text = status_text(status() | {"off": off, "fencings": {"center": failed, "third": begun}})
    on = "if it may be on again: failoverctl unfence right"
    assert f"! off       right, 3 min ago: fence_ipmilan: status 2; {on}\n" in text
    assert "! fencing   center: begun 3 min ago, for VI_1; failed (2): no connection\n" in text
    assert "fencing   third: begun 3 min ago, for VI_1; it runs\n" in text


def test_a_standby_asks_no_witness(status: Status) -> None:
    votes = {"tcp://192.0.2.9:22": {"granted": None, "said": "no answer within 1 s", "asked": SINCE}}
    text = status_text(status() | {"quorum": {"need": 1, "asking": False, "witnesses": votes}})
    assert "  node left: healthy\n" in text
    assert "  witnesses are asked when keepalived reports MASTER\n" in text


def peer(**changed: Any) -> Answer:
    """What status shows of the node right, and of what it has said."""
    word = {"word": "2026-11-21T03:14:59.9+00:00", "vrrp_state": "BACKUP", "phase": "standby", "rests": True}
    good = {"address": "192.0.2.2:5409", "word": word["word"], "silent": False, "heard": word["word"], "ignored": 0}
    return {"heartbeat": {"interval": 1.0, "peers": {"right": good | {"instances": {"VI_1": word}} | changed}}}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "  peer      right: 192.0.2.2:5409; heard just now\n"),
        (
            {"silent": True, "word": None, "heard": None, "instances": {}, "trouble": "nothing listens there"},
            "  peer      right: 192.0.2.2:5409; not heard yet; nothing listens there\n",
        ),
        (
            {"silent": True, "word": SINCE, "heard": SINCE},
            "  peer      right: 192.0.2.2:5409; silent since 03:12:00 (3 min ago)\n",
        ),
        (
            {"silent": True, "word": SINCE},
            "silent since 03:12:00 (3 min ago); its last datagram came just now, and it does not hear this node\n",
        ),
        (
            {"ignored": 7, "ignored_at": SINCE, "ignored_why": "it was signed with another key"},
            "heard just now; 7 datagrams ignored, the last 3 min ago: it was signed with another key\n",
        ),
    ],
)
def test_the_other_nodes_are_shown_as_they_are_heard(status: Status, changed: Answer, said: str) -> None:
    text = status_text(status() | peer(**changed))
    assert text.startswith("  node left: healthy\n"), "silence proves nothing"
    assert said in text


def test_what_the_other_nodes_say_is_shown_with_its_age(status: Status) -> None:
    word = {"word": SINCE, "vrrp_state": "MASTER", "phase": "refused", "rests": False, "refusal": "the data is old"}
    text = status_text(status() | peer())
    assert "VI_1  word      right says: BACKUP, standby, everything at standby, just now\n" in text
    text = status_text(status() | peer(instances={"VI_1": word, "VI_9": word}))
    said = "MASTER, refused, not everything at standby, refused: the data is old, 3 min ago"
    assert f"VI_1  word      right says: {said}\n" in text
    assert "VI_9" not in text
    kept = peer(instances={"VI_1": {"word": SINCE, "phase": "standby", "rests": True, "standby": True}})
    said = "no state, standby, everything at standby, kept in standby by an operator, 3 min ago"
    assert f"VI_1  word      right says: {said}\n" in status_text(status() | kept)
