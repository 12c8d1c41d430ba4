"""Transitions: how soon the first command runs, and what is added to the commands' own time."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from failoverd.osutil import inotify

from .daemon import PATIENCE, Daemon
from .row import Row, high, median, spread

_FIRST = 200
_CHAINS = 4
_CHAIN = ("one", "two", "three", "four")
_CHAIN_SECONDS = 0.2
_ADDRESSES = 2000
_ADDRESS_ROUNDS = 5
_WIDE = 100
_WIDES = 2
_WIDE_SECONDS = 1.0
#: IN_OPEN of <sys/inotify.h>.
_OPEN = 0x20
#: Seconds in which nothing happened before an event: it comes to a daemon that sleeps.
_REST = 0.01

WORDS = {"active": "MASTER", "standby": "BACKUP"}


def first_command() -> list[Row]:
    """From the moment before an event is written until the kernel opens the first command's program.

    Nothing is subtracted: the daemon's wake-up, fork and our own wake-up are in it. inotify(7) tells of the open.
    """
    with Daemon() as daemon:
        programs = daemon.things / "bin"
        programs.mkdir()
        for name in ("touch", "rm"):
            shutil.copy2(f"/bin/{name}", programs / name)
        thing = str(daemon.things / "thing")
        touch, rm = str(programs / "touch"), str(programs / "rm")
        daemon.instance()
        daemon.exec("thing", [touch, thing], [rm, thing])
        daemon.start()
        watch = inotify.Inotify()
        watch.watch(programs, _OPEN)
        daemon.say("BACKUP")
        daemon.await_phase("standby")
        ours: dict[str, list[float]] = {}
        theirs = []
        speaks: dict[str, Callable[[str], Callable[[], int]]] = {
            "FIFO": lambda state: partial(int, daemon.say(state)),
            "notify socket": daemon.hand_over,
        }
        for way, speak in speaks.items():
            found = ours[way] = []
            for number in range(_FIRST):
                phase = "standby" if number % 2 else "active"
                watch.read()
                daemon.await_calm(_REST)
                said = speak(WORDS[phase])
                found.append((_opened(watch) - said()) / 1e6)
                daemon.await_phase(phase)
                watch.read()
                daemon.await_calm(_REST)
                started = time.monotonic_ns()
                pid = os.posix_spawn(touch, [touch, str(daemon.things / "other")], os.environ)
                theirs.append((_opened(watch) - started) / 1e6)
                os.waitpid(pid, 0)
        watch.close()
    return [
        Row(
            what=f"event written to the {way}, until the first command's exec",
            ours=spread(found),
            theirs=f"exec by a program that does nothing else {spread(theirs)}",
            target="median 2 ms, p99 10 ms",
            met=median(found) <= 2 and high(found) <= 10,
        )
        for way, found in ours.items()
    ]


def _opened(watch: inotify.Inotify) -> int:
    if not select.select([watch.fd], [], [], PATIENCE)[0]:
        raise TimeoutError("no command was started")
    return time.monotonic_ns()


def addresses() -> list[Row]:
    """From MASTER, said right after the last of many addresses was added, until the first command's exec."""
    vips = [f"198.18.{number // 250}.{number % 250}/32" for number in range(_ADDRESSES)]
    took = []
    for _ in range(_ADDRESS_ROUNDS):
        with Daemon() as daemon:
            programs = daemon.things / "bin"
            programs.mkdir()
            touch = str(shutil.copy2("/bin/touch", programs / "touch"))
            thing = str(daemon.things / "thing")
            daemon.instance(body=f'interface = "lo"\nvips = {json.dumps(vips)}')
            daemon.exec("thing", [touch, thing], ["/bin/rm", "-f", thing])
            daemon.start()
            daemon.say("BACKUP")
            daemon.await_phase("standby")
            watch = inotify.Inotify()
            watch.watch(programs, _OPEN)
            daemon.await_calm(_REST)
            daemon.add_addresses(vips)
            took.append((-daemon.say("MASTER") + _opened(watch)) / 1e6)
            watch.close()
    return [
        Row(
            what=f"MASTER with {_ADDRESSES} addresses, until the first command's exec",
            ours=spread(took),
            target="30 ms",
            met=median(took) <= 30,
        )
    ]


def chain() -> list[Row]:
    """A chain of resources, each needing the one before: no command can run beside another."""
    with Daemon() as daemon:
        daemon.instance()
        commands = [
            daemon.sleeper(name, _CHAIN_SECONDS, *_CHAIN[max(0, at - 1) : at]) for at, name in enumerate(_CHAIN)
        ]
        daemon.start()
        _settle(daemon, "standby")
        ours, theirs = [], []
        for _ in range(_CHAINS):
            ours += [_settle(daemon, phase) for phase in WORDS]
            theirs += [_in_a_row([both[verb] for both in commands]) for verb in (0, 1)]
    path, took = median(theirs), median(ours)
    return [
        Row(
            what=f"{len(_CHAIN)} resources in a chain, {_CHAIN_SECONDS:g} s each",
            ours=f"{spread(ours)}\n{took - path:+.1f} ms, {100 * (took / path - 1):+.1f} %",
            theirs=f"the commands alone, in a row {spread(theirs)}",
            target=f"+5 % + 10 ms = {1.05 * path + 10:.0f} ms",
            met=took <= 1.05 * path + 10,
        )
    ]


def _in_a_row(commands: list[list[str]]) -> float:
    """Milliseconds that the commands take, one after another, with as little as possible around them."""
    started = time.monotonic()
    for argv in commands:
        os.waitpid(os.posix_spawn(argv[0], argv, os.environ), 0)
    return (time.monotonic() - started) * 1e3


def wide() -> list[Row]:
    """Many resources that need nothing of each other."""
    with Daemon() as daemon:
        daemon.instance()
        commands = [daemon.sleeper(f"thing{number}", _WIDE_SECONDS) for number in range(_WIDE)]
        daemon.start()
        _settle(daemon, "standby")
        times: dict[str, list[float]] = {"active": [], "standby": []}
        theirs = []
        for _ in range(_WIDES):
            for phase, found in times.items():
                found.append(_settle(daemon, phase))
            theirs += [_at_once(daemon.things, [both[verb] for both in commands]) for verb in (0, 1)]
    worst = max(median(found) for found in times.values())
    return [
        Row(
            what=f"{_WIDE} resources that take {_WIDE_SECONDS:g} s each, checks included",
            ours="\n".join(f"to {phase} {median(found):.0f} ms (n={len(found)})" for phase, found in times.items()),
            theirs=f"the commands alone, from sh with & and wait {median(theirs):.0f} ms",
            target="1300 ms",
            met=worst <= 1300,
        )
    ]


def _at_once(directory: Path, commands: list[list[str]]) -> float:
    """Milliseconds that a shell takes for all, each in a process of its own."""
    script = directory / "at-once"
    script.write_text("".join(f"/bin/sh -c '{argv[2]}' &\n" for argv in commands) + "wait\n")
    started = time.monotonic()
    subprocess.run(["/bin/sh", str(script)], check=True, timeout=PATIENCE)
    return (time.monotonic() - started) * 1e3


def _settle(daemon: Daemon, phase: str) -> float:
    """Milliseconds from an event to the end of its transition."""
    said = daemon.say(WORDS[phase])
    return (daemon.await_phase(phase) - said) / 1e6
