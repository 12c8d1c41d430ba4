"""The answers, effects and refusals of each verb, without a socket or a driver."""

from __future__ import annotations

import asyncio
import math
import os
import time
from dataclasses import replace
from datetime import datetime
from typing import Any
from unittest.mock import ANY, AsyncMock, Mock

import pytest

from failoverd.core.knowledge import Hearing, Off, PeerWord
from failoverd.core.knowledge import Peer as Known
from failoverd.core.model import Aside, Handover, Maintenance, Rival, Standby, State, Stray
from failoverd.core.requests import (
    Acknowledged,
    AsideEnded,
    AsideWanted,
    CheckAsked,
    HandoverAttended,
    HandoverCancelled,
    HandoverConfirmed,
    HandoverWanted,
    MaintenanceBegun,
    MaintenanceEnded,
    OnlineWanted,
    PeerConfirmedOff,
    PeerUnfenced,
    Reset,
    RivalsNoted,
    StandbyWanted,
    Together,
)
from failoverd.core.resource import Observation
from failoverd.core.spec import Fence, Quorum, ResourceSpec
from failoverd.core.spec import Heartbeat as Heard
from failoverd.core.words import Level, Phase, Target, VrrpState
from failoverd.daemon.access import Peer
from failoverd.daemon.alerts.sender import Alerts, Sent
from failoverd.daemon.config.active import ActiveConfiguration
from failoverd.daemon.control import acting, handover, takeover
from failoverd.daemon.control.acting import AT_ONCE
from failoverd.daemon.control.answers import Answers
from failoverd.daemon.control.server import Refused
from failoverd.daemon.executor import Executor
from failoverd.daemon.heartbeat.beat import Heartbeat
from failoverd.daemon.history.link import StoreError
from failoverd.daemon.history.store import Store
from failoverd.daemon.keepalived.vrrp_state import VrrpStateQueries
from failoverd.daemon.loop import CoreLoop
from failoverd.daemon.persistence.wishes import Wishes
from failoverd.ports.errors import DriverError
from tests.unit.core.world import World, config, resource

ROOT = Peer(uid=0, gids=frozenset(), pid=os.getpid(), name="root")


