"""`failoverctl handover`: who can take over, and each way in which it ends."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self

import pytest

from failoverd.ctl import __main__ as ctl
from failoverd.ctl import candidates, client, handover, other_nodes, peers, rehearsal, waiting
from failoverd.ctl.all_nodes import Cluster
from failoverd.ctl.candidates import Plan
from failoverd.ctl.page import plain
from failoverd.ctl.peers import Reply
from failoverd.ctl.verbs.handover import VERB

WAYS = {"right": "192.0.2.2", "center": "192.0.2.3"}
BEGUN = {"instance": "VI_1", "worst_case": 30.0, "worst_case_there": 30.0, "competes_after": 10.0}


def instance(phase: str, state: str, **more: Any) -> dict[str, Any]:
    level = phase if phase in ("active", "standby") else "unknown"
    return {
        "phase": phase,
        "since": "2026-11-21T03:17:24+00:00",
        "vrrp_state": state,
        "reason": f"keepalived reported {state}",
        "vips": [],
        "resources": {"disk": {"level": level}, "guest": {"level": level}},
        **more,
    }


def node(name: str, seen: dict[str, Any] | None, digest: str = "4f1a") -> dict[str, Any]:
    return {"node": name, "digest": digest, "peers": WAYS, "instances": {} if seen is None else {"VI_1": seen}}


def cluster(right: Mapping[str, Any] | str, center: Mapping[str, Any] | str | None = None) -> Cluster:
    """left is active; a text is the reason why a node gives no answer."""
    center = node("center", instance("standby", "BACKUP")) if center is None else center
    others = {"right": right, "center": center}
    answers = {name: each for name, each in others.items() if not isinstance(each, str)}
    missing = {name: each for name, each in others.items() if isinstance(each, str)}
    own = node("left", instance("active", "MASTER"))
    return Cluster({"left": own, **answers}, missing, datetime.now(UTC))


STANDBY = instance("standby", "BACKUP")


@pytest.mark.parametrize(
    ("right", "why"),
    [
        ("No route to host", "it gives no answer: No route to host"),
        (node("right", None), "its configuration does not have it"),
        (node("right", instance("promoting", "MASTER")), "it is promoting"),
        (node("right", instance("standby", "FAULT")), "its keepalived reports FAULT"),
        (node("right", STANDBY | {"obstacle": "the interface is down"}), "could not take over: the interface is down"),
        (node("right", STANDBY | {"standby": {"by": "jim"}}), "kept in standby by jim"),
        (node("right", instance("standby", "BACKUP", resources={"disk": {"level": "standby"}})), "not carry guest"),
        (node("right", STANDBY, digest="77aa"), "its configuration differs from the one here"),
        (
            node("right", STANDBY | {"against_move": {"center": "is not heard, so it would be fenced"}}),
            "center is not heard, so it would be fenced",
        ),
        (node("right", STANDBY | {"aside": "center.1"}), "it is aside for another handover, center.1"),
        (node("right", STANDBY) | {"maintenance": {"by": "jim"}}, "it is in maintenance"),
    ],
)
def test_a_node_that_cannot_take_over_is_named_with_the_reason(right: Any, why: str) -> None:
    with pytest.raises(client.CtlError) as caught:
        candidates.prepare(cluster(right, "down"), "VI_1", None)
    assert caught.value.error.startswith("no node can take over VI_1: ")
    assert why in caught.value.error
    assert "center: it gives no answer: down" in caught.value.error


def test_without_a_wish_every_fit_node_may_be_elected() -> None:
    plan = candidates.prepare(cluster(node("right", STANDBY)), "VI_1", None)
    assert plan == Plan("VI_1", "left", WAYS, {})


@pytest.mark.parametrize("to", [None, "center"])
def test_a_node_that_cannot_serve_and_might_be_elected_is_kept_aside(to: str | None) -> None:
    right = node("right", STANDBY | {"obstacle": "bird is not running"})
    plan = candidates.prepare(cluster(right), "VI_1", to)
    aside = {"right": WAYS["right"]}
    assert plan == Plan("VI_1", "left", {"center": WAYS["center"]}, aside, frozenset(aside))


def test_all_others_are_kept_aside_for_the_one_that_is_wanted() -> None:
    plan = candidates.prepare(cluster(node("right", STANDBY)), "VI_1", "center")
    assert plan.aside == {"right": WAYS["right"]}


def test_a_node_that_an_operator_keeps_in_standby_cannot_be_elected() -> None:
    plan = candidates.prepare(cluster(node("right", STANDBY | {"standby": {"by": "jim"}})), "VI_1", "center")
    assert plan.aside == {"right": WAYS["right"]}, "that may end meanwhile"
    assert plan.electable == frozenset()


def test_without_a_wish_a_silent_node_is_a_note() -> None:
    plan = candidates.prepare(cluster("down"), "VI_1", None)
    assert plan.notes == ("right might have been elected: it gives no answer: down",)


def test_a_silent_node_might_be_elected_instead() -> None:
    with pytest.raises(client.CtlError, match="right might take over instead of center: it gives no answer: down"):
        candidates.prepare(cluster("down"), "VI_1", "center")


def test_a_node_that_is_not_there() -> None:
    with pytest.raises(client.CtlError, match='there is no other node "rihgt"'):
        candidates.prepare(cluster(node("right", STANDBY)), "VI_1", "rihgt")


# ---------------------------------------------------------------- the course


class Site:
    """left hands over: its daemon, and two other nodes with a keepalived each; all answer at once.

    `asked`: the requests to left's daemon; `told`: the commands on other nodes. `looks`: so many answers of left's
    daemon until the resources are at standby. `elected`: the node that keepalived elects; None: left stays MASTER.
    `before`: what happens at a request, once; it may raise. `aside`: the nodes that are not to be elected.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.told: list[tuple[str, ...]] = []
        self.looks = 3
        self.preempt = False
        self.elected: str | None = "center"
        self.comes_up = instance("active", "MASTER")
        self.seen: dict[str, dict[str, Any] | str] = {"right": STANDBY, "center": STANDBY}
        self.more: dict[str, Any] = {}
        self.before: dict[str, Callable[[], object]] = {}
        self.refusals: dict[tuple[str, str], str] = {}
        self.aside: set[str] = set()
        self.handover: dict[str, Any] | None = None
        self.phase, self.state = "active", "MASTER"
        self.attended = 0.0
        self.confirmed: dict[str, Any] = {}
        self.cause = ""
        self.ending = False
        monkeypatch.setattr(client, "ask", self._ask)
        monkeypatch.setattr(peers, "run", self._run)
        monkeypatch.setattr(peers, "Calls", lambda: self)
        monkeypatch.setattr(other_nodes, "INTERVAL_S", 0.0)
        for module in (handover, rehearsal):
            monkeypatch.setattr(module, "gather", lambda _: cluster(*(self._found(node) for node in WAYS)))

    def _found(self, name: str) -> dict[str, Any] | str:
        seen = self.seen[name]
        return seen if isinstance(seen, str) else node(name, seen) | self.more.get(name, {})

    def _happens(self, what: str) -> None:
        self.before.pop(what, lambda: None)()

    # ------------------------------------------------------------ left's daemon

    def _ask(self, _socket: str, verb: str, params: Mapping[str, Any], **_: float) -> Any:
        part = str(params.get("part", verb))
        self.asked.append(part)
        self._happens(part)
        return getattr(self, f"_{part}")(params)

    def _status(self, _: Mapping[str, Any]) -> Any:
        if self.handover is not None and not self.handover["given"]:
            self.looks -= 1
            if self.looks <= 0 and time.monotonic() < self.attended:
                self._happens("release")
                self.handover["given"], self.phase = True, "standby"
                if self.elected is not None:
                    self.state, self.seen[self.elected] = "FAULT", self.comes_up
        return {"instances": {"VI_1": instance(self.phase, self.state, handover=self.handover)}}

    def _check(self, _: Mapping[str, Any]) -> Any:
        return {**BEGUN, "preempt": self.preempt}

    def _begin(self, params: Mapping[str, Any]) -> Any:
        self.handover, self.attended = {"id": params["id"], "given": False}, params["until"]
        self.phase = "demoting"
        return BEGUN

    def _attend(self, params: Mapping[str, Any]) -> Any:
        self.attended = params["until"]
        return {}

    def _cancel(self, params: Mapping[str, Any]) -> Any:
        found = self.handover
        cancelled = found is not None and (not found["given"] or params["released"])
        if cancelled:
            self.handover, self.phase, self.state, self.cause = None, "promoting", "MASTER", params["cause"]
        return {"cancelled": cancelled}

    def _confirm(self, _: Mapping[str, Any]) -> Any:
        own, self.handover = self.handover is not None, None
        kept = {"competes": not self.preempt, "standby": self.preempt, "vrrp_state": self.state, "unsaved": None}
        return {"confirmed": own, **kept, **self.confirmed}

    # ------------------------------------------------------------ the other nodes

    def __enter__(self) -> Self:
        self._running: dict[str, Sequence[str]] = {}
        return self

    def __exit__(self, *_: object) -> None:
        if self.ending:
            raise SystemExit(130)

    def runs(self, name: str) -> bool:
        return name in self._running

    def start(self, name: str, _way: Any, words: Sequence[str], *, deadline: float = peers.DEADLINE_S) -> None:
        assert 0 < deadline <= peers.DEADLINE_S
        self._running[name] = words

    def ended(self, *, within: float) -> dict[str, Reply]:
        assert within <= waiting.INTERVAL_S
        running, self._running = self._running, {}
        return {name: self._reply(name, words) for name, words in running.items()}

    def _run(self, ways: Mapping[str, Any], words: Sequence[str], **_: float) -> dict[str, Reply]:
        return {name: self._reply(name, words) for name in ways}

    def _reply(self, name: str, words: Sequence[str]) -> Reply:
        self.told.append((name, *words))
        key = words[2].partition("=")[0] if words[1] == "handover" else words[1]
        self._happens(f"{name} {key}")
        found = self._found(name)
        if isinstance(found, str) or (name, key) in self.refusals:
            return Reply(error=str(self.refusals.get((name, key), found)))
        if key == "--aside":
            self.aside.add(name)
        if key == "--compete":
            self.aside.discard(name)
        shown = HISTORY if key == "history" else BACK if key == "--json" else found
        return Reply(output=json.dumps(shown).encode())

    def commands(self, *kinds: str) -> list[tuple[str, str]]:
        """The commands of these kinds on other nodes, each with its node."""
        return [(node, kind) for node, *words in self.told for kind in kinds if kind in " ".join(words)]


