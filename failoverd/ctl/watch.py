"""``failoverctl status --watch``: the state on a screen, or line by line in a pipe, whenever it changes.

Nothing is shown that may be stale without saying so: the daemon must send a line every few seconds. Nobody polls.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import stat
import sys
import termios
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, Self

from failoverd.ctl import client, health, when
from failoverd.ctl.page import Page, clean
from failoverd.ctl.signals import Ended, Signals
from failoverd.ctl.subscription import SILENCE_S, Picture, Subscription

#: Between two drawings of the screen.
MIN_DRAW_INTERVAL_S = 0.1

#: A screen shows ages in seconds.
_TICK_S = 1.0

#: Between two attempts to reach a daemon that was lost.
RETRY_INTERVAL_S = 1.0

Answer = Mapping[str, Any]


class View(NamedTuple):
    """What is to be shown: the state `answer` at the time `now`; `stale`: why it may be out of date, or empty."""

    answer: Answer
    now: datetime
    stale: str


#: Makes a page of a view for a screen of so many rows.
Draw = Callable[[View, int], Page]


class _Output(Protocol):
    def show(self, view: View) -> None: ...


def run(asked: argparse.Namespace, draw: Draw) -> int:
    """Watch until q or a signal; in a pipe, until the reader closes it. Raises client.CtlError.

    The first answer must come in time; a daemon that is lost later is awaited.
    """
    try:
        _run(asked, draw)
    except Ended as ended:  # as it was asked to
        return ended.status
    return 0


def _run(asked: argparse.Namespace, draw: Draw) -> None:
    params = {} if asked.instance is None else {"instance": asked.instance}
    screen = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not getattr(asked, "json", False)
    with Signals(resized=screen) as signals, _Source(asked.socket, params) as source:
        if not _first(source, signals):
            return
        with contextlib.ExitStack() as stack:
            output: _Output
            if screen:
                from failoverd.ctl import page_rich  # it takes long to import

                keys = stack.enter_context(_keys())
                drawn = stack.enter_context(page_rich.Screen())
                output = _Screen(drawn, draw)
            else:
                keys, output = None, _Json() if getattr(asked, "json", False) else _Lines()
            _follow(source, signals, output, keys)


def _first(source: _Source, signals: Signals) -> bool:
    """Wait for the first state; False: a signal came first."""
    until = time.monotonic() + client.REPLY_TIMEOUT_S
    while not signals.ending:
        if time.monotonic() >= until:
            raise client.unreachable(source.path, TimeoutError(), client.REPLY_TIMEOUT_S)
        if source.fileno() in _ready((signals.descriptor, source.fileno()), until=until):
            source.read()
            if source.complete:
                return True
    return False


def _follow(source: _Source, signals: Signals, output: _Output, keys: int | None) -> None:
    pipe = _pipe()
    shown = -MIN_DRAW_INTERVAL_S
    changed, awake = True, time.monotonic()
    while not signals.ending:
        now = time.monotonic()
        if now > awake + SILENCE_S:  # it was stopped, or waited for its terminal: all that it can read now is old
            source.renew()
            changed = True
        awake = now
        if changed and now >= shown + MIN_DRAW_INTERVAL_S:
            try:
                output.show(source.view)
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                raise client.CtlError(f"cannot show the answer ({error!r})", client.OTHER_RELEASE) from error
            shown, changed = now, False
        due = shown + (MIN_DRAW_INTERVAL_S if changed else _TICK_S)
        awaited = (signals.descriptor, keys, pipe, source.fileno() if source.connected else None)
        ready = _ready(awaited, until=due)
        if signals.descriptor in ready:
            signals.drain()
            changed = True
        if pipe in ready:
            raise BrokenPipeError
        if keys in ready and _quits(keys):
            return
        if not source.connected:
            changed |= source.retry()
        elif source.fileno() in ready:
            changed |= source.follow()
        changed |= time.monotonic() >= shown + _TICK_S


def _ready(descriptors: Iterable[int | None], *, until: float) -> set[int]:
    """Those that are readable, as soon as one is; none at `until`, on the monotonic clock."""
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            if descriptor is not None:
                selector.register(descriptor, selectors.EVENT_READ)
        return {key.fd for key, _ in selector.select(max(until - time.monotonic(), 0.0))}


def _quits(keys: int | None) -> bool:
    """Whether q was typed."""
    return keys is not None and b"q" in os.read(keys, 64).lower()


def _pipe() -> int | None:
    """Standard output if it is a pipe: readable when nobody reads from it any more."""
    output = sys.stdout.fileno()
    return output if stat.S_ISFIFO(os.fstat(output).st_mode) else None


@contextlib.contextmanager
def _keys() -> Iterator[int | None]:
    """The descriptor from which single keys can be read; None: standard input is no terminal. Restores the terminal."""
    if not sys.stdin.isatty():
        yield None
        return
    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    changed = termios.tcgetattr(keys)
    changed[3] &= ~(termios.ECHO | termios.ICANON)
    changed[6][termios.VSUSP] = b"\0"  # a stopped screen would stay on the terminal, out of date
    changed[6][termios.VMIN] = changed[6][termios.VTIME] = 0  # Ctrl-C discards keys: a read of them must not wait
    termios.tcsetattr(keys, termios.TCSADRAIN, changed)
    try:
        yield keys
    finally:
        termios.tcsetattr(keys, termios.TCSANOW, before)


class _Source:
    """The newest state that was received, and whether it may be stale; connects again when the daemon is lost."""

    def __init__(self, path: str, params: Mapping[str, Any]) -> None:
        self.path = path
        self._params = params
        self._subscription: Subscription | None = Subscription(path, params)
        self._picture = Picture()
        self._heard = time.monotonic()
        self._lost = ""
        self._retry_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, whose `fileno` can be waited for."""
        return self._subscription is not None

    @property
    def complete(self) -> bool:
        """Whether a whole state was received."""
        return self._picture.complete

    def fileno(self) -> int:
        """The descriptor of the connection."""
        assert self._subscription is not None
        return self._subscription.fileno()

    def read(self) -> bool:
        """Read what has come; whether the state has changed. CtlError: the daemon is lost."""
        assert self._subscription is not None
        changed = self._subscription.read()
        if self._subscription.picture.complete:
            changed |= self._picture is not self._subscription.picture
            self._picture = self._subscription.picture
            self._heard, self._lost = time.monotonic(), ""
        return changed

    def follow(self) -> bool:
        """The same, where a daemon that is lost is awaited."""
        try:
            return self.read()
        except client.CtlError as error:
            self._lose(error)
            return True

    def retry(self) -> bool:
        """Connect again if it is time; whether the reason why it failed has changed."""
        if time.monotonic() < self._retry_at:
            return False
        before = self._lost
        try:
            self._subscription = Subscription(self.path, self._params)
        except client.CtlError as error:
            self._lose(error)
        return self._lost != before

    def renew(self) -> None:
        """Begin a new subscription; until its first line has come, the state may be out of date."""
        self._lose(client.CtlError("failoverctl was stopped"))
        self._retry_at = 0.0
        self.retry()

    @property
    def view(self) -> View:
        """What can be said now. The time of a stale state is that at which it was received."""
        at = self._picture.at
        assert at is not None
        received, silent = at.astimezone(), time.monotonic() - self._heard
        why = self._lost or ("failoverd does not answer: it is stopped or stuck" if silent > SILENCE_S else "")
        return View(self._picture.answer, received if why else received + timedelta(seconds=silent), why)

    def _lose(self, error: client.CtlError) -> None:
        self._close()
        self._lost, self._retry_at = error.error, time.monotonic() + RETRY_INTERVAL_S

    def _close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None


