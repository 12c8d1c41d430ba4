"""The course of ``failoverctl handover``, after its preflight: the wait on this node, and the verification there.

The daemon decides and acts; it releases mastership only while this process attends the handover, and sees a node that
can take over. Times are this process's own, but for the start on the other node, which its history has. The move of
mastership is the rest: from the stop here until the start there, as far as keepalived is concerned.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from failoverd.command_text import failoverctl
from failoverd.ctl import candidates, client, peers, waiting, when
from failoverd.ctl.all_nodes import Cluster, gather
from failoverd.ctl.candidates import Plan, Way
from failoverd.ctl.other_nodes import GRACE_S, MOVED_WITHIN_S, OtherNodes, between


def run(socket: str, name: str, to: str | None) -> dict[str, Any]:
    """Hand `name` over, to the node `to` or to the one that keepalived elects; the facts for the page.

    CtlError: it was not handed over, and this node goes on; or the other node could not be verified.
    """
    course = None
    with _interruptible():
        try:
            cluster = gather(socket)
            course = _Course(socket, cluster, candidates.prepare(cluster, name, to))
            return course.run()
        except client.CtlError:
            with _uninterruptible():
                if course is not None:
                    course.clean_up()
            raise
        except (KeyboardInterrupt, SystemExit):
            with _uninterruptible():
                text, hint = (_NOT_BEGUN.format(name), "") if course is None else course.interrupted()
            raise _Interrupted(text, hint) from None


_NOT_BEGUN = "{} was not handed over; nothing was changed"


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """A closed terminal and a polite end are as Ctrl-C: a handover must not go on unattended."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with _handling((signal.SIGHUP, signal.SIGTERM), interrupt):
        yield


