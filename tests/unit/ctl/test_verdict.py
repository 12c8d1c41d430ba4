"""The verdict across nodes: never one that the answers do not prove."""

from __future__ import annotations

from typing import Any

import pytest

from failoverd.ctl.verdict import Grade, readable, verdict

Answer = dict[str, Any]


def instance(phase: str = "standby", *, vip: bool | None = False, reason: str = "", **levels: str) -> Answer:
    return {
        "phase": phase,
        "reason": reason,
        "vips": [{"address": "192.0.2.1/32", "interface": "eth0", "present": vip}],
        "resources": {name: {"level": level} for name, level in (levels or {"web": "standby"}).items()},
    }


def answer(node: str, found: Answer | None, **more: Any) -> Answer:
    return {"node": node, "version": "0.2.0", "instances": {"VI_1": found} if found is not None else {}, **more}


ACTIVE = instance("active", vip=True, web="active")


def judged(*missing: str, **found: Answer | None) -> tuple[Grade, str]:
    answers = {node: answer(node, each) for node, each in found.items()}
    return tuple(verdict("VI_1", answers, missing))  # type: ignore[return-value]


def test_exactly_one() -> None:
    assert judged(left=ACTIVE, right=instance()) == (Grade.GOOD, "exactly one active: left")
    lacking = ACTIVE | {"degraded": ["web"]}
    assert judged(left=lacking, right=instance()) == (Grade.BAD, "exactly one active: left, without web")


@pytest.mark.parametrize(
    ("doubtful", "why"),
    [
        (instance("unknown"), "right is in phase unknown"),
        (instance(vip=None), "192.0.2.1/32 on right is unknown"),
        (instance(web="unknown"), "web on right is unknown"),
        (instance("failed", web="failed"), "web on right is failed"),
    ],
)
def test_a_doubt_on_another_node_is_a_doubt(doubtful: Answer, why: str) -> None:
    grade, text = judged(left=ACTIVE, right=doubtful)
    assert grade is Grade.BAD
    assert text.startswith(f"cannot tell, because {why}. As far as is known: left is active, right is ")


def test_a_node_without_an_answer_is_no_standby() -> None:
    grade, text = judged("center", left=ACTIVE, right=instance())
    assert grade is Grade.BAD
    assert text == ("cannot tell, because center gave no answer. As far as is known: left is active, right is standby")
    assert judged("b", "c", "d", left=instance())[1].startswith("cannot tell, because b, c and d gave no answer.")
    assert judged("center", left=instance())[1].startswith("cannot tell, because center gave no answer.")


def test_two_are_two_whoever_else_does_not_answer() -> None:
    assert judged("center", left=ACTIVE, right=instance("active", vip=False, vpn="active")) == (
        Grade.BAD,
        "two nodes serve it: left (active: 192.0.2.1/32, web), right (active: vpn)",
    )
    assert judged(a=ACTIVE, b=ACTIVE, c=ACTIVE)[1].startswith("3 nodes serve it: a (active: 192.0.2.1/32, web), b (")


def test_a_failed_node_that_serves_is_the_second() -> None:
    assert judged(left=ACTIVE, right=instance("failed", vpn="active"))[1] == (
        "two nodes serve it: left (active: 192.0.2.1/32, web), right (failed: vpn)"
    )
    assert judged(left=instance("active", vip=False), right=instance("standby", vip=True))[1] == (
        "two nodes serve it: left (active: no VIP and no resource), right (standby: 192.0.2.1/32)"
    )


def test_a_handover_is_no_double() -> None:
    promoting = instance("promoting", vip=True, web="standby")
    assert judged(left=instance("demoting", web="active"), right=promoting) == (
        Grade.BUSY,
        "in transition: left (demoting: web), right (promoting: 192.0.2.1/32)",
    )
    both = instance("demoting", vip=True, web="active")
    assert judged(left=both, right=promoting)[0] is Grade.BAD


def test_nobody() -> None:
    assert judged(left=instance(), right=instance("refused", vip=True, reason="no quorum")) == (
        Grade.BAD,
        "nobody is active: left is standby, right is refused (no quorum); right has 192.0.2.1/32",
    )
    assert judged(left=instance(), right=instance("promoting"))[0] is Grade.BUSY
    assert judged(left=instance("failed", web="failed"), right=instance())[1].startswith("nobody is active: left")


def test_an_instance_that_a_node_does_not_have() -> None:
    assert judged(left=ACTIVE, right=None)[1] == "exactly one active: left"
    stray = {"instance": "VI_1", "resource": "web", "level": "active"}
    answers = {"left": answer("left", ACTIVE), "right": answer("right", None, strays=[stray])}
    assert verdict("VI_1", answers, ()).text == (
        "two nodes serve it: left (active: 192.0.2.1/32, web), right (without it in its configuration: web (stray))"
    )
    stray["level"] = "unknown"
    assert verdict("VI_1", answers, ()).text.startswith("cannot tell, because web (stray) on right is unknown.")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"node": 1, "instances": {}},
        {"node": "right", "instances": []},
        {"node": "right", "instances": {"VI_1": None}},
        {"node": "right", "instances": {"VI_1": {"phase": "active"}}},
        {"node": "right", "instances": {"VI_1": instance() | {"vips": [7]}}},
        {"node": "right", "instances": {"VI_1": instance() | {"resources": {"web": "active"}}}},
    ],
)
def test_an_answer_of_another_format_is_not_judged(wrong: Answer) -> None:
    assert readable(wrong)
    assert readable(answer("right", instance())) is None
