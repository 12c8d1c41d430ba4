"""What two nodes may believe of each other, whatever the network does with what they send."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from failoverd.ports.heartbeat import datagram
from failoverd.ports.heartbeat.datagram import Unusable, Word
from failoverd.ports.heartbeat.link import Heard, Link, Words

KEY = b"k" * 44


class Pair:
    """Two nodes, with a clock for both that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sessions = iter(range(1, 10**6))
        self.words = {"left": Words(), "right": Words()}
        self.links = {"left": self.made("left"), "right": self.made("right")}

    def made(self, name: str) -> Link:
        other = "right" if name == "left" else "left"
        return Link(name, other, key=KEY, session=next(self.sessions), words=self.words[name])

    def reboot(self, name: str) -> None:
        self.words[name] = Words()
        self.links[name] = self.made(name)

    def beat(self, name: str) -> list[bytes]:
        self.now += 1.0
        return self.links[name].beat(self.now)

    def talk(self, rounds: int = 4) -> list[Heard]:
        """Both beat, and answer. Returns what `left` has heard."""
        heard: list[Heard] = []
        for _ in range(rounds):
            for sender, receiver in (("right", "left"), ("left", "right")):
                for data in self.beat(sender):
                    got = self.links[receiver].hear(data)
                    if receiver == "left":
                        heard.append(got)
        return heard


@pytest.fixture
def pair() -> Pair:
    return Pair()


def words_of(heard: list[Heard]) -> dict[str, Word]:
    return {name: word for each in heard if each.at is not None for name, word in each.words}


def test_a_word_counts_from_the_time_at_which_it_was_asked_for(pair: Pair) -> None:
    pair.words["right"].put("VI_1", b"rests")
    pair.talk()
    asked = pair.now + 1.0
    pair.links["right"].hear(*pair.beat("left"))
    (heard,) = (pair.links["left"].hear(data) for data in pair.beat("right"))
    assert (heard.at, heard.whole) == (asked, True)


def test_a_first_datagram_proves_nothing(pair: Pair) -> None:
    pair.words["right"].put("VI_1", b"rests")
    heard = pair.links["left"].hear(*pair.beat("right"))
    assert heard == Heard(asks=True), "it may be a replay, and the other node is asked"


def test_two_that_have_just_started_know_all_after_three_datagrams(pair: Pair) -> None:
    left, right = pair.links["left"], pair.links["right"]
    pair.words["right"].put("VI_1", b"rests")
    assert right.hear(*left.beat(1.0)).asks
    assert left.hear(*right.answer(2.0)).asks
    assert right.hear(*left.answer(3.0)).asks
    heard = left.hear(*right.answer(4.0))
    assert heard == Heard(at=3.0, words=(("VI_1", b"rests"),), whole=True, asks=True)


def test_only_what_is_new_is_said_again(pair: Pair) -> None:
    pair.words["right"].put("VI_1", b"rests")
    pair.words["right"].put("VI_2", b"rests")
    pair.talk()
    pair.words["right"].put("VI_2", b"serves")
    assert words_of(pair.talk()) == {"VI_2": b"serves"}
    assert all(not each.words and each.whole for each in pair.talk())


def test_a_change_asks_for_an_answer(pair: Pair) -> None:
    pair.talk()
    pair.words["left"].put("VI_1", b"MASTER")
    asked = pair.now
    assert pair.links["right"].hear(*pair.links["left"].more(asked)).asks
    (answer,) = pair.links["right"].answer(pair.now)
    assert pair.links["left"].hear(answer).at == asked


def test_a_word_that_was_lost_is_said_again_and_nothing_is_whole_until_then(pair: Pair) -> None:
    pair.talk()
    pair.words["right"].put("VI_1", b"serves")
    assert len(pair.links["right"].more(pair.now)) == 1, "it is lost"
    pair.words["right"].put("VI_2", b"rests")
    (data,) = pair.links["right"].more(pair.now)
    heard = pair.links["left"].hear(data)
    assert (dict(heard.words), heard.whole) == ({"VI_2": b"rests"}, False)
    again = pair.talk()
    assert words_of(again) == {"VI_1": b"serves", "VI_2": b"rests"}
    assert again[-1].whole


def test_an_instance_that_is_gone_is_said_to_be(pair: Pair) -> None:
    pair.words["right"].put("VI_1", b"rests")
    pair.talk()
    pair.words["right"].put("VI_1", None)
    assert words_of(pair.talk()) == {"VI_1": None}


