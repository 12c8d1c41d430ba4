"""failoverd(8) and failoverctl(8), held against the programs."""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import pkgutil
import re
import signal
import subprocess
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import pytest

from failoverd import __main__ as daemon
from failoverd import ctl
from failoverd.alarms import MESSAGES, Severity
from failoverd.core import machine
from failoverd.core.events import Reloaded
from failoverd.core.model import State
from failoverd.core.spec import Config
from failoverd.core.words import Level, Phase, Target, TransitionResult
from failoverd.ctl import client, command_line
from failoverd.daemon import config, plan, status, why
from failoverd.daemon.metrics.families import FAMILIES
from failoverd.trouble import Trouble, TroubleKind
from tests.unit.docs.pages import ROOT, Manual, run, shown

Pages = dict[str, Manual]

#: What every verb takes, and no synopsis repeats.
COMMON = {"-h", "--help", "--socket"}
LONG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
CODE = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "failoverd").rglob("*.py"))
TROUBLES = [Trouble(kind=TroubleKind.RECORD, subject="last-events", text="it is full", since=0.0)]
EXAMPLE = """
[instance.VI_1]
vips = ["192.0.2.1/24 dev eth0"]
[instance.VI_1.resource.web]
driver = "unit"
unit = "web.service"
"""


def verbs(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every verb that can be asked for by itself, with its words."""
    nested = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if name and not any(action.required for action in nested):
        yield name, parser
    for action in nested:
        for word, each in action.choices.items():
            yield from verbs(each, f"{name} {word}".strip())


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {word for action in parser._actions for word in action.option_strings}


def values(words: type[Enum]) -> set[str]:
    return {word.value for word in words}


VERBS = dict(verbs(command_line.parser()))
EVERY = options(command_line.parser()).union(*map(options, VERBS.values()))


# ---------------------------------------------------------------- every page


def test_pages_are_shown_on_eighty_columns(manual: Pages) -> None:
    assert set(manual) == {"failoverd.8", "failoverctl.8", "failoverd.toml.5"}
    for page in manual.values():
        assert not [line for line in shown(page.roff, "80").splitlines() if len(line) > 80]
        run(["groff", "-man", "-ww", "-t", "-z", "-Tutf8", "-Kutf8", str(page.roff)])


def test_pages_name_pages_that_there_are(manual: Pages) -> None:
    known = {name.replace(".8", "(8)").replace(".5", "(5)") for name in manual}
    for name, page in manual.items():
        named = set(re.findall(r"\bfailover[\w.]*\(\d\)", page.text))
        assert named == known, name


def test_pages_name_options_that_there_are(manual: Pages) -> None:
    own = options(daemon._arguments())
    known = {"failoverd.8": own, "failoverctl.8": EVERY, "failoverd.toml.5": own | {"--all"}}
    for name, page in manual.items():
        assert set(LONG.findall(page.text)) <= known[name], name


def test_pages_name_verbs_that_there_are(manual: Pages) -> None:
    for name, page in manual.items():
        assert set(re.findall(r"\*failoverctl ([a-z-]+)", page.source)) <= {verb.split()[0] for verb in VERBS}, name


def test_examples_are_understood(manual: Pages) -> None:
    count = 0
    for page in manual.values():
        for line in "".join(page.examples).splitlines():
            words = line.partition("|")[0].split()
            if words[:1] == ["failoverctl"]:
                command_line.parse(words[1:])
                count += 1
            elif words[:1] == ["failoverd"]:
                daemon._arguments().parse_args(words[1:])
                count += 1
    assert count > 8


def test_what_is_complained_about_is_what_the_programs_say(manual: Pages) -> None:
    for page in manual.values():
        for entry in re.findall(r"^       (\S.*)$", page.sections.get("DIAGNOSTICS", ""), re.MULTILINE):
            if page.sections["DIAGNOSTICS"].count(f"{entry}\n           "):
                for message in entry.split(", "):
                    fixed = max(re.split(r"/\S+|\b[A-Z]+\b|\d+", message), key=len).strip()
                    assert fixed in CODE or fixed.partition(" ")[2] in CODE, message


# ---------------------------------------------------------------- the page of the daemon


def test_every_option_of_failoverd(manual: Pages) -> None:
    told = manual["failoverd.8"].sections["OPTIONS"]
    for action in daemon._arguments()._actions:
        entry = re.search(rf"^       .*{action.option_strings[-1]}\b.*\n( +.*)", told, re.MULTILINE)
        assert entry is not None, action.option_strings
        if action.default and isinstance(action.default, str | Path) and action.default != argparse.SUPPRESS:
            assert f"Default: {action.default}" in entry[1]
        if action.choices:
            assert "|".join(action.choices) in entry[0]


def test_the_synopsis_of_failoverd_has_every_option(manual: Pages) -> None:
    told = set(LONG.findall(manual["failoverd.8"].sections["SYNOPSIS"]))
    assert told == options(daemon._arguments()) - {"-h", "--help", "--version"}


def test_exit_statuses_of_failoverd(manual: Pages) -> None:
    tree = ast.parse((ROOT / "failoverd" / "__main__.py").read_text(encoding="utf-8"))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("EX_")}
    assert manual["failoverd.8"].words("EXIT STATUS") == {str(getattr(os, name)) for name in names}


def test_exit_statuses_of_the_hook(manual: Pages) -> None:
    known = set(re.findall(r"^ *exit (\d+)", (ROOT / "hooks" / "notify").read_text(encoding="utf-8"), re.MULTILINE))
    told = re.search(r"Its exit status: (.*?)\.", manual["failoverd.8"].text)
    assert told is not None
    assert set(re.findall(r"\d+", told[1])) == known


def test_signals(manual: Pages) -> None:
    handled = set(re.findall(r"signal\.(SIG[A-Z]+)", (ROOT / "failoverd/daemon/wiring.py").read_text(encoding="utf-8")))
    assert set(re.findall(r"SIG[A-Z]+", manual["failoverd.8"].sections["SIGNALS"])) == handled
    assert all(hasattr(signal, name) for name in handled)


def test_the_journal_has_every_message_with_its_remedy(manual: Pages) -> None:
    told = re.findall(
        r"^       ([a-z-]+), ([0-9a-f]{32})\n +(.*?)\.(?: Severity: ([a-z]+)\.)? (.*)$",
        manual["failoverd.8"].sections["JOURNAL"],
        re.MULTILINE,
    )
    assert told == [
        (each.code, each.message_id, each.title, "" if each.severity is Severity.INFO else each.severity.value,
         re.sub("@(.*?)@", r"\1", "; ".join(each.remedy)))
        for each in MESSAGES
    ]  # fmt: skip


def test_every_trouble_is_told_with_its_remedy(manual: Pages) -> None:
    told = re.findall(r"^       ([a-z-]+)\n +(.*?)\. (.*)$", manual["failoverd.8"].sections["TROUBLES"], re.MULTILINE)
    remedies = {kind: re.sub(r"{(\w+)}", lambda found: found[1].upper(), kind.remedy) for kind in TroubleKind}
    assert told == [(kind.code, kind.title, remedies[kind]) for kind in TroubleKind]


def test_every_metric_is_told_with_its_labels(manual: Pages) -> None:
    told = re.findall(
        r"^       (failoverd_\w+)(?: {(.*)})?\n +([A-Z][a-z]+)\. (.*)\.$",
        manual["failoverd.8"].sections["METRICS"],
        re.MULTILINE,
    )
    assert told == [(it.name, ", ".join(it.labels), it.kind.value.capitalize(), it.text) for it in FAMILIES]


def test_files_are_those_of_the_program(manual: Pages) -> None:
    for name in re.findall(r"/(?:run|var/lib)/failoverd/([\w.]+)", manual["failoverd.8"].sections["FILES"]):
        assert f'"{name}"' in CODE, name


@pytest.mark.parametrize(("page", "block"), [("failoverd.8", "vrrp_instance"), ("failoverctl.8", "vrrp_script")])
def test_keepalived_takes_the_example(manual: Pages, tmp_path: Path, page: str, block: str) -> None:
    file = tmp_path / "keepalived.conf"
    example = next(each for each in manual[page].examples if block in each)
    file.write_text(example.replace("/usr/bin/failoverctl", "/bin/true"), encoding="utf-8")
    argv = ["keepalived", "--config-test", "--use-file", str(file), "--log-console"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert [line for line in said if "interface" not in line] == []  # this machine has not got the example's


# ---------------------------------------------------------------- the page of failoverctl


def test_the_synopsis_has_every_verb_and_its_options(manual: Pages) -> None:
    lines = re.findall(r"^       failoverctl ([a-z].*)$", manual["failoverctl.8"].sections["SYNOPSIS"], re.MULTILINE)
    told = {re.split(r" (?:[\[A-Z]|on\|off)", line)[0]: line for line in lines}
    assert set(told) == set(VERBS)
    for verb, parser in VERBS.items():
        assert set(re.findall(r"(?<!\w)--?[a-z-]+", told[verb])) == options(parser) - COMMON, verb
        for action in parser._get_positional_actions():
            if not isinstance(action, argparse._SubParsersAction):
                assert (action.metavar or "|".join(action.choices or ())) in told[verb], verb


def test_every_verb_and_option_is_explained(manual: Pages) -> None:
    explained = re.findall(
        r"^       ([a-z-]+(?: [a-z]+)?)(?: (?:\[?[A-Z].*|on\|off))?$",
        manual["failoverctl.8"].sections["VERBS"],
        re.MULTILINE,
    )
    assert explained == list(VERBS)
    entries = re.findall(r"^       (-.*)$", manual["failoverctl.8"].sections["OPTIONS"], re.MULTILINE)
    assert set(re.findall(r"(?<!\w)--?[a-z-]+", " ".join(entries))) == EVERY
    assert client.DEFAULT_SOCKET in manual["failoverctl.8"].sections["OPTIONS"]


def test_exit_statuses_of_failoverctl(manual: Pages) -> None:
    modules = [importlib.import_module(f"failoverd.ctl.{each.name}") for each in pkgutil.iter_modules(ctl.__path__)]
    named = {value for module in modules for name, value in vars(module).items() if name.startswith("EX_")}
    named |= {0, client.CtlError.status, client.UnreachableError.status}
    named |= {os.EX_CANTCREAT, os.EX_NOPERM, os.EX_CONFIG}
    assert manual["failoverctl.8"].words("EXIT STATUS") == set(map(str, named))
    told = set(re.findall(r"^  (\d+) ", command_line.parser().format_help(), re.MULTILINE))
    assert told == set(map(str, named)) - {"130", "141"}


def test_levels_and_phases(manual: Pages) -> None:
    assert manual["failoverctl.8"].words("LEVELS AND PHASES") >= values(Level) | values(Phase)
    rows = re.findall(r"^       ([a-z, ]+?)   ", manual["failoverctl.8"].sections["LEVELS AND PHASES"], re.MULTILINE)
    assert {word for row in rows for word in row.split(", ")} == values(Level) | values(Phase)
    help = VERBS["status"].format_help()
    assert {w for r in re.findall(r"^  ([a-z, ]+?)   ", help, re.MULTILINE) for w in r.split(", ")} >= values(Phase)


@pytest.mark.parametrize("where", ["manual", "help"])
def test_outcomes(manual: Pages, where: str) -> None:
    text = (
        manual["failoverctl.8"].sections["LEVELS AND PHASES"] if where == "manual" else VERBS["history"].format_help()
    )
    for word in values(TransitionResult) | {"interrupted", "running"}:
        assert re.search(rf"\b{word}\b", text), word


def test_json_has_the_keys_that_are_told(manual: Pages, tmp_path: Path) -> None:
    """Of the verbs of which the daemon makes the answer of its state alone."""
    file = tmp_path / "failoverd.toml"
    file.write_text(EXAMPLE, encoding="utf-8")
    core = config.load(file, "left").core
    state, _ = machine.advance(State(config=Config(), instances={}), Reloaded(config=core), 0.0)
    told = {
        "status": status.status(state, node="left", events={}, troubles=TROUBLES, wall=lambda at: at),
        "plan": plan.plan(state, state.instances["VI_1"], Target.ACTIVE, lambda _resource, _verb: ("true",), {}),
        "why": why.why(state.instances["VI_1"], None, 0.0, lambda at: at),
    }
    for verb, answer in told.items():
        entry = re.search(rf"^       {verb}\n(.*)$", manual["failoverctl.8"].sections["JSON"], re.MULTILINE)
        assert entry is not None
        assert keys(answer) <= set(re.findall(r"\w+", entry[1])), verb


def keys(answer: object) -> set[str]:
    """Every key in `answer`, except the names of instances and resources."""
    if isinstance(answer, list):
        return set().union(*map(keys, answer))
    if not isinstance(answer, dict):
        return set()
    return {key for key in answer if key not in ("VI_1", "web")}.union(*map(keys, answer.values()))