HISTORY = {
    "transitions": [
        {"instance": "VI_2", "target": "active", "started": "2026-11-21T03:17:25+00:00", "ended": None},
        {
            "instance": "VI_1",
            "target": "active",
            "started": "2026-11-21T03:17:21+00:00",
            "ended": "2026-11-21T03:17:24.500+00:00",
        },
    ]
}
BACK = {"took": {"stop": 0.5, "move": 0.1, "start": 0.4}}
UNFIT = STANDBY | {"obstacle": "bird is not running"}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(monkeypatch)


def run(to: str | None = "center") -> dict[str, Any]:
    return handover.run("/run/x", "VI_1", to)


def page(found: Mapping[str, Any]) -> str:
    action = VERB.action
    assert not callable(action)
    return plain(action.page(found, Namespace(), datetime.now(UTC)))


def test_the_other_node_says_that_it_is_active(site: Site) -> None:
    site.before["release"] = lambda: assert_aside(site, "right")
    found = run()
    assert (found["from"], found["to"], found["took"]["start"]) == ("left", "center", 3.5)
    assert (found["competes"], found["notes"]) == (True, [])
    assert site.asked.count("begin") == site.asked.count("confirm") == 1
    assert "  VI_1: handed over from left to center\n" in page(found)
    assert "  start  3.5 s" in page(found)
    assert_aside(site)
    assert ("right", "standby") not in site.commands("standby"), "it is no wish of an operator"