class Desk:
    """The answers of a node with VI_1, whose guest needs its disk."""

    def __init__(self) -> None:
        self.core = Mock(spec=CoreLoop, state=World(config=config(resource("disk"), resource("guest", "disk"))).state)
        self.executor = Mock(spec=Executor)
        self.store = Mock(spec=Store)
        self.alerts = Mock(spec=Alerts, command=("/usr/local/bin/page", "on call"))
        self.queries = Mock(spec=VrrpStateQueries)
        self.watched = AsyncMock(return_value=True)
        self.wishes = Mock(spec=Wishes)
        self.wishes.saved.return_value = ""
        self.executor.no_successor.return_value = ""
        self.configuration = Mock(spec=ActiveConfiguration, node="left", digest="4f1a", peers={"right": "192.0.2.2"})
        self.configuration.budgets = {}
        made = Answers(
            self.core,
            self.executor,
            self.store,
            self.alerts,
            configuration=lambda: self.configuration,
            counters=dict,
            queries=lambda: self.queries,
            accepted=lambda _: None,
            watched=self.watched,
            wishes=self.wishes,
            heartbeat=Mock(spec=Heartbeat, **{"report.return_value": None}),
        )
        self._handlers = {**made.reads, **made.acts}

    async def ask(self, verb: str, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self._handlers[verb](params, ROOT)
        return answer

    async def refusal(self, verb: str, **params: Any) -> Refused:
        """The refusal of a request, which has no effect."""
        with pytest.raises(Refused) as caught:
            await self.ask(verb, **params)
        assert self.dispatched() == self.recorded() == []
        return caught.value

    def dispatched(self) -> list[Any]:
        return [call.args[0] for call in self.core.dispatch.call_args_list]

    def recorded(self) -> list[tuple[str, str, str]]:
        """User, command and instance of each entry of the history."""
        calls = [call.kwargs for call in self.store.record_event.call_args_list]
        return [(call["source"], call["state"], call["name"]) for call in calls if call["kind"] == "OPERATOR"]

    def leave_a_stray(self) -> None:
        """An instance that is no longer configured has left a resource behind."""
        spec = resource("old", instance="VI_9")
        stray = Stray(spec=spec, seen=Observation(level=Level.ACTIVE), since=0.0, needs=frozenset())
        self.core.state = replace(self.core.state, strays={"old": stray})

    def beside_another_node_that_can_be_fenced(self, **said: Any) -> None:
        """right, which is heard just now, and says that everything is at standby."""
        state, now = self.core.state, asyncio.get_running_loop().time()
        word = PeerWord(at=now, phase=Phase.STANDBY, vrrp=VrrpState.BACKUP, rests=True)
        instance = state.instances["VI_1"]
        spec = replace(instance.spec, others=("right",))
        heartbeat = Heard(node="left", peers=("right",))
        fences = {"right": Fence(agent="/usr/sbin/fence_x")}
        self.core.state = replace(
            state,
            config=replace(state.config, heartbeat=heartbeat, fences=fences),
            instances={"VI_1": replace(instance, spec=spec, target=Target.ACTIVE, phase=Phase.ACTIVE)},
            peers={"right": Known(at=now, words={"VI_1": replace(word, **said)})},
            listened=dict.fromkeys(("right", "center"), Hearing(since=-1000.0)),
        )


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_plan_has_the_steps_in_their_order(desk: Desk) -> None:
    desk.executor.commands.side_effect = lambda spec, verb: (f"{verb.value} {spec.name}",)
    desk.store.durations.return_value = {}
    up = await desk.ask("plan", instance="VI_1", target="active")
    assert [step["commands"] for step in up["steps"]] == [["activate disk"], ["activate guest"]]
    down = await desk.ask("plan", instance="VI_1", target="standby")
    assert [step["commands"] for step in down["steps"]] == [["deactivate guest"], ["deactivate disk"]]


async def test_a_plan_has_the_expected_times_and_the_budget(desk: Desk) -> None:
    desk.executor.commands.return_value = ()
    disk, guest = ({"samples": 9, "median": 1.0, "p95": 4.0}, {"samples": 3, "median": 2.0, "p95": 5.0})
    desk.store.durations.return_value = {"disk": disk, "guest": guest, "removed": guest}
    desk.configuration.budgets = {"VI_1": 60.0}
    found = await desk.ask("plan", instance="VI_1", target="standby")
    desk.store.durations.assert_called_once_with("VI_1", "deactivate")
    assert [step["expected"] for step in found["steps"]] == [guest, disk]
    assert found["expected"] == {"median": 3.0, "p95": 9.0, "samples": 3, "chain": ["guest", "disk"]}
    assert (found["budget"], found["worst_chain"], found["history"]) == (60.0, ["guest", "disk"], {"trouble": None})
    desk.store.durations.return_value = {"disk": disk}
    assert (await desk.ask("plan", instance="VI_1", target="active"))["expected"] is None


async def test_a_plan_needs_no_history(desk: Desk) -> None:
    desk.executor.commands.return_value = ()
    desk.store.durations.side_effect = StoreError("the disk hangs")
    found = await desk.ask("plan", instance="VI_1", target="active")
    assert (len(found["steps"]), found["expected"], found["history"]) == (2, None, {"trouble": "the disk hangs"})


async def test_the_status_has_the_configurations_digest_and_the_peers(desk: Desk) -> None:
    answer = await desk.ask("status")
    assert (answer["node"], answer["digest"], answer["peers"]) == ("left", "4f1a", {"right": "192.0.2.2"})
    assert datetime.fromisoformat(answer["at"]).tzinfo is not None


@pytest.mark.parametrize("target", [None, "master", 1])
async def test_a_plan_needs_a_target(desk: Desk, target: object) -> None:
    refused = await desk.refusal("plan", instance="VI_1", target=target)
    assert (refused.error, refused.hint) == (f'"{target}" is not a target', "expected active or standby")


@pytest.mark.parametrize("verb", ["plan", "standby", "online", "reset", "reconcile", "acknowledge", "accept", "status"])
async def test_an_unknown_instance_is_refused_with_the_known_ones(desk: Desk, verb: str) -> None:
    refused = await desk.refusal(verb, instance="VI_7")
    assert (refused.error, refused.hint) == ('there is no instance "VI_7"', "expected one of: VI_1")


async def test_without_any_instance_the_remedy_is_told(desk: Desk) -> None:
    desk.core.state = State(config=config(), instances={})
    assert "systemctl reload failoverd" in (await desk.refusal("reset", instance="VI_1")).hint


async def test_the_history_is_as_long_as_it_is_asked_for(desk: Desk) -> None:
    desk.store.history.return_value = [{"id": 2}]
    assert await desk.ask("history", n=1000) == {"transitions": [{"id": 2}]}
    desk.store.history.assert_awaited_once_with(1000)


@pytest.mark.parametrize("number", [0, -1, 1001, "5", None])
async def test_a_history_of_no_length_is_refused(desk: Desk, number: object) -> None:
    assert "from 1 to 1000" in (await desk.refusal("history", n=number)).error


async def test_one_transition(desk: Desk) -> None:
    desk.store.transition.return_value = {"id": 7, "steps": []}
    assert await desk.ask("transition", id=7) == {"id": 7, "steps": []}
    desk.store.transition.return_value = None
    refused = await desk.refusal("transition", id=8)
    assert refused.error == "there is no transition 8"
    assert "failoverctl history" in refused.hint
    assert "must be a number" in (await desk.refusal("transition", id="8")).error


async def test_an_unreadable_history_gives_its_reason(desk: Desk) -> None:
    desk.store.history.side_effect = desk.store.transition.side_effect = StoreError("the disk hangs")
    assert (await desk.refusal("history")).error == "the disk hangs"
    assert (await desk.refusal("transition", id=1)).error == "the disk hangs"


async def test_a_reset_is_recorded_and_names_the_user(desk: Desk) -> None:
    answer = await desk.ask("reset", instance="VI_1")
    phase = desk.core.state.instances["VI_1"].phase.value
    assert answer == {"instance": "VI_1", "phase": phase, "forgotten": [], "standby": False}
    assert desk.dispatched() == [Acknowledged(instance="VI_1"), Reset(instance="VI_1", cause=f"reset by {ROOT}")]
    assert desk.recorded() == [(str(ROOT), "reset", "VI_1")]


async def test_a_reset_forgets_the_strays_of_a_removed_instance(desk: Desk) -> None:
    desk.leave_a_stray()
    answer = await desk.ask("reset", instance="VI_9")
    assert answer == {"instance": "VI_9", "phase": None, "forgotten": ["old"], "standby": False}
    assert Acknowledged(instance="VI_9") in desk.dispatched()


def become(desk: Desk, **changed: Any) -> None:
    """VI_1 is in another state."""
    instance = replace(desk.core.state.instances["VI_1"], **changed)
    desk.core.state = replace(desk.core.state, instances={"VI_1": instance})


async def test_standby_is_recorded_for_every_instance(desk: Desk) -> None:
    answer = await desk.ask("standby", all=True)
    assert desk.dispatched() == [Together(events=(StandbyWanted(instance="VI_1", by=str(ROOT)),))]
    assert desk.recorded() == [(str(ROOT), "standby", "VI_1")]
    assert answer["unsaved"] is None
    assert answer["instances"]["VI_1"] == {"leaving": False, "worst_case": ANY, "obstacles": [], "unknown": []}


@pytest.mark.parametrize("why", ["clearance", "lease"])
@pytest.mark.parametrize("verb", ["standby", "handover"])
async def test_a_stray_here_that_would_keep_every_other_node_from_serving_is_an_obstacle(
    desk: Desk, verb: str, why: str
) -> None:
    stray = Stray(spec=resource("old"), seen=Observation(level=Level.ACTIVE), since=0.0, needs=frozenset())
    if why == "clearance":
        desk.beside_another_node_that_can_be_fenced()
    else:
        become(desk, target=Target.ACTIVE, phase=Phase.ACTIVE)
        held = replace(desk.core.state.config, quorum=Quorum(leases=("etcd://192.0.2.9:2379",)))
        desk.core.state = replace(desk.core.state, config=held)
    desk.core.state = replace(desk.core.state, strays={"old": stray})
    more = {"part": "check", "id": "left.1"} if verb == "handover" else {}
    refused = await desk.refusal(verb, instance="VI_1", **more)
    assert refused.error == (
        "VI_1: old is no longer configured and may run here, so no other node would be activated; stop it, then: "
        "failoverctl reset VI_1"
    )


async def test_standby_is_refused_where_the_node_that_may_be_elected_would_fence_a_third(desk: Desk) -> None:
    desk.beside_another_node_that_can_be_fenced(against_move={"center": "is not heard, so it would be fenced"})
    refused = await desk.refusal("standby", instance="VI_1")
    assert refused.error == (
        "VI_1: right might be elected, and could not take over: center is not heard, so it would be fenced"
    )
    assert refused.hint == "to do it all the same: failoverctl standby --anyway VI_1"
    await desk.ask("standby", instance="VI_1", anyway=True)
    assert desk.dispatched() == [Together(events=(StandbyWanted(instance="VI_1", by=str(ROOT)),))]


async def test_a_handover_leaves_that_to_failoverctl_which_knows_the_node_that_is_to_be_elected(desk: Desk) -> None:
    desk.beside_another_node_that_can_be_fenced(against_move={"center": "is not heard, so it would be fenced"})
    assert (await desk.ask("handover", instance="VI_1", part="check", id="left.1"))["instance"] == "VI_1"


async def test_a_node_that_is_not_active_may_be_kept_in_standby_whatever_the_others_say(desk: Desk) -> None:
    desk.beside_another_node_that_can_be_fenced(standby=True)
    become(desk, target=Target.STANDBY)
    await desk.ask("standby", instance="VI_1")
    assert desk.dispatched()


async def test_the_status_says_what_is_against_a_planned_move_to_this_node(desk: Desk) -> None:
    desk.configuration.digest = "4f1a"
    desk.beside_another_node_that_can_be_fenced()
    assert (await desk.ask("status"))["instances"]["VI_1"]["against_move"] == {}
    desk.core.state = replace(desk.core.state, peers={})
    found = (await desk.ask("status"))["instances"]["VI_1"]["against_move"]
    assert found["right"].startswith("is not heard, so it would be fenced")


async def test_standby_is_refused_with_every_reason_at_once(desk: Desk) -> None:
    desk.watched.return_value = False
    desk.executor.no_successor.side_effect = ["no peer is connected and UpToDate (hv2: Connecting, DUnknown)", ""]
    spec = replace(desk.core.state.instances["VI_1"].spec, only_here=("guest",))
    become(desk, target=Target.ACTIVE, spec=spec)
    refused = await desk.refusal("standby", instance="VI_1")
    assert refused.error == (
        "VI_1: standby would have no effect: keepalived does not watch /run/failoverd/track/VI_1 (track_file in "
        "keepalived.conf, see failoverd.toml(5)); VI_1: guest is configured on this node only; "
        "VI_1: disk: no peer is connected and UpToDate (hv2: Connecting, DUnknown)"
    )
    assert refused.hint == "to do it all the same: failoverctl standby --anyway VI_1"
    desk.executor.no_successor.side_effect = None
    answer = await desk.ask("standby", instance="VI_1", anyway=True)
    assert answer["instances"]["VI_1"]["leaving"] is True
    assert len(answer["instances"]["VI_1"]["obstacles"]) == 2


async def test_a_node_that_is_not_active_leaves_nobody_behind(desk: Desk) -> None:
    desk.executor.no_successor.return_value = "it has no peer"
    become(desk, target=Target.STANDBY, spec=replace(desk.core.state.instances["VI_1"].spec, only_here=("guest",)))
    await desk.ask("standby", instance="VI_1")
    desk.executor.no_successor.assert_not_called()


async def test_facts_that_are_not_known_are_told_and_refuse_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "_ASK_TIMEOUT_S", 0.01)
    desk.watched.return_value = None
    desk.executor.no_successor = AsyncMock(side_effect=unknown)
    become(desk, target=Target.ACTIVE)
    answer = await desk.ask("standby", instance="VI_1")
    assert answer["instances"]["VI_1"]["unknown"] == [
        "whether keepalived watches /run/failoverd/track/VI_1 (track_file)",
        "the peers of disk: drbdsetup is missing",
        "the peers of guest: no answer within 0.01 s",
    ]


