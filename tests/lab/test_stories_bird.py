"""Stories of bird: dead, back, and with a configuration that somebody broke."""

import re
from functools import partial

import pytest

from . import told
from .lab import Lab
from .profiles import ACTIVE_METRIC, STANDBY_METRIC, NodeName

# The most often that a resource may be looked at.
_WATCHFUL = {"extra_config": '\n[node]\ncheck_interval = "10s"\n'}
_NOTICED_SECONDS = 30.0

_AT_FIRST: dict[NodeName, int] = {"left": ACTIVE_METRIC, "right": STANDBY_METRIC, "center": STANDBY_METRIC}


@pytest.mark.parametrize("hosting", [_WATCHFUL], indirect=True, ids=["watchful"])
def test_bird_dead_and_back_has_the_right_metric_at_once_and_is_noticed(hosting: Lab) -> None:
    active, standby = hosting.left, hosting.center
    for node in (active, standby):
        node.systemctl("stop", "bird.service")
    hosting.wait_for_metrics({"right": STANDBY_METRIC})
    hosting.wait_for(
        "failoverd says on both nodes that bird is not running",
        lambda: [told.instance(node)["resources"]["prefix"]["detail"] for node in (active, standby)],
        until=lambda details: all("bird is not running" in detail for detail in details),
        within=_NOTICED_SECONDS,
    )
    failed = hosting.wait_for_phase("left", "failed")
    assert "bird is not running" in failed["reason"]
    assert told.phase(standby) == "standby"

    for node in (active, standby):
        node.systemctl("start", "bird.service")
    for node in (active, standby):
        first = hosting.wait_for(f"{node.name} announces again", partial(_metric, hosting, node.name), within=15)
        assert first == _AT_FIRST[node.name]
    hosting.wait_until_served_by("left")
    hosting.wait_until_answered_by("left")
    hosting.wait_for_phase("left", "active", within=_NOTICED_SECONDS)
    hosting.wait_for(
        "failoverd says that bird is back on the standby node",
        lambda: told.instance(standby)["resources"]["prefix"]["detail"],
        until=lambda detail: detail == f"failover_metric = {STANDBY_METRIC}",
        within=_NOTICED_SECONDS,
    )


def test_bird_killed_on_the_master_comes_back_with_the_masters_metric(hosting: Lab) -> None:
    pid = _bird(hosting)
    hosting.left.systemctl("kill", "--signal=KILL", "--kill-whom=main", "bird.service")
    # Debian's unit restarts it.
    hosting.wait_for(
        "another bird runs on left", lambda: _bird(hosting), until=lambda new: new not in {"0", pid}, within=10
    )
    first = hosting.wait_for(
        "left announces, and its session is new",
        lambda: _metrics(hosting).get("left") if "left" in hosting.upstream.bgp_sessions() else None,
        within=15,
    )
    assert first == ACTIVE_METRIC
    hosting.wait_for_metrics(_AT_FIRST)
    hosting.wait_until_answered_by("left")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("etc/bird/bird.conf", r"/etc/bird/bird\.conf:\d+:\d+ "),
        ("etc/bird/failoverd.conf", r"/etc/bird/failoverd\.conf: was not written by failoverd"),
    ],
    ids=["bird.conf", "include"],
)
def test_a_broken_configuration_is_refused_and_costs_nothing_but_the_change(hosting: Lab, file: str, said: str) -> None:
    broken = hosting.right.disk / file
    whole = broken.read_text(encoding="utf-8")
    damaged = f"{whole}\nthis is no configuration;\n"
    broken.write_text(damaged, encoding="utf-8")
    since = hosting.upstream.ask("show protocols right")
    hosting.left.kill()
    failed = hosting.wait_for_phase("right", "failed")
    assert re.search(said, failed["reason"])
    # The session is the one that there was, and what is announced is what was announced.
    assert hosting.upstream.ask("show protocols right") == since
    assert _metrics(hosting)["right"] == STANDBY_METRIC
    assert broken.read_text(encoding="utf-8") == damaged

    broken.write_text(whole, encoding="utf-8")
    hosting.right.systemctl("restart", "keepalived.service")
    hosting.wait_for_metrics({"right": STANDBY_METRIC, "center": ACTIVE_METRIC})
    hosting.wait_for_phase("right", "standby")
    hosting.center.kill()
    hosting.wait_for_metrics({"right": ACTIVE_METRIC})
    hosting.wait_until_answered_by("right")
    assert hosting.upstream.ask("show protocols right") == since


def _metrics(lab: Lab) -> dict[NodeName, int]:
    return lab.upstream.route_metrics(lab.profile.prefixes[0])


def _metric(lab: Lab, name: NodeName) -> int | None:
    return _metrics(lab).get(name)


def _bird(lab: Lab) -> str:
    return lab.left.systemctl("show", "--property=MainPID", "--value", "bird.service").stdout.strip()