def assert_aside(site: Site, *nodes: str) -> None:
    assert site.aside == set(nodes)


def test_where_nodes_preempt_those_that_were_aside_stay_in_standby_too(site: Site) -> None:
    site.preempt = True
    site.refusals["center", "history"] = "failoverctl: no answer"
    found = run()
    assert found["took"]["start"] is None
    assert found["kept"] == ["right"]
    assert [kind for _, kind in site.commands("standby --anyway", "--compete")] == ["standby --anyway", "--compete"]
    text = page(found)
    assert "left stays in standby; to let it take mastership back: failoverctl online VI_1" in text
    assert "so does right; to end that, there: failoverctl online VI_1" in text
    assert "total" not in text


def test_one_that_is_not_kept_in_standby_may_take_it(site: Site) -> None:
    site.preempt = True
    site.refusals["right", "standby"] = "standby is for root"
    assert "right may take mastership, as it is not kept in standby: standby is for root" in page(run())


def test_a_standby_that_would_not_survive_a_reboot_is_said(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.preempt = True
    site.confirmed["unsaved"] = "cannot write wishes: Is a directory"
    assert ctl.main(["handover", "VI_1"]) == 1
    told = capsys.readouterr()
    assert "handed over from left to center" in told.out
    assert "a reboot would forget that: cannot write wishes: Is a directory" in told.err


def test_what_is_not_kept_in_standby_is_not_said_to_be(site: Site) -> None:
    site.confirmed = {"confirmed": False, "competes": False, "standby": False}
    text = page(run())
    assert "stays in standby" not in text
    assert "left does not compete for mastership; see: failoverctl status" in text


def test_a_node_that_has_taken_it_back_meanwhile_is_told(site: Site) -> None:
    site.confirmed = {"confirmed": False, "vrrp_state": "MASTER"}
    with pytest.raises(client.CtlError, match="VI_1 was active on center, and this node is MASTER again"):
        run()


def test_a_refusal_changes_nothing_anywhere(site: Site) -> None:
    site.before["check"] = raising(client.CtlError("handover is for root"))
    with pytest.raises(client.CtlError, match="handover is for root"):
        run()
    assert not site.commands("--aside")


def raising(error: BaseException) -> Callable[[], object]:
    def happens() -> None:
        raise error

    return happens


def test_where_one_that_may_be_elected_is_not_kept_aside_nothing_is_begun(site: Site) -> None:
    site.refusals["right", "--aside"] = "handover is for root"
    with pytest.raises(client.CtlError, match="cannot keep the other nodes aside: right: handover is for root"):
        run()
    assert "begin" not in site.asked


def test_one_that_cannot_be_elected_need_not_be_aside(site: Site) -> None:
    site.seen["right"] = instance("failed", "FAULT")
    site.refusals["right", "--aside"] = "there is no socket"
    assert run()["notes"] == ["right could not be kept aside: there is no socket"]


def test_a_candidate_that_is_lost_while_the_resources_stop_ends_it(site: Site) -> None:
    site.looks = 10_000
    site.before["attend"] = lambda: site.seen.update(center="No route to host")
    with pytest.raises(client.CtlError, match=r"no node can take over any more: center: .* No route to host") as caught:
        run()
    assert "this node serves again" in caught.value.hint
    assert_aside(site)


def test_a_candidate_that_is_put_into_maintenance_meanwhile_is_none(site: Site) -> None:
    site.looks = 10_000
    site.before["attend"] = lambda: site.more.update(center={"maintenance": {"by": "jim"}})
    with pytest.raises(client.CtlError, match="no node can take over any more: center: it is in maintenance"):
        run()


def test_one_of_two_that_is_lost_meanwhile_is_not_to_be_elected(site: Site) -> None:
    site.looks = 30
    site.before["attend"] = lambda: site.seen.update(right=UNFIT)
    site.before["release"] = lambda: assert_aside(site, "right")
    assert run(None)["to"] == "center"
    assert_aside(site)


@pytest.mark.parametrize(
    ("seen", "more"),
    [
        (instance("failed", "MASTER"), {}),
        (instance("refused", "MASTER"), {}),
        (instance("promoting", "MASTER"), {"maintenance": {"by": "jim"}}),
    ],
)
def test_a_node_that_was_elected_and_does_not_serve_loses_it_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, seen: dict[str, Any], more: dict[str, Any]
) -> None:
    monkeypatch.setattr(other_nodes, "_LOST_S", 0.0)
    site.comes_up = seen
    site.before["release"] = lambda: site.more.update(center=more)
    with pytest.raises(client.CtlError, match="center is MASTER and does not serve") as caught:
        run()
    assert "this node is MASTER again" in caught.value.hint
    assert "so this node competes again: center is MASTER" in site.cause
    assert site.commands("--compete")[0] == ("right", "--compete"), "it may be elected now"
    assert ("center", "--aside") in site.commands("--aside")