async def unknown(spec: ResourceSpec) -> str:
    if spec.name == "disk":
        raise DriverError("drbdsetup is missing")
    await asyncio.Event().wait()
    return ""


async def test_a_wish_that_the_disk_does_not_have_is_told(desk: Desk) -> None:
    desk.wishes.saved.return_value = "cannot write it: the disk is full"
    assert (await desk.ask("standby", instance="VI_1"))["unsaved"] == "cannot write it: the disk is full"
    assert (await desk.ask("online", instance="VI_1"))["unsaved"] == "cannot write it: the disk is full"


@pytest.mark.parametrize("asked", [{"instance": "VI_9"}, {"all": True}])
@pytest.mark.parametrize("alone", [False, True])
async def test_online_ends_the_standby_of_an_instance_that_is_not_configured(
    desk: Desk, asked: dict[str, Any], alone: bool
) -> None:
    instances = {} if alone else desk.core.state.instances
    wished = {"VI_9": Standby(by="jim", at=1.0)}
    desk.core.state = replace(desk.core.state, instances=instances, standby=wished)
    answer = await desk.ask("online", **asked)
    assert answer["instances"]["VI_9"] == {"ended": True, "released": None, "configured": False, "relying": ()}
    (together,) = desk.dispatched()
    assert together.events[-1].instance == "VI_9"
    assert "VI_9" in desk.wishes.end.call_args.args[0], "in a file that is read later, too"


