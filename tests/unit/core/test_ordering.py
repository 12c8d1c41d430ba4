"""The order of what hooks and the FIFO tell, against a model of how keepalived tells it."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failoverd.core.ordering import Fork, Ordering, Verdict, later
from failoverd.core.words import VrrpState

MASTER, BACKUP, FAULT = VrrpState.MASTER, VrrpState.BACKUP, VrrpState.FAULT
STATES = st.sampled_from([MASTER, BACKUP, FAULT])
PID_MAX = 32_768


class Keepalived:
    """Makes changes one after another: forks a hook for each, then writes its line. Both are delivered later."""

    def __init__(self, pid: int) -> None:
        self.ordering = Ordering()
        self.now = 1_000
        self.pid = pid
        self.truth: list[VrrpState] = []
        self.hooks: list[tuple[int, int, int]] = []
        self.lines: list[int] = []
        self.unwritten: int | None = None
        self.accepted: list[int] = []
        self.known = -1
        self.read_at = 0

    def fork(self, state: VrrpState) -> None:
        self.write()
        self.pid = 300 if self.pid + 1 >= PID_MAX else self.pid + 1
        self.hooks.append((len(self.truth), self.now, self.pid))
        self.unwritten = len(self.truth)
        self.truth.append(state)

    def write(self) -> None:
        if self.unwritten is not None:
            self.lines.append(self.unwritten)
            self.unwritten = None

    def read_line(self) -> None:
        if self.lines:
            change = self.lines.pop(0)
            self.known = max(self.known, change)
            self.read_at = self.now
            if self.ordering.fifo("VI_1", self.truth[change], self.now) is Verdict.ACCEPTED:
                self.accepted.append(change)

    def read_all(self) -> None:
        while self.lines:
            self.read_line()

    def run_hook(self, index: int) -> None:
        if self.hooks:
            change, ticks, pid = self.hooks.pop(index % len(self.hooks))
            if ticks > self.read_at:
                self.known = max(self.known, change)
            if self.ordering.hook("VI_1", self.truth[change], ticks, pid) is Verdict.ACCEPTED:
                self.accepted.append(change)

    def lose_hook(self, index: int) -> None:
        if self.hooks:
            self.hooks.pop(index % len(self.hooks))

    def restart(self) -> None:
        newest = self.ordering.newest("VI_1")
        self.ordering = Ordering()
        if newest:
            self.ordering.restore(newest)

    def state(self) -> VrrpState | None:
        newest = self.ordering.newest("VI_1")
        return newest.state if newest else None


INDEX = st.integers(0, 1_000)
COMMON = [
    st.tuples(st.just("fork"), STATES),
    st.tuples(st.just("change"), STATES),
    st.tuples(st.just("hook"), INDEX),
    st.tuples(st.just("hook"), INDEX),
    st.tuples(st.just("lose"), INDEX),
    st.tuples(st.just("restart"), INDEX),
]
ANY_ORDER = st.lists(st.one_of(*COMMON, st.tuples(st.just("line"), INDEX)), min_size=12, max_size=40)
FIFO_FIRST = st.lists(st.one_of(*COMMON), min_size=12, max_size=40)
PIDS = st.one_of(st.integers(300, PID_MAX - 1), st.integers(PID_MAX - 5, PID_MAX - 1))


def act(keepalived: Keepalived, what: str, argument: Any) -> None:
    match what:
        case "fork":
            keepalived.fork(argument)
        case "change":
            keepalived.now += 1
            keepalived.fork(argument)
            keepalived.write()
        case "hook":
            keepalived.run_hook(argument)
        case "lose":
            keepalived.lose_hook(argument)
        case "line":
            keepalived.now += argument % 3
            keepalived.write()
            keepalived.read_line()
        case "restart":
            keepalived.restart()


@settings(max_examples=500)
@given(PIDS, ANY_ORDER, st.integers(0, 1_000))
def test_in_any_interleaving_the_last_state_told_is_the_last_true_one(
    pid: int, actions: list[tuple[str, Any]], seed: int
) -> None:
    keepalived = Keepalived(pid)
    for what, argument in actions:
        act(keepalived, what, argument)
    keepalived.write()
    random = Random(seed)  # noqa: S311 (a reproducible order, no secret)
    while keepalived.lines or keepalived.hooks:
        if random.random() < 0.5:
            keepalived.read_line()
        else:
            keepalived.run_hook(random.randrange(1_000))
    assert keepalived.state() is (keepalived.truth[-1] if keepalived.truth else None)


@settings(max_examples=500)
@given(PIDS, FIFO_FIRST, st.integers(0, 1_000))
def test_with_the_fifo_read_first_every_change_is_accepted_once_and_in_order(
    pid: int, actions: list[tuple[str, Any]], seed: int
) -> None:
    keepalived = Keepalived(pid)
    for what, argument in actions:
        keepalived.read_all()
        act(keepalived, what, argument)
        # Nobody could know more, but for a hook of the tick in which the last line was read: its line follows.
        assert keepalived.state() is (keepalived.truth[keepalived.known] if keepalived.known >= 0 else None)
    keepalived.write()
    keepalived.read_all()
    random = Random(seed)  # noqa: S311 (as above)
    while keepalived.hooks:
        keepalived.run_hook(random.randrange(1_000))
    assert keepalived.accepted == sorted(set(keepalived.accepted))
    assert keepalived.state() is (keepalived.truth[-1] if keepalived.truth else None)


@given(PIDS, st.lists(st.tuples(STATES, st.integers(0, 2)), min_size=1, max_size=30), st.data())
def test_with_hooks_alone_the_newest_fork_wins(
    pid: int, changes: list[tuple[VrrpState, int]], data: st.DataObject
) -> None:
    keepalived = Keepalived(pid)
    for state, gap in changes:
        keepalived.now += gap
        keepalived.fork(state)
    forks = [(ticks, number) for _, ticks, number in keepalived.hooks]
    accepted: Counter[tuple[int, int]] = Counter()
    told = data.draw(st.permutations(range(len(forks))))
    again = data.draw(st.lists(st.integers(0, len(forks) - 1), max_size=10))
    for position, index in enumerate([*told, *again]):
        if data.draw(st.booleans()):
            keepalived.restart()
        verdict = keepalived.ordering.hook("VI_1", changes[index][0], *forks[index])
        assert position < len(told) or verdict is not Verdict.ACCEPTED
        accepted[forks[index]] += verdict is Verdict.ACCEPTED
    assert keepalived.state() is changes[-1][0]
    assert max(accepted.values()) <= 1


def test_the_same_change_told_by_both_is_accepted_once() -> None:
    ordering = Ordering()
    assert ordering.fifo("VI_1", BACKUP, 100) is Verdict.ACCEPTED
    assert ordering.fifo("VI_1", MASTER, 200) is Verdict.ACCEPTED
    assert ordering.hook("VI_1", MASTER, 199, 12) is Verdict.DUPLICATE
    assert ordering.hook("VI_1", BACKUP, 99, 11) is Verdict.DUPLICATE
    assert ordering.hook("VI_1", FAULT, 50, 10) is Verdict.STALE


def test_a_hook_that_is_ahead_of_its_line_counts_and_the_line_is_the_duplicate() -> None:
    ordering = Ordering()
    assert ordering.fifo("VI_1", BACKUP, 100) is Verdict.ACCEPTED
    assert ordering.hook("VI_1", MASTER, 150, 12) is Verdict.ACCEPTED
    assert ordering.fifo("VI_1", MASTER, 150) is Verdict.DUPLICATE


def test_a_hook_handed_over_twice_counts_once() -> None:
    ordering = Ordering()
    assert ordering.hook("VI_1", MASTER, 100, 7) is Verdict.ACCEPTED
    assert ordering.hook("VI_1", BACKUP, 90, 6) is Verdict.STALE
    assert ordering.hook("VI_1", MASTER, 100, 7) is Verdict.DUPLICATE
    assert ordering.hook("VI_1", BACKUP, 90, 6) is Verdict.DUPLICATE


def test_a_state_told_again_makes_older_forks_stale() -> None:
    ordering = Ordering()
    assert ordering.hook("VI_1", MASTER, 100, 7) is Verdict.ACCEPTED
    assert ordering.hook("VI_1", MASTER, 300, 9) is Verdict.DUPLICATE
    assert ordering.hook("VI_1", BACKUP, 200, 8) is Verdict.STALE


def test_after_a_full_pipe_hooks_speak_for_themselves() -> None:
    ordering = Ordering()
    assert ordering.fifo("VI_1", BACKUP, 100) is Verdict.ACCEPTED
    # The pipe was full: the line of the BACKUP at 900 never got into it.
    assert ordering.fifo("VI_1", MASTER, None) is Verdict.ACCEPTED
    assert ordering.hook("VI_1", BACKUP, 900, 9) is Verdict.ACCEPTED
    assert ordering.hook("VI_1", MASTER, 800, 8) is Verdict.STALE


def test_instances_do_not_touch_each_other() -> None:
    ordering = Ordering()
    assert ordering.hook("VI_1", MASTER, 200, 8) is Verdict.ACCEPTED
    assert ordering.hook("VI_2", BACKUP, 100, 7) is Verdict.ACCEPTED
    assert len(ordering) == 2
    assert ordering.newest("VI_3") is None


def test_what_is_remembered_of_hooks_is_bounded() -> None:
    ordering = Ordering()
    for pid in range(1, 5_000):
        ordering.hook("VI_1", MASTER, pid, pid)
    assert len(ordering._reported["VI_1"].hooks) <= 512


@pytest.mark.parametrize(("one", "other"), [((1, 9), (2, 5)), ((1, 5), (1, 6)), ((1, 32_767), (1, 300))])
def test_forks_of_one_tick_are_told_apart_by_pid_across_its_wrap_around(one: Fork, other: Fork) -> None:
    assert later(other, one)
    assert not later(one, other)
    assert not later(one, one)


# Rule 4: the dead.


def said_by_fifo(*states: VrrpState) -> Ordering:
    ordering = Ordering()
    for ticks, state in enumerate(states, start=100):
        ordering.fifo("VI_1", state, ticks)
    return ordering


def state(ordering: Ordering) -> VrrpState | None:
    newest = ordering.newest("VI_1")
    assert newest is not None
    return newest.state


def test_the_word_of_a_dead_master_is_void_and_another_s_is_not() -> None:
    for word, left in ((MASTER, None), (BACKUP, BACKUP), (FAULT, FAULT)):
        ordering = said_by_fifo(word)
        ordering.died("VI_1", 200)
        assert state(ordering) is left


def test_a_master_counts_only_after_another_word_of_the_next_one() -> None:
    ordering = said_by_fifo(BACKUP)
    ordering.died("VI_1", 200)
    assert ordering.fifo("VI_1", MASTER, 210) is Verdict.STALE, "the dead one's, read late"
    assert state(ordering) is BACKUP
    assert ordering.fifo("VI_1", BACKUP, 211) is Verdict.DUPLICATE
    assert ordering.fifo("VI_1", MASTER, 212) is Verdict.ACCEPTED
    assert state(ordering) is MASTER


def test_what_the_next_one_said_before_the_death_was_known_counts() -> None:
    ordering = said_by_fifo(BACKUP, MASTER)
    ordering.died("VI_1", 150)
    verdicts = [ordering.fifo("VI_1", word, 210) for word in (FAULT, BACKUP, MASTER)]
    assert verdicts == [Verdict.ACCEPTED] * 3


def test_who_owns_the_addresses_needs_no_other_word() -> None:
    ordering = said_by_fifo(MASTER)
    ordering.died("VI_1", 200)
    assert ordering.fifo("VI_1", MASTER, 200, owner=True) is Verdict.STALE, "it was read before"
    assert ordering.fifo("VI_1", MASTER, 201, owner=True) is Verdict.ACCEPTED


def test_where_lines_may_be_lost_a_master_counts() -> None:
    ordering = said_by_fifo(BACKUP)
    ordering.died("VI_1", 200)
    assert ordering.fifo("VI_1", MASTER, None) is Verdict.ACCEPTED


def test_a_hook_counts_if_the_next_one_forked_it() -> None:
    ordering = Ordering()
    ordering.hook("VI_1", MASTER, 100, 1)
    ordering.died("VI_1", 200)
    assert ordering.hook("VI_1", BACKUP, 199, 2) is Verdict.STALE
    assert ordering.hook("VI_1", MASTER, 199, 3) is Verdict.STALE
    assert state(ordering) is None
    assert ordering.hook("VI_1", MASTER, 200, 4) is Verdict.ACCEPTED
    assert ordering.hook("VI_1", BACKUP, 200, 5) is Verdict.ACCEPTED


def test_a_hook_counts_also_where_its_line_did_not() -> None:
    ordering = said_by_fifo(BACKUP)
    ordering.died("VI_1", 200)
    ordering.fifo("VI_1", MASTER, 300)
    assert ordering.hook("VI_1", MASTER, 250, 7) is Verdict.ACCEPTED


def test_a_death_is_known_to_the_next_daemon() -> None:
    ordering = said_by_fifo(MASTER)
    ordering.died("VI_1", 200)
    newest = ordering.newest("VI_1")
    assert newest is not None
    restarted = Ordering()
    restarted.restore(newest)
    assert restarted.fifo("VI_1", MASTER, 300) is Verdict.STALE
    assert restarted.fifo("VI_1", BACKUP, 300) is Verdict.ACCEPTED
    assert restarted.newest("VI_1") is not None
    assert restarted.fifo("VI_1", MASTER, 300) is Verdict.ACCEPTED
