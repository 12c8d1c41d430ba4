"""The other nodes in the course of a handover: asked again and again whether they can take over, or kept aside."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from failoverd.ctl import candidates, client, peers, waiting
from failoverd.ctl.candidates import Plan

#: Seconds between an answer of another node and the next question to it.
INTERVAL_S = 0.5

#: Seconds between two requests to a node that is aside: it stays so for several of them.
_RENEW_S = 4.0

#: Seconds for a question to a node that has answered before, at least: it has three times as long as it took then.
_REQUEST_S = 5.0

#: Seconds for which an answer counts, beyond the time that another question takes.
_FRESH_S = 1.5

#: Seconds for which the node that was elected may look as if it did not serve.
_LOST_S = 3.0

#: The answers in a row by which a node cannot take over, until it counts as one that cannot.
_BAD_ANSWERS = 2

#: Seconds beyond the deadlines of all steps.
GRACE_S = 15.0

#: Seconds in which another node must be MASTER, once mastership was released: the daemon goes on after fewer.
MOVED_WITHIN_S = 15.0

_STATUS = ("failoverctl", "status", "--json")


class _Seen:
    """What a candidate has told.

    `answer`: its last one, None where it gave none; `why`: why it cannot take over by that, empty if it can. `bad`: so
    many answers in a row by which it cannot. `fit_at`: when the last question was asked by whose answer it can.
    `lost`: whether, by its last answer, it would not serve if it was elected; `healthy_at`: when it was last seen
    otherwise.
    """

    def __init__(self, now: float) -> None:
        self.answer: Mapping[str, Any] | None = None
        self.why = ""
        self.bad = 0
        self.fit_at = -1.0
        self.lost = False
        self.healthy_at = now
        self.active_at: float | None = None


class OtherNodes:
    """The nodes of `plan`, for the handover `id` of this node, whose answer to status is `own`.

    Attributes: `ways`: those that may still take over; `notes`: for the operator, by node.
    """

    def __init__(self, own: Mapping[str, Any], plan: Plan, id: str) -> None:
        self._own = own
        self._plan = plan
        self._id = id
        self.ways = dict(plan.ways)
        self._aside = dict(plan.aside)
        self._pending = set[str]()  # to be set aside, and may be elected until then
        now = time.monotonic()
        self._seen = {node: _Seen(now) for node in plan.ways}
        self._asked = dict.fromkeys((*plan.ways, *plan.aside), -1.0)
        self._next = dict.fromkeys((*plan.ways, *plan.aside), now)
        self._slowest = 0.0
        self.notes = dict[str, str]()

    def keep_aside(self) -> None:
        replies = peers.run(self._aside, self._words("--aside"))
        refused = {node: reply.error for node, reply in replies.items() if reply.error}
        wrong = "; ".join(f"{node}: {why}" for node, why in refused.items() if node in self._plan.electable)
        if wrong:
            raise client.CtlError(f"cannot keep the other nodes aside: {wrong}", "nothing else was changed")
        for node, why in refused.items():
            self.notes[node] = f"{node} could not be kept aside: {why}"
        self._next |= dict.fromkeys(self._aside, time.monotonic() + _RENEW_S)

    def _words(self, option: str) -> tuple[str, ...]:
        return ("failoverctl", "handover", f"{option}={self._id}", "--", self._plan.name)

    def let_compete(self) -> None:
        """End it at once; where that fails, it ends by itself."""
        peers.run(self._aside, self._words("--compete"))

    def keep_in_standby(self) -> list[str]:
        """Keep the nodes that were aside in standby, where they would take mastership from the new MASTER at once."""
        ways = {node: way for node, way in self._aside.items() if node in self._plan.electable or node in self._seen}
        replies = peers.run(ways, ("failoverctl", "standby", "--anyway", "--", self._plan.name))
        for node, reply in replies.items():
            if reply.error:
                self.notes[node] = f"{node} may take mastership, as it is not kept in standby: {reply.error}"
        return [node for node, reply in replies.items() if not reply.error]

    def poll(self, calls: peers.Calls, within: float) -> None:
        """Ask the nodes that are due, and take in what has come within so many seconds. KeyboardInterrupt: a signal."""
        now = time.monotonic()
        for node, way in (*self.ways.items(), *self._aside.items()):
            if not calls.runs(node) and now >= self._next[node]:
                self._asked[node] = now
                if node in self._aside:
                    calls.start(node, way, self._words("--aside"))
                else:
                    calls.start(node, way, _STATUS, deadline=self._patience())
        for node, reply in calls.ended(within=within).items():
            if node in self._aside:
                self._stands_aside(node, reply)
            elif node in self._seen:
                self._take_in(node, reply)
        if calls.ending:
            raise KeyboardInterrupt

    def _patience(self) -> float:
        """Seconds for a question to a candidate."""
        if self._slowest == 0:
            return peers.DEADLINE_S
        return min(peers.DEADLINE_S, max(_REQUEST_S, 3 * self._slowest))

    def _stands_aside(self, node: str, reply: peers.Reply) -> None:
        self._next[node] = time.monotonic() + (INTERVAL_S if reply.error else _RENEW_S)
        if not reply.error:
            self._pending.discard(node)

    def _take_in(self, node: str, reply: peers.Reply) -> None:
        seen, now, name = self._seen[node], time.monotonic(), self._plan.name
        self._next[node] = now + INTERVAL_S
        try:
            seen.answer = peers.answered(reply)
            theirs = seen.answer["instances"].get(name) or {}
            seen.why = candidates.against(self._own, seen.answer, name)
            if theirs.get("phase") == "active":
                seen.active_at = now - between(theirs["since"], seen.answer.get("at", theirs["since"]))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            seen.answer, seen.why, theirs = None, f"it gives no answer: {error}", {}
        if seen.why:
            late = seen.answer is None and now - self._asked[node] >= self._patience()
            seen.bad += _BAD_ANSWERS if late else 1
        else:
            seen.bad, seen.fit_at = 0, self._asked[node]
            self._slowest = max(self._slowest, now - self._asked[node])
        seen.lost = seen.answer is None or _lost(seen.answer, theirs)
        if not seen.lost:
            seen.healthy_at = now

    def see_a_candidate(self, calls: peers.Calls) -> None:
        """Until one has said, just now, that it can take over. CtlError: none has."""
        until = time.monotonic() + GRACE_S
        while not self.may_go():
            self.poll(calls, waiting.INTERVAL_S)
            self.set_aside_the_unfit()
            if not self.ways or time.monotonic() >= until:
                raise client.CtlError(f"no node can take over {self._plan.name}: {self.told()}", "nothing was changed")

    def set_aside_the_unfit(self) -> None:
        """A candidate that cannot take over any more is none; keepalived must not elect it."""
        for node in [node for node in self.ways if self._seen[node].bad >= _BAD_ANSWERS]:
            way, answer = self.ways.pop(node), self._seen[node].answer
            if answer is not None and candidates.may_be_elected(answer, self._plan.name):
                self._pending.add(node)
                self._aside[node], self._next[node] = way, 0.0

    def may_go(self) -> bool:
        """Whether a node can take over, and keepalived elects no other one, by the last answers."""
        seen = [self._seen[node] for node in self.ways]
        unfit = any(each.why and each.answer is not None for each in seen)
        return not self._pending and not unfit and any(not each.why and each.fit_at >= 0 for each in seen)

    def fresh_until(self) -> float:
        """Until when the last answers count."""
        newest = max((self._seen[node].fit_at for node in self.ways if not self._seen[node].why), default=-1.0)
        return newest + 2 * self._slowest + _FRESH_S

    def told(self) -> str:
        """What the candidates are, in a person's words."""
        texts = []
        for node, seen in self._seen.items():
            theirs = ((seen.answer or {}).get("instances") or {}).get(self._plan.name) or {}
            texts.append(f"{node}: {seen.why or theirs.get('reason') or 'it was not asked'}")
        return "; ".join(texts)

    def against(self) -> str:
        """Why candidates cannot take over; empty where all can."""
        return "; ".join(f"{node}: {seen.why}" for node, seen in self._seen.items() if seen.why)

    def nobody(self, now: float, released: float) -> str | None:
        """Why no other node will be active; None: one may be."""
        masters = [node for node in self.ways if self._is_master(node)]
        for node in masters:
            if self._seen[node].lost and now >= self._seen[node].healthy_at + _LOST_S:
                return f"{node} is MASTER and does not serve: {self._seen[node].why}"
        if masters:
            return None
        gone = all(self._seen[node].answer is None for node in self.ways)
        if gone and all(now >= self._seen[node].healthy_at + _LOST_S for node in self.ways):
            return f"no node that could take over answers any more: {self.told()}"
        if now >= released + MOVED_WITHIN_S:
            return f"no other node is MASTER: {self.told()}"
        return None

    def _is_master(self, node: str) -> bool:
        theirs = ((self._seen[node].answer or {}).get("instances") or {}).get(self._plan.name) or {}
        return theirs.get("vrrp_state") == "MASTER"

    def released(self, at: float) -> None:
        """Mastership was released at `at`: ask all again at once."""
        self._next |= dict.fromkeys(self.ways, 0.0)
        for seen in self._seen.values():
            seen.healthy_at = at

    def active(self) -> tuple[str, float] | None:
        """The node that is active, and since when; None: none is."""
        found = ((node, self._seen[node].active_at) for node in self.ways)
        return next(((node, at) for node, at in found if at is not None), None)

    def let_no_master_serve(self) -> None:
        """Let every node compete, and a MASTER that does not serve stand aside."""
        self.let_compete()
        masters = {node: way for node, way in self.ways.items() if self._is_master(node)}
        peers.run(masters, self._words("--aside"))


def _lost(answer: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether a node, if it was elected, would not serve."""
    return bool(answer.get("maintenance")) or theirs.get("phase") in ("failed", "refused") or not theirs


def between(since: str, until: str) -> float:
    """Seconds between two times of one clock."""
    from datetime import datetime

    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()