def test_a_node_that_promotes_and_answers_slowly_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two of its answers passes more time than it may look as if it did not serve."""
    monkeypatch.setattr(other_nodes, "_LOST_S", 0.0)
    site.comes_up = instance("promoting", "MASTER")

    def serves() -> None:
        site.seen["center"] = instance("active", "MASTER")

    site.before["release"] = lambda: site.before.update(
        {"center status": lambda: site.before.update({"center status": serves})}
    )
    assert run()["to"] == "center"


def test_a_node_that_is_gone_after_the_release_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_nodes, "_LOST_S", 0.0)
    site.before["release"] = lambda: site.seen.update(center="No route to host")
    site.elected = None
    with pytest.raises(client.CtlError, match="no node that could take over answers any more"):
        run()
    assert "No route to host" in site.cause
    assert_aside(site)


def test_where_nobody_is_elected_this_node_competes_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (handover, other_nodes):
        monkeypatch.setattr(module, "MOVED_WITHIN_S", 0.0)
    site.comes_up = STANDBY
    with pytest.raises(client.CtlError, match="no other node is MASTER: center: keepalived reported BACKUP"):
        run()
    assert site.handover is None


# ---------------------------------------------------------------- its end


def interrupt(site: Site) -> Callable[[], object]:
    def happens() -> None:
        site.ending = True

    return happens


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(143)])
@pytest.mark.parametrize("at", ["begin", "status", "attend", "release"])
def test_an_end_at_any_moment_leaves_no_other_node_aside(site: Site, end: BaseException, at: str) -> None:
    site.before[at] = raising(end)
    with pytest.raises(client.CtlError) as caught:
        run()
    assert caught.value.status == 130
    assert_aside(site)
    assert site.commands("--compete")


def test_ctrl_c_before_the_point_of_no_return(site: Site) -> None:
    site.looks = 10_000
    site.before["attend"] = interrupt(site)
    with pytest.raises(client.CtlError) as caught:
        run()
    assert caught.value.status == 130
    assert caught.value.error == "the handover of VI_1 is cancelled; this node serves again"
    assert_aside(site)


def test_ctrl_c_after_it_says_that_another_node_may_be_active(site: Site) -> None:
    site.comes_up = instance("promoting", "MASTER")
    site.before["release"] = interrupt(site)
    with pytest.raises(client.CtlError, match="mastership of VI_1 was released, so another node may be active"):
        run()


def test_ctrl_c_after_the_time_of_the_handover_promises_nothing(site: Site) -> None:
    def ends() -> None:
        site.handover, site.phase, site.ending = None, "standby", True

    site.comes_up = instance("promoting", "MASTER")
    site.before["release"] = lambda: site.before.update({"center status": ends})
    with pytest.raises(client.CtlError) as caught:
        run()
    assert caught.value.error == (
        "stopped waiting: the handover of VI_1 had ended; keepalived here reports FAULT, and VI_1 is standby"
    )


def test_ctrl_c_while_failoverd_is_down_is_still_one(site: Site) -> None:
    site.before["attend"] = raising(KeyboardInterrupt())
    site.before["cancel"] = raising(client.UnreachableError("there is no socket"))
    with pytest.raises(client.CtlError, match="failoverd here does not answer: there is no socket") as caught:
        run()
    assert caught.value.status == 130
    assert_aside(site)


def test_ctrl_c_before_it_has_begun(site: Site) -> None:
    site.before["check"] = raising(KeyboardInterrupt())
    with pytest.raises(client.CtlError, match="VI_1 was not handed over; nothing was changed"):
        run()


def test_a_begin_without_an_answer_is_withdrawn(site: Site) -> None:
    site.before["begin"] = raising(client.UnreachableError("failoverd did not answer"))
    with pytest.raises(client.UnreachableError):
        run()
    assert site.asked[-1] == "cancel"
    assert_aside(site)


def test_a_daemon_that_is_started_again_meanwhile_is_waited_for(site: Site) -> None:
    down = raising(client.UnreachableError("there is no socket"))
    site.before |= {"release": lambda: site.before.update(status=down), "attend": down, "confirm": down}
    assert run()["to"] == "center"


def test_a_stop_that_takes_too_long_is_cancelled(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.looks = 10_000
    site.before["begin"] = lambda: monkeypatch.setattr(handover, "GRACE_S", -30.0)
    with pytest.raises(client.CtlError, match="its resources were not at standby after") as caught:
        run()
    assert "this node serves again" in caught.value.hint


@pytest.mark.parametrize("at", ["attend", "release"])
def test_a_failure_is_the_daemons_own_words(site: Site, at: str) -> None:
    def ends() -> None:
        site.before["status"] = lambda: site.__dict__.update(handover=None, phase="promoting", state="MASTER")

    site.elected = None
    site.before[at] = ends
    with pytest.raises(client.CtlError, match=r"VI_1 was not handed over(: keepalived reported|, this node is) MASTER"):
        run()
    assert_aside(site)


def test_where_nobody_is_active_the_way_back_is_said(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.comes_up = instance("promoting", "MASTER")
    site.before["release"] = lambda: monkeypatch.setattr(handover, "GRACE_S", -30.0)
    with pytest.raises(client.CtlError) as caught:
        run()
    assert caught.value.error.startswith("VI_1: no other node is active: center: ")
    assert "this node competes again, 10 s after it released mastership" in caught.value.hint
    assert "failoverctl online VI_1" in caught.value.hint


# ---------------------------------------------------------------- there and back


def test_a_rehearsal_goes_there_and_back(site: Site) -> None:
    def moves() -> None:
        site.state = "BACKUP"

    site.seen["right"] = UNFIT
    site.before["confirm"] = moves
    site.more["center"] = {"peers": {"left": "192.0.2.1"}}
    there, again = rehearsal.there_and_back("/run/x", None)
    assert (there.event, there.observed, there.good) == ("handover to center", "center active", True)
    assert again == rehearsal.Leg("handover to left", "left active", "left active", 1.0, good=True)
    assert site.told[-1] == ("center", "failoverctl", "handover", "--json", "--to=left", "--", "VI_1")


def test_a_way_back_that_fails_is_in_the_table(site: Site) -> None:
    def moves() -> None:
        site.state = "BACKUP"

    site.before["confirm"] = moves
    site.refusals |= {("center", "history"): "no answer", ("center", "--json"): "no node can take over VI_1"}
    there, again = rehearsal.there_and_back("/run/x", "VI_1")
    assert there.seconds is None
    assert (again.observed, again.good) == ("no node can take over VI_1", False)


def test_with_preempt_keepalived_takes_it_back(site: Site) -> None:
    def moves() -> None:
        site.phase, site.state = "active", "MASTER"

    site.preempt = True
    site.seen["right"] = UNFIT
    site._online = lambda _: moves()  # type: ignore[attr-defined]
    _, back = rehearsal.there_and_back("/run/x", None)
    assert (back.event, back.observed, back.good) == ("preemption by left", "left active", True)
    assert site.told[-1] == ("right", "failoverctl", "online", "--", "VI_1"), "as before the rehearsal"


def test_a_node_that_could_not_take_it_back_does_not_rehearse(monkeypatch: pytest.MonkeyPatch) -> None:
    against = {"center": "is not heard, so it would be fenced"}
    own = node("left", instance("active", "MASTER") | {"against_move": against})
    monkeypatch.setattr(rehearsal, "gather", lambda _: Cluster({"left": own}, {}, datetime.now(UTC)))
    with pytest.raises(client.CtlError, match="left could not take VI_1 back: center is not heard, so it would be"):
        rehearsal.there_and_back("/run/x", None)


def test_a_node_that_serves_nothing_has_nothing_to_rehearse(monkeypatch: pytest.MonkeyPatch) -> None:
    own = node("left", STANDBY)
    monkeypatch.setattr(rehearsal, "gather", lambda _: Cluster({"left": own}, {}, datetime.now(UTC)))
    with pytest.raises(client.CtlError, match="no instance is active here"):
        rehearsal.there_and_back("/run/x", None)


FOUND = {
    "instance": "VI_1",
    "from": "left",
    "to": "right",
    "took": {"stop": 0.5, "move": 0.1, "start": 0.4},
    "competes": True,
    "standby": False,
    "kept": [],
    "unsaved": None,
    "notes": [],
}


def test_the_verb_shows_the_page_or_the_facts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, str, str | None]] = []

    def run(socket: str, name: str, to: str | None) -> dict[str, Any]:
        asked.append((socket, name, to))
        return FOUND

    monkeypatch.setattr(handover, "run", run)
    assert ctl.main(["--socket", "/run/x", "handover", "VI_1", "--to", "right"]) == 0
    assert "  total  1 s    not served by either node, at most\n" in capsys.readouterr().out
    assert ctl.main(["--socket", "/run/x", "handover", "VI_1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == FOUND
    assert asked == [("/run/x", "VI_1", "right"), ("/run/x", "VI_1", None)]