async def test_online_names_the_nodes_that_cannot_hear_it(desk: Desk) -> None:
    quorum, heartbeat = Quorum(witnesses=("icmp://192.0.2.254",), need=1), Heard(node="left", peers=("right",))
    desk.core.state = replace(
        desk.core.state, config=replace(desk.core.state.config, quorum=quorum, heartbeat=heartbeat)
    )
    spec = replace(desk.core.state.instances["VI_1"].spec, others=("right",))
    become(desk, standby=Standby(by="jim", at=1.0), spec=spec)
    assert (await desk.ask("online", instance="VI_1"))["instances"]["VI_1"]["relying"] == ("right",)


@pytest.mark.parametrize(
    ("preempt", "phase", "ago", "refused"),
    [
        (True, "active", 0.0, True),
        (False, "active", 0.0, False),
        (True, "standby", 0.0, False),
        (True, "active", 60.0, False),  # it was active, and is silent: perhaps nobody is active now
    ],
)
async def test_online_is_refused_where_it_may_depose_an_active_node_for_one_that_cannot_serve(
    desk: Desk, preempt: bool, phase: str, ago: float, refused: bool
) -> None:
    desk.beside_another_node_that_can_be_fenced(phase=Phase(phase), rests=phase == "standby")
    state = desk.core.state
    heartbeat = Heard(node="left", peers=("right", "center"))
    fences = dict.fromkeys(("right", "center"), Fence(agent="/usr/sbin/fence_x"))
    desk.core.state = replace(state, config=replace(state.config, heartbeat=heartbeat, fences=fences))
    if ago:
        at = asyncio.get_running_loop().time() - ago
        words = {"VI_1": replace(state.peers["right"].words["VI_1"], at=at)}
        desk.core.state = replace(desk.core.state, peers={"right": Known(at=at, words=words)})
    spec = replace(state.instances["VI_1"].spec, others=("right", "center"), preempt=preempt)
    become(desk, target=Target.STANDBY, standby=Standby(by="jim", at=1.0), spec=spec)
    if refused:
        found = await desk.refusal("online", instance="VI_1")
        assert found.error == (
            "VI_1: another node is active, and keepalived may move mastership here: center is not heard, so it would "
            "be fenced: start its failoverd, or if it is certainly off, on left: failoverctl confirm-off center"
        )
        assert found.hint == "to do it all the same: failoverctl online --anyway VI_1"
    desk.core.dispatch.assert_not_called()
    await desk.ask("online", instance="VI_1", anyway=refused)
    assert desk.dispatched()


