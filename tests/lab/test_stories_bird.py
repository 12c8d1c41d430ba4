"""Stories of bird: dead, back, and with a configuration that somebody broke."""

import re
from functools import partial
from typing import Any

import pytest

from . import status_client
from .demo import GUEST
from .lab import Lab
from .node import Node
from .profiles import ACTIVE_METRIC, STANDBY_METRIC, NodeName

# Nobody looks by the clock: what is noticed is status_client.
_NOBODY_LOOKS = '\n[node]\ncheck_interval = "1h"\n'
_UNASKED = {"extra_config": _NOBODY_LOOKS}
_NOTICED_SECONDS = 30.0
# bird tells a time from a clock that it reads anew: the same one may differ by a millisecond. Another session is whole
# seconds younger.
_ROUNDING_SECONDS = 0.5

_AT_FIRST: dict[NodeName, int] = {"left": ACTIVE_METRIC, "right": STANDBY_METRIC, "center": STANDBY_METRIC}


@pytest.mark.parametrize("hosting", [_UNASKED], indirect=True, ids=["unasked"])
def test_bird_dead_and_back_has_the_right_metric_at_once_and_is_noticed(hosting: Lab) -> None:
    active, standby = hosting.left, hosting.center
    for node in (active, standby):
        node.systemctl("stop", "bird.service")
    hosting.wait_for_metrics({"right": STANDBY_METRIC})
    hosting.wait_for(
        "failoverd says on both nodes that bird is not running",
        lambda: [status_client.instance(node)["resources"]["prefix"]["detail"] for node in (active, standby)],
        until=lambda details: all("bird is not running" in detail for detail in details),
        within=_NOTICED_SECONDS,
    )
    failed = hosting.wait_for_phase("left", "failed")
    assert "bird is not running" in failed["reason"]
    assert status_client.phase(standby) == "standby"

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
        lambda: status_client.instance(standby)["resources"]["prefix"]["detail"],
        until=lambda detail: detail == f"failover_metric = {STANDBY_METRIC}",
        within=_NOTICED_SECONDS,
    )


@pytest.mark.parametrize("hosting", [{"extra_config": GUEST + _NOBODY_LOOKS}], indirect=True, ids=["unasked"])
def test_a_session_and_a_service_that_die_are_noticed(hosting: Lab) -> None:
    for node in (hosting.left, hosting.center):
        node.run(["birdc", "disable", "upstream"])
    hosting.wait_for(
        "failoverd says on both nodes that the session is down",
        lambda: [_prefix(hosting.left)["alarm"], _prefix(hosting.center)["obstacle"]],
        until=lambda both: all("upstream is not up (down; birdc show" in (said or "") for said in both),
        within=_NOTICED_SECONDS,
    )
    assert [status_client.phase(hosting.left), status_client.phase(hosting.center)] == ["active", "standby"]
    for node in (hosting.left, hosting.center):
        node.run(["birdc", "enable", "upstream"])
    hosting.wait_for(
        "nothing is said of a session any more",
        lambda: [_prefix(hosting.left), _prefix(hosting.center)],
        until=lambda both: not any(one["alarm"] or one["obstacle"] for one in both),
        within=_NOTICED_SECONDS,
    )

    before = hosting.left.systemctl("show", "--property=InvocationID", "vpn.service").stdout
    hosting.left.systemctl("kill", "--signal=KILL", "vpn.service")
    hosting.wait_for(
        "the service was started again",
        lambda: hosting.left.systemctl("show", "--property=InvocationID", "--property=SubState", "vpn.service").stdout,
        until=lambda now: before not in now and "SubState=running" in now,
        within=_NOTICED_SECONDS,
    )
    hosting.wait_for_phase("left", "active")


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
    since = hosting.upstream.session_changed("right")
    hosting.left.kill()
    failed = hosting.wait_for_phase("right", "failed")
    assert re.search(said, failed["reason"])
    # The session is the one that there was, and what is announced is what was announced.
    assert hosting.upstream.session_changed("right") == pytest.approx(since, rel=0, abs=_ROUNDING_SECONDS)
    assert _metrics(hosting)["right"] == STANDBY_METRIC
    assert broken.read_text(encoding="utf-8") == damaged

    broken.write_text(whole, encoding="utf-8")
    hosting.right.systemctl("restart", "keepalived.service")
    hosting.wait_for_metrics({"right": STANDBY_METRIC, "center": ACTIVE_METRIC})
    hosting.wait_for_phase("right", "standby")
    hosting.center.kill()
    hosting.wait_for_metrics({"right": ACTIVE_METRIC})
    hosting.wait_until_answered_by("right")
    assert hosting.upstream.session_changed("right") == pytest.approx(since, rel=0, abs=_ROUNDING_SECONDS)


def _prefix(node: Node) -> dict[str, Any]:
    return dict(status_client.instance(node)["resources"]["prefix"])


def _metrics(lab: Lab) -> dict[NodeName, int]:
    return lab.upstream.route_metrics(lab.profile.prefixes[0])


def _metric(lab: Lab, name: NodeName) -> int | None:
    return _metrics(lab).get(name)


def _bird(lab: Lab) -> str:
    return lab.left.systemctl("show", "--property=MainPID", "--value", "bird.service").stdout.strip()