@contextlib.contextmanager
def _uninterruptible() -> Iterator[None]:
    """What must be done at the end takes seconds, and a second Ctrl-C must not prevent it."""
    with _handling((signal.SIGINT, signal.SIGHUP, signal.SIGTERM), signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _handling(numbers: Iterable[signal.Signals], handler: Any) -> Iterator[None]:
    before = {each: signal.signal(each, handler) for each in numbers if signal.getsignal(each) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for each, earlier in before.items():
            signal.signal(each, earlier)


class _Course:
    """One handover, from the preflight to its end."""

    def __init__(self, socket: str, cluster: Cluster, plan: Plan) -> None:
        self._socket = socket
        self._plan = plan
        self._id = f"{plan.node}.{os.urandom(4).hex()}"
        self._begun = False
        self._released = False
        self._others = OtherNodes(cluster.answers[plan.node], plan, self._id)
        self._shown = ""

    # ------------------------------------------------------------ the parts

    def run(self) -> dict[str, Any]:
        name, plan = self._plan.name, self._plan
        limits = self._ask("check")
        self._others.keep_aside()
        with peers.Calls() as calls:
            try:
                self._others.see_a_candidate(calls)
                began = time.monotonic()
                self._begun = True
                self._ask("begin", until=min(self._others.fresh_until(), began + client.REPLY_TIMEOUT_S))
                stopped = self._wait_for_stop(calls, limits["worst_case"], began)
                self._released = True
                to, active = self._wait_for_start(calls, limits, stopped)
            finally:
                self._shown = waiting.show("", instead_of=self._shown)
        with _uninterruptible():
            confirmed = self._confirm(to)
            kept = self._others.keep_in_standby() if limits["preempt"] else []
            self._others.let_compete()
            start = _start_there(name, to, plan.ways[to])
        move = None if start is None else max(active - start - stopped, 0.0)
        took = {"stop": stopped - began, "move": move, "start": start}
        return {
            "instance": name,
            "from": plan.node,
            "to": to,
            "took": {part: None if seconds is None else round(seconds, 3) for part, seconds in took.items()},
            "competes": confirmed["competes"],
            "standby": confirmed["standby"],
            "kept": kept,
            "unsaved": confirmed["unsaved"],
            "notes": [*plan.notes, *self._others.notes.values()],
        }

    def clean_up(self) -> None:
        """After a failure: end the handover where it may still be, and let the other nodes be elected again."""
        if not self._released:
            with contextlib.suppress(client.CtlError):
                self._cancelled("failoverctl has failed")
        self._others.let_compete()

    def interrupted(self) -> tuple[str, str]:
        """After a signal: the same, and what became of the handover, with a command that shows more."""
        name = self._plan.name
        try:
            cancelled = self._cancelled("the operator cancelled the handover")
            here = self._here() or {}
        except client.CtlError as error:
            self._others.let_compete()
            text = f"stopped waiting for {name}; failoverd here does not answer: {error.error}"
            return f"{text}; unless it has released mastership, it ends the handover by itself", error.hint
        self._others.let_compete()
        if cancelled:
            return f"the handover of {name} is cancelled; this node serves again", "to follow it: failoverctl status"
        if not self._begun:
            return _NOT_BEGUN.format(name), ""
        if self._ours(here):
            text = f"stopped waiting: mastership of {name} was released, so another node may be active"
            return f"{text}; otherwise this node competes again by itself", "see: failoverctl status --all"
        state, phase = here.get("vrrp_state") or "no state", here.get("phase")
        text = (
            f"stopped waiting: the handover of {name} had ended; keepalived here reports {state}, and {name} is {phase}"
        )
        return text, "see: failoverctl status --all"

    def _ask(self, part: str, **more: Any) -> dict[str, Any]:
        return client.ask(self._socket, "handover", {"instance": self._plan.name, "part": part, "id": self._id, **more})

    def _cancelled(self, cause: str, *, released: bool = False) -> bool:
        return bool(self._ask("cancel", cause=cause, released=released)["cancelled"])

    def _here(self) -> Mapping[str, Any] | None:
        """The instance on this node; None: failoverd does not answer, as it may while it is started again."""
        try:
            found = client.ask(self._socket, "status", {})["instances"].get(self._plan.name)
        except client.UnreachableError:
            return None
        return found or {"reason": "the instance is no longer configured"}

    def _ours(self, here: Mapping[str, Any]) -> Mapping[str, Any] | None:
        found = here.get("handover")
        return found if found and found.get("id") == self._id else None

    # ------------------------------------------------------------ the stop, and the start

    def _wait_for_stop(self, calls: peers.Calls, worst_case: float, began: float) -> float:
        """When mastership was released, on this process's clock. CtlError: it was not, and this node serves."""
        limit, attended = worst_case + GRACE_S, 0.0
        while True:
            here, now = self._here(), time.monotonic()
            if here is not None:
                if (found := self._ours(here)) is None:
                    raise _failed(self._plan.name, here, self._others.against())
                if found["given"]:
                    return now
            self._say_stopping(here or {}, worst_case, now - began)
            if not self._others.ways:
                raise self._stays(f"no node can take over any more: {self._others.told()}")
            if now - began >= limit:
                raise self._stays(f"its resources were not at standby after {when.span(limit)}")
            if self._others.may_go() and (until := self._others.fresh_until()) > max(attended, now):
                attended = until
                with contextlib.suppress(client.UnreachableError):
                    self._ask("attend", until=until)
            self._others.poll(calls, waiting.pause(now - began))
            self._others.set_aside_the_unfit()

    def _say_stopping(self, here: Mapping[str, Any], worst_case: float, passed: float) -> None:
        steps = [key for key, each in (here.get("resources") or {}).items() if each.get("step")]
        doing = f"stopping {', '.join(steps) or '…'}, {when.span(int(passed))} of at most {when.span(worst_case)}"
        self._shown = waiting.show(f"{self._plan.name}: {doing}; Ctrl-C: serve again", instead_of=self._shown)

    def _stays(self, why: str) -> client.CtlError:
        """Let this node serve again."""
        if self._cancelled(f"the handover failed, so this node goes on: {why}", released=True):
            return client.CtlError(
                f"{self._plan.name} was not handed over: {why}",
                "this node serves again; to follow it: failoverctl status",
            )
        return _failed(self._plan.name, self._here() or {}, self._others.against())

    def _wait_for_start(self, calls: peers.Calls, limits: Mapping[str, Any], released: float) -> tuple[str, float]:
        """The node that is active, and since when at the latest, on this process's clock. CtlError: none is."""
        name, until = self._plan.name, released + limits["worst_case_there"] + GRACE_S
        self._others.released(released)
        while True:
            here, now = self._here(), time.monotonic()
            if (active := self._others.active()) is not None:
                return active
            if here is not None and self._ours(here) is None and here.get("vrrp_state", "MASTER") == "MASTER":
                text = f"{name} was not handed over, this node is MASTER again: {self._others.told()}"
                raise client.CtlError(text, "see there: failoverctl why")
            if (why := self._others.nobody(now, released)) is not None:
                raise self._take_back(why)
            if now >= until:
                raise client.CtlError(
                    f"{name}: no other node is active: {self._others.told()}",
                    f"this node competes again, {when.span(limits['competes_after'])} after it released mastership; "
                    f"at once: {failoverctl('online', name)}; see there: failoverctl why",
                )
            self._shown = waiting.show(f"{name}: waiting for the other node", instead_of=self._shown)
            self._others.poll(calls, waiting.pause(now - released))

    def _take_back(self, why: str) -> client.CtlError:
        """Let every node compete that can serve, and a MASTER that does not serve stand aside."""
        name = self._plan.name
        self._cancelled(f"the handover failed, so this node competes again: {why}", released=True)
        self._others.let_no_master_serve()
        here = waiting.fact(self._socket, name, "vrrp_state", "MASTER", MOVED_WITHIN_S)
        does = "is MASTER again" if here == "MASTER" else "competes for mastership again"
        return client.CtlError(
            f"{name} was not handed over: {why}",
            f"this node {does}; see: failoverctl status --all; there: failoverctl why",
        )

    def _confirm(self, to: str) -> dict[str, Any]:
        """End the handover on this node. CtlError: that could not be done, or it has taken mastership back."""
        name, until = self._plan.name, time.monotonic() + GRACE_S
        while True:
            try:
                answer = self._ask("confirm")
                break
            except client.UnreachableError as error:
                if time.monotonic() >= until:
                    error.error = f"{name} is active on {to}, but failoverd here could not be told: {error.error}"
                    error.hint = f"when it runs, where nodes preempt: {failoverctl('standby', name)}"
                    raise
                time.sleep(waiting.INTERVAL_S)
        if answer["vrrp_state"] == "MASTER" and not answer["confirmed"]:
            text = f"{name} was active on {to}, and this node is MASTER again"
            raise client.CtlError(text, "see: failoverctl status --all")
        return answer


def _start_there(name: str, node: str, way: Way) -> float | None:
    """How long its activation took, in seconds; None: its history does not tell."""
    words = ("failoverctl", "history", "-n", "20", "--json")
    reply = peers.run({node: way}, words)[node]
    try:
        return _duration(peers.answered(reply)["transitions"], name)
    except (LookupError, TypeError, ValueError):
        return None


def _duration(transitions: Iterable[Mapping[str, Any]], name: str) -> float | None:
    for each in transitions:
        if each["instance"] == name and each["target"] == "active" and each["ended"] is not None:
            return between(each["started"], each["ended"])
    return None


def _failed(name: str, instance: Mapping[str, Any], against: str) -> client.CtlError:
    """`against`: why the candidates cannot take over; empty where one can."""
    reason = str(instance.get("reason") or "the instance is no longer configured")
    return client.CtlError(
        f"{name} was not handed over: {'; '.join(filter(None, (reason, against)))}",
        f"for the steps: {failoverctl('why', name)}",
    )


class _Interrupted(client.CtlError):
    """Ctrl-C, a polite end, or a terminal that was closed."""

    status = 130
