"""Two heartbeats that talk over the loopback interface, beside a core of which only the state is real."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from failoverd.core import peers
from failoverd.core.events import (
    HearingChanged,
    PeerFenced,
    PeerReported,
    PeerUnverified,
    Reloaded,
    ResourceChanged,
    ResourceObserved,
)
from failoverd.core.knowledge import PeerWord
from failoverd.core.model import State
from failoverd.core.resource import Observation
from failoverd.core.spec import Fence
from failoverd.core.spec import Heartbeat as Spec
from failoverd.core.words import Level, Phase, VrrpState
from failoverd.daemon.config.heartbeat import HeartbeatPlan
from failoverd.daemon.heartbeat.beat import Heartbeat
from failoverd.ports.heartbeat import datagram
from failoverd.ports.heartbeat.channel import Address
from failoverd.trouble import TroubleKind, troubles
from tests.unit.core.world import World, config, resource
from tests.unit.daemon.running_daemon import PATIENCE

#: An interval that no test waits for: what is said without it is said at once.
NEVER = 3600.0


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass
class Site:
    """Two nodes, each with the state of its core in a World, and what it was told."""

    tmp_path: Path
    interval: float
    ports: dict[str, int]
    worlds: dict[str, World] = field(default_factory=dict)
    beats: dict[str, Heartbeat] = field(default_factory=dict)
    told: dict[str, list[PeerReported]] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)

    def start(self, name: str, key: str = "k" * 44) -> Heartbeat:
        other = "right" if name == "left" else "left"
        file = self.tmp_path / f"{name}.key"
        file.write_text(key + "\n")
        file.chmod(0o600)
        spec = Spec(interval=self.interval, node=name, peers=(other,))
        if name not in self.worlds:
            self.worlds[name] = World(config=replace(config(resource("disk")), heartbeat=spec))
            self.told[name] = []
        beat = self.beats.get(name) or Heartbeat(lambda event: self.tell(name, event), lambda: self.worlds[name].state)
        beat.configure(
            HeartbeatPlan(
                core=spec,
                own=Address(self.hosts.get(name, "127.0.0.1"), self.ports[name]),
                peers={other: Address("127.0.0.1", self.ports[other])},
                key_file=str(file),
            )
        )
        self.beats[name] = beat
        return beat

    def tell(self, name: str, event: PeerReported | PeerUnverified | HearingChanged) -> None:
        if isinstance(event, PeerReported):
            self.told[name].append(event)
        self.worlds[name].send(event)

    def say(self, name: str, word: VrrpState) -> None:
        """keepalived of that node says so, and its core follows to the end."""
        before = self.worlds[name].state
        self.worlds[name].say(word)
        self.worlds[name].settle()
        self.beats[name].change(concerned(before), concerned(self.worlds[name].state))

    def word(self, name: str) -> PeerWord | None:
        other = "right" if name == "left" else "left"
        peer = self.worlds[name].state.peers.get(other)
        return None if peer is None else peer.words.get("VI_1")

    def shown(self, name: str) -> Any:
        """What the status of the node shows of the other one."""
        report = self.beats[name].report(str)
        return report and next(iter(report["peers"].values()))

    def phase(self, name: str) -> Phase | None:
        """The phase that the node believes of the other one."""
        word = self.word(name)
        return None if word is None else word.phase


def concerned(state: State) -> State:
    """As after an event of every instance."""
    return replace(state, agenda=replace(state.agenda, touched=tuple(state.instances)))


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path=tmp_path, interval=NEVER, ports={"left": free_port(), "right": free_port()})
    yield made
    for beat in made.beats.values():
        beat.close()
    for each in troubles.standing:
        troubles.end(each.kind, each.subject)


async def joined(site: Site) -> None:
    """Both run, and know one another."""
    site.start("left")
    await until(lambda: site.shown("left")["trouble"] is not None)
    site.start("right")
    await until(lambda: site.phase("left") and site.phase("right"))


async def test_two_that_start_know_one_another_within_some_round_trips(site: Site) -> None:
    await joined(site)
    assert (site.phase("left"), site.phase("right")) == (Phase.UNKNOWN, Phase.UNKNOWN)


async def test_a_change_is_said_at_once_and_confirmed(site: Site) -> None:
    await joined(site)
    site.say("right", VrrpState.MASTER)
    await until(lambda: site.phase("left") is Phase.ACTIVE)
    site.say("right", VrrpState.BACKUP)
    await until(lambda: (word := site.word("left")) and word.rests)


async def test_a_change_here_brings_a_fresh_word_of_the_other_node(site: Site) -> None:
    await joined(site)
    site.say("right", VrrpState.BACKUP)
    await until(lambda: site.phase("left") is Phase.STANDBY)
    lost = asyncio.get_running_loop().time()
    site.say("left", VrrpState.MASTER)
    await until(lambda: peers.heard_at(site.worlds["left"].state, "right") > lost)
    word = peers.word(site.worlds["left"].state, "right", "VI_1")
    assert word is not None
    assert (word.rests, word.at > lost) == (True, True)


def say_later(site: Site, monkeypatch: pytest.MonkeyPatch) -> float:
    """`right`, which rests, becomes MASTER, and does not say so by itself. Returns the time of `left` after that."""
    with monkeypatch.context() as patched:
        patched.setattr("failoverd.daemon.heartbeat.beat._DELAY_S", NEVER)
        site.say("right", VrrpState.MASTER)
    return asyncio.get_running_loop().time()


async def test_an_answer_confirms_no_word_that_has_changed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await joined(site)
    site.say("right", VrrpState.BACKUP)
    await until(lambda: site.phase("left") is Phase.STANDBY)
    changed = say_later(site, monkeypatch)
    site.say("left", VrrpState.MASTER)  # which asks for an answer
    await until(lambda: peers.heard_at(site.worlds["left"].state, "right") > changed)
    assert site.phase("left") is Phase.ACTIVE


async def test_a_datagram_at_the_interval_confirms_no_word_that_has_changed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.interval = 0.05
    await joined(site)
    site.say("right", VrrpState.BACKUP)
    await until(lambda: site.phase("left") is Phase.STANDBY)
    changed = say_later(site, monkeypatch)
    await until(lambda: peers.heard_at(site.worlds["left"].state, "right") > changed)
    assert site.phase("left") is Phase.ACTIVE


async def test_an_answer_waits_while_words_have_cost_too_much_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await joined(site)
    site.say("right", VrrpState.BACKUP)
    await until(lambda: site.phase("left") is Phase.STANDBY)
    changed = say_later(site, monkeypatch)
    site.beats["right"]._told_until = asyncio.get_running_loop().time() + 0.2
    site.say("left", VrrpState.MASTER)
    await until(lambda: peers.heard_at(site.worlds["left"].state, "right") > changed)
    assert site.phase("left") is Phase.ACTIVE


async def test_what_another_node_vouches_for_counts_from_when_this_one_asked(site: Site) -> None:
    await joined(site)
    site.say("right", VrrpState.BACKUP)
    await until(lambda: site.phase("left") is Phase.STANDBY)
    assert site.beats["left"].vouched("VI_1", "disk") == {}, "its driver says nothing of what was written alone"
    heard: list[float] = []
    site.beats["left"].heard = lambda: heard.append(time.clock_gettime(time.CLOCK_BOOTTIME))
    lost = time.clock_gettime(time.CLOCK_BOOTTIME)
    seen = Observation(level=Level.STANDBY, nothing_alone=True)
    world = site.worlds["right"]
    before = world.state
    world.send(ResourceChanged(instance="VI_1", resource="disk"))
    look = world.looks.pop(("VI_1", "disk"))
    world.send(ResourceObserved(instance="VI_1", resource="disk", look=look.look, seen=seen))
    site.beats["right"].change(before, world.state)
    await until(lambda: heard)
    (first,) = site.beats["left"].vouched("VI_1", "disk").values()
    site.say("left", VrrpState.MASTER)  # which asks for an answer
    await until(lambda: len(heard) > 1)
    (at,) = site.beats["left"].vouched("VI_1", "disk").values()
    assert first <= heard[0]
    assert lost < at <= heard[-1], "it was asked after the loss"
    assert site.beats["left"].vouched("VI_1", "another") == {}
    assert site.beats["left"].serving("VI_1", "disk") == {}
    assert site.beats["right"].serving("VI_1", "disk").keys() == {"left"}


async def test_without_a_change_each_says_one_datagram_in_each_interval(site: Site) -> None:
    site.interval = 0.1
    await joined(site)
    await until(lambda: len(site.told["left"]) > 10)
    assert all(not event.words and event.whole for event in site.told["left"][-3:])


async def test_a_node_that_was_started_anew_is_known_again(site: Site) -> None:
    await joined(site)
    site.beats.pop("right").close()
    site.worlds.pop("right")
    site.start("right")
    site.say("right", VrrpState.MASTER)
    await until(lambda: site.phase("left") is Phase.ACTIVE)


async def test_the_last_change_is_said_before_it_ends(site: Site) -> None:
    await joined(site)
    site.say("right", VrrpState.BACKUP)
    site.beats["right"].close()
    await until(lambda: (word := site.word("left")) and word.rests)


def remove(site: Site) -> None:
    """`right` loses the instance by a reload."""
    world = site.worlds["right"]
    before = world.state
    world.send(Reloaded(config=replace(world.config, instances={})))
    site.beats["right"].change(before, world.state)


async def test_an_instance_that_is_removed_at_standby_has_no_word(site: Site) -> None:
    await joined(site)
    site.say("right", VrrpState.BACKUP)
    await until(lambda: (word := site.word("left")) and word.rests)
    remove(site)
    await until(lambda: site.word("left") is None)


async def test_one_that_is_removed_while_it_is_active_has_a_word_until_its_strays_are_gone(site: Site) -> None:
    await joined(site)
    site.say("right", VrrpState.MASTER)
    await until(lambda: site.phase("left") is Phase.ACTIVE)
    remove(site)
    await until(lambda: (word := site.word("left")) and (word.rests, word.strays) == (False, {"disk"}))
    before = site.worlds["right"].state
    site.beats["right"].change(before, replace(before, strays={}))
    site.worlds["right"].state = replace(before, strays={})
    await until(lambda: site.word("left") is None)


async def test_another_key_is_a_trouble_and_brings_no_word(site: Site) -> None:
    site.start("left")
    await until(lambda: "nothing listens" in str(site.shown("left")["trouble"]))
    site.start("right", key="x" * 44)
    await until(lambda: any(each.kind is TroubleKind.HEARTBEAT_KEY for each in troubles.standing))
    (trouble,) = (each for each in troubles.standing if each.kind is TroubleKind.HEARTBEAT_KEY)
    assert "a datagram from right" in trouble.text
    assert f"sha256sum {site.tmp_path}/left.key" in trouble.text
    assert site.told["left"] == []
    assert site.worlds["left"].state.unverified.keys() == {"right"}
    seen = site.shown("left")
    assert (seen["ignored"], seen["ignored_why"]) == (1, "it was signed with another key")


async def test_a_key_that_cannot_be_used_is_a_trouble_until_it_can(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failoverd.daemon.heartbeat.beat._KEY_RETRY_S", 0.01)
    site.start("left", key="short")
    await until(lambda: troubles.standing)
    assert "has 5 bytes, and 32 are needed" in troubles.standing[0].text
    (site.tmp_path / "left.key").write_text("k" * 44)
    await until(lambda: not troubles.standing)
    site.start("right")
    await until(lambda: site.phase("left") and site.phase("right"))


async def test_a_node_without_a_usable_key_hears_nobody_until_it_has_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("failoverd.daemon.heartbeat.beat._KEY_RETRY_S", 0.01)
    site.start("left", key="short")
    assert peers.deaf(site.worlds["left"].state, "right") == "the heartbeat has not begun here"
    await until(lambda: "has 5 bytes" in str(peers.deaf(site.worlds["left"].state, "right")))
    (site.tmp_path / "left.key").write_text("k" * 44)
    await until(lambda: peers.deaf(site.worlds["left"].state, "right") is None)


async def test_a_node_whose_port_is_taken_hears_nobody_until_it_is_free(site: Site) -> None:
    site.interval = 0.05
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", site.ports["left"]))
        site.start("left")
        await until(lambda: "Address already in use" in str(peers.deaf(site.worlds["left"].state, "right")))
        (trouble,) = troubles.standing
        assert trouble.kind is TroubleKind.HEARTBEAT_ADDRESS
        assert f"ss -lunp sport = {site.ports['left']}" in trouble.text
    await until(lambda: peers.deaf(site.worlds["left"].state, "right") is None)
    assert not troubles.standing


async def test_a_node_that_begins_again_with_another_key_has_to_hear_anew(site: Site) -> None:
    await joined(site)
    before = site.worlds["left"].state.listened["right"].since
    site.worlds["left"].now += 100.0
    site.start("left", key="x" * 44)
    await until(lambda: before < site.worlds["left"].state.listened["right"].since < float("inf"))


async def test_an_address_that_is_not_here_is_a_trouble_at_once(site: Site) -> None:
    site.hosts["left"] = "203.0.113.1"
    site.start("left")
    await until(lambda: "Cannot assign requested address" in str(peers.deaf(site.worlds["left"].state, "right")))
    assert [each.kind for each in troubles.standing] == [TroubleKind.HEARTBEAT_ADDRESS]
    assert "ip address show to 203.0.113.1" in troubles.standing[0].text


async def test_without_the_table_nothing_is_said_or_shown(site: Site) -> None:
    await joined(site)
    site.beats["right"].configure(None)
    assert site.beats["right"].report(str) is None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", site.ports["right"]))
    site.say("right", VrrpState.MASTER)
    assert site.phase("left") is Phase.UNKNOWN


async def test_a_reload_without_a_change_keeps_the_conversation(site: Site) -> None:
    await joined(site)
    told = len(site.told["left"])
    plan = site.beats["right"]._plan
    site.beats["right"].configure(plan)
    await until(lambda: (task := site.beats["right"]._starting) and task.done())
    site.say("right", VrrpState.MASTER)
    await until(lambda: site.phase("left") is Phase.ACTIVE)
    said = [event.words for event in site.told["left"][told:] if event.words]
    assert [word and word.phase for words in said for word in words.values()] == [Phase.ACTIVE], "none was said again"


async def test_a_reload_changes_the_address(site: Site) -> None:
    await joined(site)
    site.ports["right"] = free_port()
    site.start("left")
    site.start("right")
    site.say("right", VrrpState.MASTER)
    await until(lambda: site.phase("left") is Phase.ACTIVE)


def ignored_more_than(site: Site, before: int) -> bool:
    return bool(site.shown("left")["ignored"] > before)


async def test_garbage_from_the_address_of_a_node_costs_no_word(site: Site) -> None:
    await joined(site)
    site.beats["right"].close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hostile:
        hostile.bind(("127.0.0.1", site.ports["right"]))
        hostile.setblocking(False)
        told = len(site.told["left"])
        for data in (b"", b"\0", datagram.MAGIC, b"x" * 60_000, bytes(200), datagram.MAGIC + bytes(300)):
            before = site.shown("left")["ignored"]
            hostile.sendto(data, ("127.0.0.1", site.ports["left"]))
            await until(partial(ignored_more_than, site, before))
    assert not any(event.words for event in site.told["left"][told:])
    site.beats.pop("right")
    site.start("right")
    site.say("right", VrrpState.MASTER)
    await until(lambda: site.phase("left") is Phase.ACTIVE)


@dataclass
class Flood:
    """A host without the key that sends under the address of `right`, whenever `sends` is awaited."""

    site: Site
    socket: socket.socket

    async def sends(self, until_: Callable[[], object]) -> None:
        """A hundred datagrams every few milliseconds, until then."""
        async with asyncio.timeout(PATIENCE):
            while not until_():
                for _ in range(100):
                    self.socket.sendto(datagram.MAGIC + bytes(196), ("127.0.0.1", self.site.ports["left"]))
                await asyncio.sleep(0.005)


@pytest.fixture
def flood(site: Site) -> Iterator[Flood]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hostile:
        hostile.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        hostile.setblocking(False)
        hostile.bind(("127.0.0.1", site.ports["right"]))
        yield Flood(site, hostile)


async def test_the_kernel_drops_a_flood_and_the_node_is_heard(site: Site, flood: Flood) -> None:
    site.interval = 0.5
    await joined(site)
    channel = site.beats["left"]._partners["right"].channel
    await flood.sends(lambda: channel.dropped > 1000)
    ignored, told = 0, 0

    def heard_and_spared() -> bool:
        """Whether the node was heard some times while no datagram of the flood arrived."""
        nonlocal ignored, told
        if site.shown("left")["ignored"] != ignored:
            ignored, told = site.shown("left")["ignored"], len(site.told["left"])
        return len(site.told["left"]) > told + 2

    await flood.sends(heard_and_spared)


async def test_after_a_flood_all_is_read_again(site: Site, flood: Flood) -> None:
    site.interval = 0.5
    await joined(site)
    partner = site.beats["left"]._partners["right"]
    await flood.sends(lambda: partner.fends_off)
    await until(lambda: not partner.fends_off)
    ignored = site.shown("left")["ignored"]
    flood.socket.sendto(b"x", ("127.0.0.1", site.ports["left"]))
    await until(partial(ignored_more_than, site, ignored))


async def test_a_node_that_is_started_anew_under_a_flood_is_heard_again(site: Site, flood: Flood) -> None:
    site.interval = 0.5
    await joined(site)
    partner = site.beats["left"]._partners["right"]
    await flood.sends(lambda: partner.fends_off)
    site.beats.pop("right").close()
    site.worlds.pop("right")
    site.start("right")
    site.say("right", VrrpState.MASTER)
    await flood.sends(lambda: site.phase("left") is Phase.ACTIVE)


async def test_what_comes_from_elsewhere_does_not_arrive(site: Site) -> None:
    await joined(site)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.connect(("127.0.0.1", site.ports["left"]))
        stranger.setblocking(False)
        stranger.send(b"x")
        await until(lambda: stranger.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED)
    assert site.shown("left")["ignored"] == 0


def trouble_of(kind: TroubleKind) -> str | None:
    """The text of the trouble with `right`, while there is one."""
    return next((each.text for each in troubles.standing if (each.kind, each.subject) == (kind, "right")), None)


async def test_a_node_whose_word_is_not_understood_is_heard_and_has_none(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await joined(site)
    changed = asyncio.get_running_loop().time()
    with monkeypatch.context() as patched:
        patched.setattr("failoverd.daemon.heartbeat.words.written", lambda _: b'{"p":"of a later version"}')
        site.say("right", VrrpState.MASTER)
        await until(lambda: site.word("left") is None)
        site.say("left", VrrpState.BACKUP)  # which asks for an answer
        await until(lambda: peers.heard_at(site.worlds["left"].state, "right") > changed)
    text = trouble_of(TroubleKind.HEARTBEAT_VERSION)
    assert text is not None
    assert "has said of VI_1 what is not understood" in text
    assert "'of a later version' is not a valid Phase" in text
    assert "failoverd --version" in text
    site.say("right", VrrpState.BACKUP)
    await until(lambda: site.phase("left") is Phase.STANDBY)
    assert trouble_of(TroubleKind.HEARTBEAT_VERSION) is None


async def test_another_format_is_a_trouble(site: Site) -> None:
    await joined(site)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as later:
        later.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        later.bind(("127.0.0.1", site.ports["right"]))
        later.sendto(datagram.MAGIC[:3] + b"\x02" + bytes(200), ("127.0.0.1", site.ports["left"]))
    await until(lambda: trouble_of(TroubleKind.HEARTBEAT_VERSION))
    assert "it has the format 2" in str(trouble_of(TroubleKind.HEARTBEAT_VERSION))


def fenced(site: Site, node: str = "right") -> None:
    """The configuration of `left` names an agent that fences `node`."""
    world = site.worlds["left"]
    instances = {name: replace(spec, others=("right",)) for name, spec in world.config.instances.items()}
    world.send(Reloaded(config=replace(world.config, instances=instances, fences={node: Fence(agent="/x")})))


@pytest.mark.parametrize("node", ["right", "left"])  # one without [fence.NODE] blocks an activation too
async def test_a_node_that_must_be_cleared_and_was_never_heard_is_a_trouble(
    site: Site, monkeypatch: pytest.MonkeyPatch, node: str
) -> None:
    monkeypatch.setattr("failoverd.daemon.heartbeat.beat._MISSED_S", 0.0)
    site.interval = 0.02
    site.start("left")
    fenced(site, node)
    await until(lambda: trouble_of(TroubleKind.PEER_SILENT))
    text = str(trouble_of(TroubleKind.PEER_SILENT))
    assert f"right (127.0.0.1:{site.ports['right']}) was never heard" in text
    site.start("right")
    await until(lambda: not trouble_of(TroubleKind.PEER_SILENT))
    site.beats.pop("right").close()
    await until(lambda: trouble_of(TroubleKind.PEER_SILENT))
    assert "is not heard any more" in str(trouble_of(TroubleKind.PEER_SILENT))
    fenced(site, "right")
    site.worlds["left"].send(PeerFenced(peer="right", fencing=0, off=True, said="it is off"))
    await until(lambda: not trouble_of(TroubleKind.PEER_SILENT))


async def test_a_node_that_nobody_would_fence_may_be_silent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failoverd.daemon.heartbeat.beat._MISSED_S", 0.0)
    site.interval = 0.02
    site.start("left")
    await until(lambda: site.shown("left")["trouble"])
    told = asyncio.get_running_loop().time() + 20 * site.interval
    await until(lambda: asyncio.get_running_loop().time() > told)
    assert trouble_of(TroubleKind.PEER_SILENT) is None


async def test_what_is_against_a_planned_move_is_said_at_the_next_interval(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("failoverd.core.spec.MIN_SILENCE_S", 0.3)
    site.interval = 0.05
    made = config(resource("disk"))
    spec = replace(made.instances["VI_1"], others=("left",))
    heartbeat = Spec(interval=site.interval, node="right", peers=("left",))
    fences = {"left": Fence(agent="/usr/sbin/fence_x")}
    made = replace(made, instances={"VI_1": spec}, heartbeat=heartbeat, fences=fences)
    site.worlds["right"], site.told["right"] = World(config=made), []
    await joined(site)
    site.say("left", VrrpState.BACKUP)

    def against() -> list[str] | None:
        word = site.word("left")
        return None if word is None else sorted(word.against_move)

    await until(lambda: against() == [])
    deaf, hear = [True], site.beats["right"]._dispatch
    site.beats["right"]._dispatch = lambda event: None if deaf else hear(event)
    await until(lambda: against() == ["left"])
    deaf.clear()
    await until(lambda: against() == [])