def test_an_instance_that_is_gone_after_a_restart_is_forgotten(pair: Pair) -> None:
    pair.words["right"].put("VI_1", b"rests")
    pair.words["right"].put("VI_2", b"rests")
    pair.talk()
    pair.reboot("right")
    pair.words["right"].put("VI_2", b"rests")
    assert words_of(pair.talk()) == {"VI_1": None, "VI_2": b"rests"}


def test_many_words_are_said_in_datagrams_of_one_packet_each(pair: Pair) -> None:
    every = {f"VI_{number}": b"word" * 30 for number in range(1000)}
    pair.talk()
    for name, word in every.items():
        pair.words["right"].put(name, word)
    known: dict[str, Word] = {}
    whole = False
    sent = 0
    while not whole:
        now = pair.now = pair.now + 0.01
        batch = pair.links["right"].more(now)
        assert 0 < len(batch) <= 24
        assert all(len(data) <= datagram.FULL_BYTES for data in batch)
        heard = [pair.links["left"].hear(data) for data in batch]
        known |= words_of(heard)
        whole, sent = heard[-1].whole, sent + len(batch)
        assert [each.asks for each in heard] == [False] * (len(batch) - 1) + [heard[-1].asks]
        for data in pair.links["left"].answer(now):
            pair.links["right"].hear(data)
        assert pair.links["right"].goes_on is not whole
    assert known == every
    assert sent < 150


def test_one_large_word_goes_alone(pair: Pair) -> None:
    pair.talk()
    pair.words["right"].put("VI_1", b"rests")
    pair.words["right"].put("VI_2", b"x" * 3000)
    pair.words["right"].put("VI_3", b"rests")
    batch = pair.links["right"].more(pair.now)
    assert [len(data) > datagram.FULL_BYTES for data in batch] == [False, True, False]


def capture(pair: Pair) -> list[bytes]:
    """What `right` has said while it served nothing."""
    pair.words["right"].put("VI_1", b"rests")
    captured: list[bytes] = []
    for _ in range(4):
        for data in pair.beat("left"):
            pair.links["right"].hear(data)
        captured += pair.beat("right")
        pair.links["left"].hear(captured[-1])
    return captured


REBOOTS = {
    "nobody rebooted": ([], False),
    "left rebooted": (["left"], False),
    "right rebooted": (["right"], False),
    "both rebooted": (["left", "right"], False),
    "left rebooted, and they talked": (["left"], True),
    "right rebooted, and they talked": (["right"], True),
    "both rebooted, and they talked": (["left", "right"], True),
}


def rebooted(pair: Pair, nodes: list[str], *, talked: bool) -> None:
    for name in nodes:
        pair.reboot(name)
    if talked:
        pair.talk()


@pytest.mark.parametrize(("nodes", "talked"), REBOOTS.values(), ids=REBOOTS)
def test_a_replay_proves_nothing(pair: Pair, nodes: list[str], talked: bool) -> None:
    captured = capture(pair)
    lost = pair.now
    rebooted(pair, nodes, talked=talked)
    pair.words["right"].put("VI_1", b"serves")
    for data in [*captured, *captured]:
        try:
            heard = pair.links["left"].hear(data)
        except Unusable:
            continue
        assert heard.at is None or heard.at <= lost
        for each in pair.links["left"].beat(pair.now):
            pair.links["right"].hear(each)


@pytest.mark.parametrize(("nodes", "talked"), REBOOTS.values(), ids=REBOOTS)
def test_replays_do_not_keep_the_true_node_from_being_heard(pair: Pair, nodes: list[str], talked: bool) -> None:
    captured = capture(pair)
    rebooted(pair, nodes, talked=talked)
    pair.words["right"].put("VI_1", b"serves")
    replays = iter(captured * 100)
    heard: list[Heard] = []
    for _ in range(12):
        for sender, receiver in (("right", "left"), ("left", "right")):
            for data in pair.beat(sender):
                for each in (next(replays), data, next(replays)):
                    try:
                        got = pair.links[receiver].hear(each)
                    except Unusable:
                        continue
                    if receiver == "left":
                        heard.append(got)
    assert words_of(heard)["VI_1"] == b"serves"
    latest = max(each.at for each in heard if each.whole and each.at is not None)
    assert latest >= pair.now - 6, "three of its intervals"


def test_a_reflected_datagram_is_unusable(pair: Pair) -> None:
    with pytest.raises(Unusable, match="from left to right"):
        pair.links["left"].hear(*pair.beat("left"))


