"""A transition as a timeline: its bars, its waits, and its critical path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from failoverd.core.words import WaitFor
from failoverd.ctl import page_rich, timeline
from failoverd.ctl.page import Block, Drawing, plain
from tests.unit.ctl.transitions import at, partial, step, wait
from tests.unit.ctl.verbs.pages import page

NOW = datetime.fromisoformat(at(30))


def made(steps: Sequence[Any], waits: Sequence[Any] = (), **more: Any) -> timeline.Timeline:
    told = {"started": at(0), "ended": at(10), "outcome": "active", "steps": steps, "waits": waits, **more}
    return timeline.timeline(told, NOW)


def path(*told: Any) -> list[tuple[str, float]]:
    return [(bar.resource, bar.start) for bar in made(*told).path]


def drawn(shown: timeline.Timeline) -> list[str]:
    drawing = Drawing(draw=lambda width, utf8: timeline.lines(shown, width, utf8=utf8))
    return plain((drawing,)).splitlines()


def test_the_critical_path_leads_back_from_the_step_that_ended_last() -> None:
    shown = timeline.timeline(partial(), NOW)
    assert [(bar.resource, bar.start) for bar in shown.path][:4] == [
        ("web-disk", 0.42),
        ("web-disk", 1.92),
        ("web", 2.45),
        ("prefix", 15.6),
    ]
    assert [bar.critical for bar in shown.bars] == [True, False, False, True, True, True, True, False]
    assert timeline.path_text(shown).startswith("web-disk (2 attempts) > web > prefix > hook")


def test_only_waits_between_the_steps_of_the_path_are_on_it() -> None:
    critical = [
        (bar.resource, w.kind) for bar in timeline.timeline(partial(), NOW).path for w in bar.waits if w.critical
    ]
    assert critical == [("web-disk", "vip"), ("web-disk", "retry"), ("prefix", "room"), ("prefix", "check")]


def test_a_step_that_waited_for_nothing_begins_the_path() -> None:
    assert path([step("a", 0.01, 2), step("b", 0.01, 5)]) == [("b", 0.01)]


def test_of_two_needed_resources_the_later_is_critical() -> None:
    steps = [step("a", 0, 2), step("b", 0, 3), step("c", 3.01, 5)]
    assert path(steps, [wait("c", "resource", 0, 3.01, "a", "b")]) == [("b", 0.0), ("c", 3.01)]


def test_a_step_follows_its_own_failure_after_a_retry() -> None:
    steps = [step("a", 0, 1, "failed"), step("b", 0, 1.5), step("a", 2, 4)]
    assert path(steps, [wait("a", "retry", 1, 2)]) == [("a", 0.0), ("a", 2.0)]


def test_room_comes_from_the_step_that_ended_before() -> None:
    steps = [step("a", 0, 1), step("b", 0, 1.5), step("c", 1.5, 4)]
    assert path(steps, [wait("c", "room", 0, 1.5)]) == [("b", 0.0), ("c", 1.5)]


def test_a_daemon_that_keeps_no_waits_shows_steps_that_follow_one_another() -> None:
    told = {"started": at(0), "ended": at(5), "outcome": "active", "steps": [step("a", 0, 2), step("b", 2.02, 5)]}
    assert [bar.resource for bar in timeline.timeline(told, NOW).path] == ["a", "b"]


def test_a_transition_that_runs_lasts_until_now() -> None:
    shown = made([step("a", 0, None, None)], ended=None, outcome=None)
    assert (shown.total, shown.bars[0].outcome, shown.bars[0].end) == (30.0, "running", 30.0)


def test_one_that_was_interrupted_lasts_until_its_last_step_ended() -> None:
    shown = made([step("a", 0, 4), step("b", 0, None, "interrupted")], ended=None, outcome="interrupted")
    assert (shown.total, [bar.end for bar in shown.bars]) == (4.0, [4.0, 4.0])


def test_a_resource_that_only_waited_has_a_bar_without_a_step() -> None:
    shown = made([step("a", 0, 1, "failed")], [wait("b", "resource", 0, 1, "a")])
    assert [(bar.resource, bar.outcome, [w.text(shown.total) for w in bar.waits]) for bar in shown.bars] == [
        ("a", "failed", []),
        ("b", "", ["1 s for a"]),
    ]


def test_an_unknown_kind_of_wait_is_shown() -> None:
    shown = made([step("a", 1, 2)], [wait("a", "moon", 0, 1)])
    assert "??????" in "".join(drawn(shown))
    assert shown.bars[0].waits[0].text(shown.total) == "1 s for moon"


def test_an_unknown_outcome_cannot_drive_the_terminal() -> None:
    assert drawn(made([step("a", 1, 2, "\x1b[2J")]))[1].endswith(r"  \x1b[2J")


def test_a_transition_without_duration_has_one_time_on_its_axis() -> None:
    assert drawn(made([step("a", 0, 0)], ended=at(0)))[0].split() == ["0", "ms"]


def test_below_a_second_every_time_is_in_milliseconds() -> None:
    axis, *bars, _ = drawn(made([step("a", 0.002, 0.012), step("b", 0.012, 0.02)], ended=at(0.02)))
    assert re.findall(r"[\d.]+ \w+", axis) == ["0 ms", "5 ms", "10 ms", "15 ms", "20 ms"]
    assert [bar.split("  ")[-2].strip() for bar in bars] == ["10 ms", "8 ms"]


def test_without_a_step_nothing_is_called_a_critical_path() -> None:
    *_, legend = drawn(made([], [wait("a", "vip", 0, 10)]))
    assert legend == "      waiting for:  v the VIP"


def test_the_picture_in_a_pipe() -> None:
    drawing = page("history show", partial())[1]
    assert isinstance(drawing, Drawing)
    assert plain((drawing,)).splitlines() == PIPE.splitlines()[1:]


@pytest.mark.parametrize(("width", "utf8"), [(80, True), (80, False), (200, True)])
def test_the_picture_fits_a_terminal(width: int, utf8: bool) -> None:
    shown = page("history show", partial())
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", page_rich.draw((shown[1],), width, utf8=utf8))
    lines = drawn.splitlines()
    assert max(map(len, lines)) <= width
    assert max(map(len, lines)) > width - 4
    assert drawn.isascii() is not utf8
    assert sum(line.startswith("  * ") for line in lines) == 5


def test_below_the_picture_are_the_waits_and_commands_of_each_step() -> None:
    table = page("history show", partial())[2]
    assert isinstance(table, Block)
    assert [[cell.text for cell in row.below] for row in table.rows[3:5]] == [
        ["# waited 1 s for a retry", "drbdadm primary web"],
        ["# waited 0.42 s for the VIP", "# waited 2.03 s for web-disk", "xl create /etc/xen/web.cfg", "xl list -v"],
    ]


PIPE = r"""
                     0 s                 5.8 s               11.6 s         17.4 s
! * web-disk         v##                                                             0.48 s  failed
    mail-disk        v=                                                              0.19 s  done
!   mail             v.===================                                           5.45 s  failed
  * web-disk            rrr##                                                        0.48 s  done
  * web              v.......############################################           12.45 s  done
  * prefix           v...................................................pp#         0.11 s  done
  * hook <b>&\x1b[2J v......................................................######   1.63 s  done
    mail                                  rrr                                                no step
      # critical path  = other step
      waiting for:  . another resource  v the VIP  p room  r a retry  c a check
"""


def test_every_kind_of_wait_has_its_sign() -> None:
    assert set(timeline.WAITS) == {each.value for each in WaitFor}