async def test_online_is_recorded_and_tells_of_a_release(desk: Desk) -> None:
    become(desk, standby=Standby(by="jim", at=1.0), released="disk: it refused")
    answer = await desk.ask("online", instance="VI_1")
    told = {"ended": True, "released": "disk: it refused", "configured": True, "relying": ()}
    assert answer["instances"] == {"VI_1": told}
    ended = OnlineWanted(instance="VI_1", cause=f"{ROOT} has ended the standby")
    assert desk.dispatched() == [Together(events=(ended,))]
    assert desk.recorded() == [(str(ROOT), "online", "VI_1")]


async def hand_over(desk: Desk, part: str, **more: Any) -> dict[str, Any]:
    return await desk.ask("handover", instance="VI_1", part=part, **{"id": "left.1", **more})


async def not_handed_over(desk: Desk, part: str, **more: Any) -> str:
    with pytest.raises(Refused) as caught:
        await hand_over(desk, part, **more)
    return caught.value.error


def ahead(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_a_handover_is_recorded_and_begun(desk: Desk) -> None:
    become(desk, phase=Phase.ACTIVE)
    answer = await hand_over(desk, "check")
    times = {"worst_case": ANY, "worst_case_there": ANY, "competes_after": ANY}
    assert answer == {"instance": "VI_1", "preempt": True, **times}
    assert desk.dispatched() == desk.recorded() == []
    assert await hand_over(desk, "begin", until=time.monotonic() + 30.0) == answer
    assert desk.dispatched() == [HandoverWanted(instance="VI_1", by=str(ROOT), id="left.1", until=ANY)]
    assert desk.dispatched()[0].until == pytest.approx(ahead(30.0), abs=20)
    assert desk.recorded() == [(str(ROOT), "handover", "VI_1")]


async def test_a_handover_that_nobody_waits_for_any_more_does_not_begin(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failoverd was stopped while failoverctl waited for it, and its loop does not count that time."""
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", lambda: time.monotonic() - 100.0)
    become(desk, phase=Phase.ACTIVE)
    assert "came too late" in await not_handed_over(desk, "begin", until=time.monotonic())
    assert desk.dispatched() == []


async def test_of_two_handovers_the_first_one_counts(desk: Desk) -> None:
    become(desk, phase=Phase.ACTIVE)
    await hand_over(desk, "check")
    assert await not_handed_over(desk, "check", id="left.2") == f"{ROOT} hands VI_1 over already"
    await hand_over(desk, "cancel", id="left.2")
    assert await not_handed_over(desk, "check", id="left.2") == f"{ROOT} hands VI_1 over already"
    await hand_over(desk, "cancel")
    await hand_over(desk, "check", id="left.2")


async def test_only_an_active_node_that_competes_hands_over(desk: Desk) -> None:
    until = time.monotonic() + 30.0
    assert (await not_handed_over(desk, "begin", until=until)).startswith("VI_1 is not active here: ")
    become(desk, phase=Phase.ACTIVE, standby=Standby(by="jim", at=1.0))
    assert (await not_handed_over(desk, "begin", until=until)).startswith("VI_1 is not active here: ")
    become(desk, phase=Phase.ACTIVE, standby=None)
    desk.watched.return_value = False
    assert "keepalived does not watch" in await not_handed_over(desk, "begin", until=until)
    desk.watched.return_value = True
    become(desk, handover=Handover(by="jim", id="left.0", attended_until=1.0))
    assert await not_handed_over(desk, "begin", until=until) == "jim hands VI_1 over already"


async def test_a_handover_is_attended(desk: Desk) -> None:
    await hand_over(desk, "attend", until=time.monotonic() + 30.0)
    assert desk.dispatched() == [HandoverAttended(instance="VI_1", id="left.1", until=ANY)]
    assert desk.dispatched()[0].until == pytest.approx(ahead(30.0), abs=20)
    await hand_over(desk, "attend", until=time.monotonic() + 1e9)
    assert desk.dispatched()[1].until <= ahead(60.0), "a wrong time is no consent for ever"
    assert "until must be a time" in await not_handed_over(desk, "attend", until="now")


@pytest.mark.parametrize("ended", [False, True])
async def test_a_handover_is_confirmed_and_whether_it_still_was_one_is_said(desk: Desk, ended: bool) -> None:
    handover = None if ended else Handover(by="root", id="left.1", attended_until=1.0, given_at=1.0)
    become(desk, handover=handover)
    answer = await hand_over(desk, "confirm")
    assert desk.dispatched() == [HandoverConfirmed(instance="VI_1", id="left.1", by=str(ROOT))]
    told = {"competes": ended, "standby": False, "vrrp_state": None, "unsaved": None}
    assert answer == {"instance": "VI_1", "confirmed": not ended, **told}


async def test_a_standby_that_would_not_survive_a_reboot_is_said(desk: Desk) -> None:
    become(desk, standby=Standby(by="root", at=1.0))
    desk.wishes.saved.return_value = "cannot write wishes: Is a directory"
    answer = await hand_over(desk, "confirm")
    assert (answer["standby"], answer["unsaved"]) == (True, "cannot write wishes: Is a directory")


async def test_a_handover_has_parts_and_an_id(desk: Desk) -> None:
    assert '"None" is not a part of a handover' in (await desk.refusal("handover", instance="VI_1")).error
    assert "id must be a word" in await not_handed_over(desk, "check", id="")


@pytest.mark.parametrize(
    ("before", "after", "cancelled"),
    [
        (None, None, False),
        ("left.1", None, True),
        ("left.1", "left.1", False),
        ("left.2", "left.2", False),
        ("left.2", None, False),
    ],
)
async def test_whether_a_handover_was_cancelled_is_said(
    desk: Desk, before: str | None, after: str | None, cancelled: bool
) -> None:
    def handover(number: str | None) -> Handover | None:
        return None if number is None else Handover(by="root", id=number, attended_until=1.0)

    become(desk, phase=Phase.ACTIVE, handover=handover(before))
    desk.core.dispatch.side_effect = lambda _: become(desk, handover=handover(after))
    answer = await hand_over(desk, "cancel", cause="center is gone", released=True)
    assert answer == {"instance": "VI_1", "cancelled": cancelled}
    (event,) = desk.dispatched()
    assert event == HandoverCancelled(instance="VI_1", id="left.1", cause="center is gone", released=True)


async def test_a_standby_is_kept_aside_for_a_while(desk: Desk) -> None:
    become(desk, phase=Phase.STANDBY, target=Target.STANDBY)
    await hand_over(desk, "aside")
    (event,) = desk.dispatched()
    assert isinstance(event, AsideWanted)
    assert event.until == pytest.approx(ahead(handover.ASIDE_S), abs=30)
    become(desk, aside=Aside(id="left.1", until=1.0))
    await hand_over(desk, "aside")
    assert "aside for another handover, left.1" in await not_handed_over(desk, "aside", id="center.1")
    await hand_over(desk, "compete")
    assert desk.dispatched()[-1] == AsideEnded(instance="VI_1", id="left.1")
    assert desk.recorded() == [(str(ROOT), "aside", "VI_1")], "once, and not at each renewal"


async def test_a_node_that_serves_does_not_stand_aside(desk: Desk) -> None:
    become(desk, phase=Phase.PROMOTING, target=Target.ACTIVE)
    assert await not_handed_over(desk, "aside") == "VI_1 is active here"
    become(desk, phase=Phase.FAILED)
    await hand_over(desk, "aside")


async def test_a_reset_tells_that_it_ends_no_standby(desk: Desk) -> None:
    become(desk, standby=Standby(by="jim", at=1.0))
    assert (await desk.ask("reset", instance="VI_1"))["standby"] is True


async def test_maintenance_is_recorded_with_its_end(desk: Desk) -> None:
    await desk.ask("maintenance", on=True, **{"for": 60})
    (begun,) = desk.dispatched()
    assert isinstance(begun, MaintenanceBegun)
    assert begun.until == pytest.approx(asyncio.get_running_loop().time() + 60, abs=30)
    await desk.ask("maintenance", on=True)
    assert desk.dispatched()[1] == MaintenanceBegun(by=str(ROOT), until=math.inf)
    await desk.ask("maintenance", on=False)
    assert desk.dispatched()[2] == MaintenanceEnded(cause=f"{ROOT} has ended the maintenance")
    assert [state for _, state, _ in desk.recorded()] == ["maintenance on", "maintenance on", "maintenance off"]


@pytest.mark.parametrize(
    "params", [{}, {"on": "yes"}, {"on": True, "for": 0}, {"on": True, "for": "2h"}, {"on": True, "for": 1e9}]
)
async def test_a_maintenance_of_no_time_is_refused(desk: Desk, params: dict[str, Any]) -> None:
    await desk.refusal("maintenance", **params)


async def test_standby_is_refused_in_maintenance(desk: Desk) -> None:
    maintenance = Maintenance(by="root", since=1.0, until=math.inf)
    desk.core.state = replace(desk.core.state, maintenance=maintenance)
    refused = await desk.refusal("standby", instance="VI_1", anyway=True)
    assert refused.hint == "end it first: failoverctl maintenance off"


async def test_standby_is_refused_where_maintenance_begins_while_it_asks(desk: Desk) -> None:
    async def watched(_: str) -> bool:
        desk.core.state = replace(desk.core.state, maintenance=Maintenance(by="root", since=1.0, until=math.inf))
        return True

    desk.watched.side_effect = watched
    await desk.refusal("standby", instance="VI_1", anyway=True)


def many(desk: Desk) -> list[str]:
    """So many instances that they are handled in three pieces."""
    instance = desk.core.state.instances["VI_1"]
    names = [f"VI_{number}" for number in range(2 * AT_ONCE + 1)]
    instances = {name: replace(instance, spec=replace(instance.spec, name=name)) for name in names}
    desk.core.state = replace(desk.core.state, instances=instances)
    return names


@pytest.mark.parametrize("verb", ["standby", "online"])
async def test_many_instances_are_handled_in_pieces_and_other_events_in_between(desk: Desk, verb: str) -> None:
    names, turns = many(desk), 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(turn)

    loop, at = asyncio.get_running_loop(), []
    desk.core.dispatch.side_effect = lambda _: at.append(turns)
    loop.call_soon(turn)
    await desk.ask(verb, all=True)
    pieces = desk.dispatched()
    assert [len(piece.events) for piece in pieces] == [AT_ONCE, AT_ONCE, 1]
    assert [each.instance for piece in pieces for each in piece.events] == names
    assert [name for _, _, name in desk.recorded()] == names
    assert len(set(at)) == len(at)


async def test_maintenance_between_two_pieces_keeps_the_rest_as_it_is(desk: Desk) -> None:
    many(desk)

    def maintained(_: object) -> None:
        desk.core.state = replace(desk.core.state, maintenance=Maintenance(by="root", since=1.0, until=math.inf))

    desk.core.dispatch.side_effect = maintained
    with pytest.raises(Refused, match="maintenance"):
        await desk.ask("standby", all=True)
    assert len(desk.dispatched()) == 1
    assert len(desk.recorded()) == AT_ONCE


async def test_standby_passes_over_an_instance_that_is_gone_when_it_has_asked(desk: Desk) -> None:
    async def watched(_: str) -> bool:
        desk.core.state = replace(desk.core.state, instances={})
        return True

    desk.watched.side_effect = watched
    await desk.refusal("standby", instance="VI_1", anyway=True)


@pytest.mark.parametrize(
    "leaving",
    [{"standby": Standby(by="jim", at=1.0)}, {"handover": Handover(by="jim", id="left.1", attended_until=1.0)}],
)
@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEMOTING])
async def test_maintenance_is_refused_while_mastership_leaves(
    desk: Desk, leaving: dict[str, Any], phase: Phase
) -> None:
    become(desk, phase=phase, **leaving)
    assert (await desk.refusal("maintenance", on=True)).error.startswith("VI_1: mastership leaves this node")


async def test_maintenance_is_refused_while_any_demotion_runs(desk: Desk) -> None:
    """Another node has taken over, so nobody here has asked for it."""
    become(desk, phase=Phase.DEMOTING, target=Target.STANDBY)
    refused = await desk.refusal("maintenance", on=True)
    assert refused.error.startswith("VI_1: mastership leaves this node")
    assert refused.hint == "wait until it is in standby: failoverctl status"


async def test_maintenance_is_refused_where_mastership_is_released_and_the_node_is_active(desk: Desk) -> None:
    become(desk, phase=Phase.ACTIVE, target=Target.ACTIVE, released="disk: it refused")
    refused = await desk.refusal("maintenance", on=True)
    assert refused.hint.endswith("or let it stay: failoverctl reset VI_1")


async def test_maintenance_begins_where_standby_is_reached(desk: Desk) -> None:
    become(desk, phase=Phase.STANDBY, standby=Standby(by="jim", at=1.0))
    await desk.ask("maintenance", on=True)


def maintain(desk: Desk) -> None:
    maintenance = Maintenance(by="jim", since=1.0, until=math.inf)
    desk.core.state = replace(desk.core.state, maintenance=maintenance)


@pytest.mark.parametrize(
    ("verb", "away"),
    [
        ("online", {"standby": Standby(by="jim", at=1.0)}),
        ("reset", {"released": "disk: it refused"}),
        ("accept", {"released": "disk: it refused"}),
    ],
)
async def test_in_maintenance_no_verb_lets_keepalived_elect_this_node(
    desk: Desk, verb: str, away: dict[str, Any]
) -> None:
    become(desk, target=Target.STANDBY, phase=Phase.STANDBY, **away)
    maintain(desk)
    refused = await desk.refusal(verb, instance="VI_1", resource="disk")
    assert refused.error.endswith("would make this node MASTER of VI_1, and nothing would be active")
    assert refused.hint == "end it first: failoverctl maintenance off"


@pytest.mark.parametrize("verb", ["online", "reset"])
async def test_what_moves_no_mastership_is_not_refused_in_maintenance(desk: Desk, verb: str) -> None:
    maintain(desk)
    await desk.ask(verb, instance="VI_1")
    away = {"standby": Standby(by="jim", at=1.0), "released": "disk: it refused"}
    become(desk, target=Target.ACTIVE, phase=Phase.ACTIVE, **away)
    await desk.ask(verb, instance="VI_1")
    instance = desk.core.state.instances["VI_1"]
    become(desk, target=Target.STANDBY, phase=Phase.STANDBY, spec=replace(instance.spec, preempt=False))
    await desk.ask(verb, instance="VI_1")


async def test_a_reconcile_is_recorded_and_waits_for_keepalived(desk: Desk) -> None:
    assert await desk.ask("reconcile", instance="VI_1") == {"instance": "VI_1", "answered": True}
    assert desk.dispatched() == [CheckAsked(instance="VI_1", cause=f"{ROOT} wants everything checked")]
    assert desk.recorded() == [(str(ROOT), "reconcile", "VI_1")]
    desk.queries.answered.assert_awaited_once()


async def test_a_reconcile_does_not_wait_without_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "_QUERY_TIMEOUT_S", 0.01)
    desk.queries.answered.side_effect = asyncio.Event().wait
    assert (await desk.ask("reconcile", instance="VI_1"))["answered"] is False


async def test_an_acknowledgement_counts_the_other_masters(desk: Desk) -> None:
    rivals = tuple(Rival(since=at, until=at, gave_way=False) for at in (1.0, 2.0))
    instance = replace(desk.core.state.instances["VI_1"], rivals=rivals)
    desk.core.state = replace(desk.core.state, instances={"VI_1": instance})
    assert await desk.ask("acknowledge", instance="VI_1") == {"instance": "VI_1", "acknowledged": 2}
    assert desk.dispatched() == [RivalsNoted(instance="VI_1")]
    assert desk.recorded() == [(str(ROOT), "acknowledge", "VI_1")]


async def test_a_node_that_is_silent_can_be_confirmed_to_be_off(desk: Desk) -> None:
    desk.beside_another_node_that_can_be_fenced()
    desk.core.state = replace(desk.core.state, peers={})
    assert await desk.ask("confirm-off", node="right") == {"node": "right", "was_off": False}
    assert desk.dispatched() == [PeerConfirmedOff(peer="right", by=str(ROOT))]
    assert desk.recorded() == [(str(ROOT), "confirm-off", "right")]


@pytest.mark.parametrize(
    ("node", "error"),
    [
        ("left", "[heartbeat] has no other node left"),
        ("rihgt", "[heartbeat] has no other node rihgt"),
        ("right", "right is not off: its failoverd is heard"),
    ],
)
async def test_a_node_that_is_heard_or_unknown_cannot(desk: Desk, node: str, error: str) -> None:
    desk.beside_another_node_that_can_be_fenced()
    heard = {"right": Known(at=asyncio.get_running_loop().time())}
    desk.core.state = replace(desk.core.state, peers=heard)
    assert (await desk.refusal("confirm-off", node=node)).error == error


async def test_without_a_heartbeat_nothing_waits_for_a_node(desk: Desk) -> None:
    assert (await desk.refusal("confirm-off", node="right")).error.startswith("there is no [heartbeat]")


async def test_a_node_that_was_fenced_counts_as_on_again(desk: Desk) -> None:
    fences = dict.fromkeys(("left", "right", "center"), Fence(agent="/usr/sbin/fence_x"))
    off = {"right": Off(at=1.0, said="status 2")}
    desk.core.state = replace(desk.core.state, config=replace(desk.core.state.config, fences=fences), off=off)
    assert await desk.ask("unfence", node="right") == {"node": "right", "was_off": True, "promised": False}
    assert await desk.ask("unfence", node="center") == {"node": "center", "was_off": False, "promised": False}
    assert desk.dispatched() == [PeerUnfenced(peer=node, by=str(ROOT)) for node in ("right", "center")]
    assert desk.recorded() == [(str(ROOT), "unfence", "right"), (str(ROOT), "unfence", "center")]


@pytest.mark.parametrize("node", ["left", "rihgt"])
async def test_only_a_node_that_can_be_fenced_can_be_unfenced(desk: Desk, node: str) -> None:
    fences = dict.fromkeys(("left", "right"), Fence(agent="/usr/sbin/fence_x"))
    desk.core.state = replace(desk.core.state, config=replace(desk.core.state.config, fences=fences))
    refusal = await desk.refusal("unfence", node=node)
    error = f"neither [heartbeat] nor [fence.{node}] names another node {node}"
    assert (refusal.error, refusal.hint) == (error, "expected one of: right")


async def test_an_acceptance_is_the_cause_of_the_next_attempt(desk: Desk) -> None:
    desk.executor.accept.return_value = "old data of 14:02, accepted by root"
    answer = await desk.ask("accept", instance="VI_1", resource="disk")
    assert answer == {"instance": "VI_1", "resource": "disk", "accepted": "old data of 14:02, accepted by root"}
    desk.executor.accept.assert_awaited_once_with(resource("disk"), str(ROOT))
    assert desk.dispatched() == [Reset(instance="VI_1", cause="old data of 14:02, accepted by root")]
    assert desk.recorded() == [(str(ROOT), "accept disk", "VI_1")]


async def test_a_driver_that_does_not_accept_gives_its_reason(desk: Desk) -> None:
    desk.executor.accept.side_effect = DriverError("there is nothing to accept")
    assert (await desk.refusal("accept", instance="VI_1", resource="disk")).error == "there is nothing to accept"


async def test_an_unknown_resource_is_refused_with_the_known_ones(desk: Desk) -> None:
    refused = await desk.refusal("accept", instance="VI_1", resource="dsk")
    assert (refused.error, refused.hint) == ('VI_1 has no resource "dsk" on this node', "expected one of: disk, guest")


async def test_a_test_of_the_alert_command_shows_its_end(desk: Desk) -> None:
    command = "/usr/local/bin/page 'on call'"
    desk.alerts.test.return_value = Sent("", 0.1234)
    assert await desk.ask("alert test") == {"command": command, "seconds": 0.123}
    desk.alerts.test.assert_awaited_once_with("root")
    desk.alerts.test.return_value = None
    assert await desk.ask("alert test") == {"command": command, "seconds": None}
    desk.alerts.test.return_value = Sent("page: exit status 1: bad token", 0.5)
    refused = await desk.refusal("alert test")
    assert refused.error == "the alert command failed: page: exit status 1: bad token"


async def test_a_test_without_an_alert_command_is_refused_with_the_remedy(desk: Desk) -> None:
    desk.alerts.command = None
    refused = await desk.refusal("alert test")
    assert refused.error == "no alert command is configured"
    assert refused.hint.endswith("then: systemctl reload failoverd")
