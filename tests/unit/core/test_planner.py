"""The plan that `failoverctl plan` shows."""

from __future__ import annotations

from failoverd.core import planner
from failoverd.core.spec import FORCED_STOP_S
from failoverd.core.words import Target
from tests.unit.core.world import config, resource


def test_the_schedule_is_in_order_and_its_worst_case_is_that_of_the_longest_path() -> None:
    spec = config(
        resource("route", "guest", timeout=1.0, retries=0),
        resource("guest", "disk", timeout=20.0, retries=0),
        resource("disk", timeout=10.0, retries=1, backoff=2.0),
        resource("ospf", timeout=5.0, retries=0),
    ).instances["VI_1"]
    steps, longest = planner.schedule(spec, Target.ACTIVE)
    assert [(s.wave, s.resource) for s in steps] == [(1, "disk"), (1, "ospf"), (2, "guest"), (3, "route")]
    assert longest == (10 + 2 + 10) + 20 + 1


def test_the_schedule_towards_standby_is_the_mirror() -> None:
    spec = config(
        resource("disk", stop_timeout=10.0, retries=0), resource("guest", "disk", stop_timeout=60.0, retries=0)
    ).instances["VI_1"]
    steps, longest = planner.schedule(spec, Target.STANDBY)
    assert [(s.wave, s.resource) for s in steps] == [(1, "guest"), (2, "disk")]
    assert longest == 10 + 60 + 2 * FORCED_STOP_S


def test_the_backoff_doubles_up_to_a_limit() -> None:
    spec = resource("disk", backoff=4.0)
    assert [planner.backoff(spec, n) for n in range(1, 6)] == [4, 8, 16, 30, 30]