class _Painter(Protocol):
    @property
    def rows(self) -> int: ...
    def show(self, page: Page) -> None: ...


class _Screen:
    def __init__(self, screen: _Painter, draw: Draw) -> None:
        self._screen = screen
        self._draw = draw

    def show(self, view: View) -> None:
        self._screen.show(self._draw(view, self._screen.rows))


class _Json:
    """One object per line, the whole state; ``stale`` is the reason why it may be out of date, or null."""

    def __init__(self) -> None:
        self._shown: object = None

    def show(self, view: View) -> None:
        if (view.answer, view.stale) == self._shown:
            return
        self._shown = (view.answer, view.stale)
        at = view.now.isoformat(timespec="milliseconds")
        sys.stdout.write(json.dumps({"at": at, "stale": view.stale or None, **view.answer}) + "\n")
        sys.stdout.flush()


class _Lines:
    """One line per change: the time, a mark if it needs attention, the subject, and its new state."""

    def __init__(self) -> None:
        self._facts: dict[str, tuple[str, bool]] = {}
        self._stale = ""

    def show(self, view: View) -> None:
        clock = when.clock(view.now.isoformat(), view.now.tzinfo)
        lines = []
        if view.stale != self._stale:
            self._stale = view.stale
            lines.append((f"STALE since {clock}: {view.stale}" if view.stale else "no longer stale", bool(view.stale)))
        if not view.stale:
            facts = dict(_facts(view.answer))
            lines += [
                (f"{key}  {text}", bad) for key, (text, bad) in facts.items() if self._facts.get(key) != (text, bad)
            ]
            lines += [(f"{key}  is over", False) for key in self._facts if key not in facts]
            self._facts = facts
        for text, bad in lines:
            sys.stdout.write(f"{clock} {'!' if bad else ' '} {clean(text)}\n")
        if lines:
            sys.stdout.flush()


def _facts(answer: Answer) -> Iterator[tuple[str, tuple[str, bool]]]:
    """Each subject, with its state, and whether that needs attention."""
    if maintained := health.maintenance(answer):
        yield "failoverd  maintenance", (maintained, True)
    for each in answer.get("troubles") or ():
        yield f"failoverd  trouble {each['about']}", (str(each["text"]), True)
    for each in answer.get("strays") or ():
        yield f"{each['instance']}  stray {each['resource']}", (str(each["text"]), True)
    for text in health.unconfigured_standby(answer):
        yield f"failoverd  standby {text.partition(' ')[0]}", (text, True)
    for name, instance in answer["instances"].items():
        problems = "; ".join(problem.text for problem in health.problems(instance))
        reason = f": {instance['reason']}" if instance.get("reason") else ""
        state = instance.get("vrrp_state") or "no state"
        yield f"{name}  phase", (f"{instance['phase']}{reason} (keepalived reports {state})", bool(problems))
        if problems:
            yield f"{name}  problems", (problems, True)
        for vip in instance["vips"]:
            word = {True: "present", False: "absent"}.get(vip["present"], "unknown")
            wrong = health.vip_problem(instance, vip)
            yield f"{name}  vip {vip['address']}", (f"{word}; {wrong}" if wrong else word, wrong is not None)
        for key, resource in instance["resources"].items():
            wrong = health.resource_problem(instance, resource)
            step = f"{resource['step']} runs" if resource.get("step") else ""
            parts = (resource["level"], step, wrong, resource.get("detail"))
            yield f"{name}  resource {key}", ("; ".join(str(part) for part in parts if part), wrong is not None)
