"""A command in a message can be pasted, whatever keepalived calls the instance."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from failoverd.command_text import failoverctl, operands
from failoverd.core import guards, rivals, strays
from failoverd.core.effects import Alarm, AlarmKind
from failoverd.core.model import InstanceState, Rival, Standby, State, Stray
from failoverd.core.resource import Observation
from failoverd.core.spec import Config, Quorum
from failoverd.core.words import Level
from failoverd.ctl import command_line
from failoverd.ctl.explain import parts
from failoverd.ctl.verbs import names
from failoverd.daemon.alerts import facts
from failoverd.drivers import drbd
from failoverd.trouble import TroubleKind, Troubles
from tests.unit.core.world import World, config, resource

ROOT = Path(__file__).parents[2]
NAMES = ("VI_1", "-x", "--all", "a b", "it's", 'say "a"', "$(reboot)", "a;b,c(d)", "-o p", "*", "#1")


def named(name: str) -> InstanceState:
    instance = World(config=config(resource("disk"))).instance
    return replace(instance, spec=replace(instance.spec, name=name))


def asked(words: list[str]) -> tuple[str, str]:
    """The verb and the instance that failoverctl understands."""
    parsed = command_line.parse(words[1:])
    return words[1], parsed.instance


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "words", ["why", "status", "reset", "online", "standby --anyway", "acknowledge", "reconcile", "handover"]
)
def test_failoverctl_understands_what_a_shell_makes_of_it(words: str, name: str) -> None:
    assert asked(shlex.split(failoverctl(words, name))) == (words.split(maxsplit=1)[0], name)


def test_a_plain_name_stays_plain() -> None:
    assert failoverctl("accept", "VI_1", "web-disk") == "failoverctl accept VI_1 web-disk"
    assert operands("-x", "a b") == "-- -x 'a b'"


def trouble(name: str) -> str:
    troubles = Troubles()
    troubles.begin(TroubleKind.TRACK_FILE_CHANGED, "changed", subject=name, instance=name)
    return troubles.standing[0].text


MESSAGES: dict[str, Callable[[str], str]] = {
    "released": lambda name: str(guards.away(replace(named(name), released="x"), 0.0)),
    "standby": lambda name: str(guards.kept_in_standby(replace(named(name), standby=Standby(by="a", at=0.0)), 0.0)),
    "rival": lambda name: rivals.told(replace(named(name), rivals=(Rival(since=0.0, until=0.0, gave_way=False),))),
    "stray": lambda name: strays.text(
        Stray(spec=resource("old", instance=name), seen=Observation(level=Level.ACTIVE), since=0.0, needs=frozenset()),
        State(config=Config(quorum=Quorum(leases=("etcd://192.0.2.9:2379",))), instances={}),
    ),
    "alert": lambda name: facts.of_alarm(Alarm(instance=name, kind=AlarmKind.FAILED, text=""), 1, 0.0).remedy[1],
    "trouble": trouble,
    "accept": lambda name: drbd.make(drbd.Options(resource="r"), resource("disk", instance=name))._limits.remedy,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", MESSAGES)
def test_the_messages_have_such_commands(what: str, name: str) -> None:
    text = MESSAGES[what](name)
    command = text[text.rindex("failoverctl ") :]
    assert asked(shlex.split(command))[1] == name


@pytest.mark.parametrize("name", NAMES)
def test_why_finds_the_command_in_a_reason(name: str) -> None:
    command = failoverctl("reset", name)
    [found] = parts.commands_in(f"it is failed (somehow), and stays so; to activate it: {command}; and more")
    assert found == command


def test_no_message_makes_such_a_command_by_itself() -> None:
    verbs = "|".join(sorted({word.split()[0] for word in names()}))
    own = re.compile(rf"failoverctl ({verbs})( [a-z-]+)* \{{")
    found = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for file in (ROOT / "failoverd").rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if own.search(line)
    ]
    plain = ("history show {", "init {", "status {instance}")  # a number; a file; the remedy of a trouble, tested above
    assert [each for each in found if not any(it in each for it in plain)] == []