def test_the_name_of_a_third_node_is_unusable(pair: Pair) -> None:
    third = Link("third", "left", key=KEY, session=77, words=Words())
    with pytest.raises(Unusable, match="from third to left"):
        pair.links["left"].hear(*third.beat(1.0))


def test_a_word_for_a_third_node_is_unusable(pair: Pair) -> None:
    other = Link("right", "third", key=KEY, session=77, words=Words())
    with pytest.raises(Unusable, match="from right to third"):
        pair.links["left"].hear(*other.beat(1.0))


def test_where_only_one_way_is_open_the_time_of_the_words_stands_still(pair: Pair) -> None:
    pair.talk()
    cut = pair.now
    for _ in range(100):
        for data in pair.beat("right"):
            at = pair.links["left"].hear(data).at
            assert at is None or at <= cut
        pair.beat("left")
    assert pair.now > cut + 100


def test_too_many_words_are_unusable(pair: Pair) -> None:
    pair.talk()
    for number in range(10_001):
        pair.words["right"].put(f"VI_{number}", b"rests")

    def hear_all() -> None:
        while pair.links["right"].goes_on:
            for data in pair.links["right"].more(pair.now):
                pair.links["left"].hear(data)
            for data in pair.links["left"].answer(pair.now):
                pair.links["right"].hear(data)

    with pytest.raises(Unusable, match="more than 10000 words"):
        hear_all()


class Network(RuleBasedStateMachine):
    """Datagrams are lost, delayed, doubled, reordered and replayed, and nodes reboot; what is believed is true."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.past: list[tuple[str, bytes]] = []  # every datagram ever, by its receiver
        self.truth: list[tuple[float, dict[str, Word]]] = [(0.0, {})]  # what `right` has to say, from each time on
        self.known: dict[str, Word] = {}  # by `left`
        self.at = -math.inf

    @rule(name=st.sampled_from(["VI_1", "VI_2", "VI_3"]), word=st.sampled_from([None, b"rests", b"serves"]))
    def something_changes(self, name: str, word: Word) -> None:
        self.pair.now += 0.5
        self.pair.words["right"].put(name, word)
        self.truth.append((self.pair.now, {**self.truth[-1][1], name: word}))

    @rule(sender=st.sampled_from(["left", "right"]), how=st.sampled_from(["beat", "more", "answer"]))
    def a_node_sends(self, sender: str, how: str) -> None:
        self.pair.now += 0.5
        receiver = "right" if sender == "left" else "left"
        self.past += [(receiver, data) for data in getattr(self.pair.links[sender], how)(self.pair.now)]

    @precondition(lambda self: self.past)
    @rule(ago=st.sampled_from([1, 1, 1, 1, 2, 3, 5, 8, 13, 21, 34]))
    def a_datagram_arrives(self, ago: int) -> None:
        self.pair.now += 0.5
        receiver, data = self.past[-min(ago, len(self.past))]
        try:
            heard = self.pair.links[receiver].hear(data)
        except Unusable:
            return
        if receiver == "left" and heard.at is not None:
            self.believe(heard, heard.at)

    def believe(self, heard: Heard, at: float) -> None:
        since = [said for time, said in self.truth if time > at]
        before = [said for time, said in self.truth if time <= at]
        true = [before[-1], *since]
        for name, word in heard.words:
            assert any(said.get(name) == word for said in true), "it was not so at that time or later"
        if at >= self.at:
            self.known |= dict(heard.words)
        if heard.whole:
            self.at = max(self.at, at)
            believed = {name: word for name, word in self.known.items() if word is not None}
            there = [{name: word for name, word in said.items() if word is not None} for said in true]
            assert believed in there, "all of it was not so at one time"

    @rule(name=st.sampled_from(["left", "right"]))
    def a_node_reboots(self, name: str) -> None:
        self.pair.now += 0.5
        if name == "left":
            self.known, self.at = {}, -math.inf
        said = self.truth[-1][1]
        self.pair.reboot(name)
        if name == "right":
            for instance, word in said.items():
                if word is not None:
                    self.pair.words["right"].put(instance, word)

    @rule()
    def they_can_talk(self) -> None:
        """Whatever has happened, a few exchanges without a loss are enough."""
        for _ in range(4):
            for sender in ("right", "left"):
                start = len(self.past)
                self.a_node_sends(sender, "beat")
                for number in range(len(self.past) - start, 0, -1):
                    self.a_datagram_arrives(number)
        assert self.at > self.pair.now - 20

    @invariant()
    def nothing_is_from_the_future(self) -> None:
        assert self.at <= self.pair.now


Network.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestNetwork = Network.TestCase
