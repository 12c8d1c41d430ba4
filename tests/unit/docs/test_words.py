"""A phrase that was replaced stays replaced, in all that a user or an operator reads.

When the last place that has a phrase is rewritten, add a line to RETIRED.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from failoverd import drivers
from failoverd.core.spec import Restart
from failoverd.daemon.config import keys
from tests.unit.docs.pages import ROOT

#: A regular expression, and what to say. Case does not matter, and a space stands for any white space.
RETIRED: tuple[tuple[str, str], ...] = (
    (r"is tried again when what is in its way has changed", "is retried when its obstacle changes"),
    (r"the word of a keepalived that died", "when keepalived exits, its last state is discarded"),
    (r"keepalived has told nothing", "keepalived has reported nothing"),
    (r"keepalived has not spoken", "keepalived has reported nothing"),
    (r"keepalived said (MASTER|BACKUP|FAULT|STOP|DELETED|…)", "keepalived reported"),
    (r"keepalived's last word was", "keepalived's last state was"),
    (r"looking at \S+ took too long", "the check timed out"),
    (r"step never came back", "step did not end by its deadline"),
    (r"mastership was given away:", "mastership was released:"),
    (r"was not the only MASTER", "another node was MASTER at the same time"),
    (r"see what both did", "compare failoverctl history on both"),
    (r"may live and be back", "may still run and reconnect"),
    (r"the data here is old", "the data here is stale"),
    (r"bring it back, or", "reconnect them, or"),
    (r"somebody who cannot be seen", "a process that cannot be seen"),
    (r"answered that it cannot", "the daemon rejected the request"),
    (r"a client went at once", "client disconnected"),
    (r"a client was left", "connection closed"),
    (r"nobody can be answered", "cannot accept connections"),
    (r"node \w+: all is as it should be", "node NAME: healthy"),
    (r"is looked at again, and what had given up", "failoverd checks every resource and retries those that gave up"),
    (r"what comes of it", "for the result"),
    (r"take note that another node was MASTER", "confirm that a double master is known"),
    (r"served nowhere", "active nowhere"),
    (r"to take it back: failoverctl", "to take back mastership: failoverctl"),
    (r"nothing has been run", "nothing was run"),
    (r"say what to do:", "no verb given; expected"),
    (r"nobody listens at", "nothing listens at"),
    (r"hung up at", "closed the connection at"),
    (r"speaks version", "protocol version mismatch: failoverd has N"),
    (r"of one release", "of different releases"),
    (r"is --socket right", "check --socket PATH"),
    (r"asked for a reset", "reset by"),
    (r"\bunasked\b", "without an operator's consent"),
    (r"what a command said does not count", "exit codes are not trusted"),
    (r"simply believed", "the failure is cleared when a check finds the resource healthy"),
    (r"\bfor a wrong word\b", "invalid arguments"),
    (r"\bsaid aloud\b", "an alarm"),
    (r"keepalived cannot be told", "cannot write the track file"),
    (r"hearsay", "reported state"),
    (r"somebody wrote", "another program wrote"),
    (r"the one in force stays", "still using the previous configuration"),
    (r"not understood, nor believed", "cannot parse FILE, so failoverd ignores it"),
    (r"what was followed is not understood", "cannot parse the options of a recorded resource"),
    (r"is there room\?", "run: df DIRECTORY"),
    (r"reads keepalived's FIFO too", "also reads keepalived's FIFO"),
    (r"netlink fails", "cannot observe the VIPs by netlink"),
    (r"keepalived speaks, but", "keepalived reports events, but"),
    (r"its track file said so", "its track file released mastership"),
    (r"history is not written", "cannot write the history"),
    (r"too much waits to be written", "the queue of the history is full"),
    (r"a new one is begun", "started a new one"),
    (r"the process of the history", "the history process"),
    (r"characters are left out", "characters omitted"),
    (r"threads wait already", "threads already wait"),
    (r"within each other; expected", "nested more than N deep"),
    (r"a circle:", "circular needs:"),
    (r"no table here is called", "unknown table"),
    (r"no address that a machine can have", "not a unicast address"),
    (r"nobody caught this", "unhandled exception"),
    (r"who reads our standard error", "the reader of standard error"),
    (r"lines of this log were lost", "log lines were lost"),
    (r"wrong words", "invalid arguments"),
    (r"who may not tell", "a user who may not report"),
    (r"stood still", "stalled"),
    (r"earlier daemon's step", "a step of an earlier failoverd"),
    (r"cannot look at it", "cannot observe it"),
    (r"where that is meant", "if that is intended"),
    (r"\b(is|it is) somebody else's", "belongs to another user"),
    (r"the world is not as it is wanted", "cannot carry out a change of state"),
    (r"no end within", "timed out after N s"),
    (r"does not tell its state", "cannot read DRBD's state"),
    (r"bytes are left out", "bytes omitted"),
    (r"command\.py's door", "the port to processes"),
    (r"for a reason unknown", "unknown reason"),
)

#: As RETIRED, in the documents only: the program has these still.
RETIRED_IN_DOCUMENTS: tuple[tuple[str, str], ...] = (
    (r"keepalived('s)? (last |next |newest )?words?\b", "keepalived's state, keepalived's event"),
    (r"\bwords? of (a )?keepalived", "keepalived's state"),
    (r"\b(is|was|are|were|be|been) told\b", "is reported"),
    (r"\bhears?\b", "receive, receives"),
    (r"\b(is|are) void\b", "is discarded, does not count"),
    (r"\bold data\b", "stale data"),
    (r"\bgood metric\b", "better metric"),
    (r"\b(giv\w*|gave) (it |mastership )?away\b", "release mastership"),
    (r"(?<![\"`])\bmend(s|ed|ing)?\b(?![\"`])", "fix, repair"),
    (r"\b(a|the|every|each|last|next) looks?\b", "a check"),
    (r"\blook(s|ed|ing)? (at|for|again)\b", "check, observe, search"),
    (r"\bwho (serves|speaks|asks)\b", "the active node, the sender, the client"),
    (r"\bby no means\b", "the deadline or the number of retries"),
    (r"\bdoors?\b", "port"),
)

DOCUMENTS = sorted(
    {ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "systemd/failoverd.catalog"}
    | {*(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.scd")}
    | {each for each in (ROOT / "examples").rglob("*") if each.suffix in {".md", ".conf", ".toml", ".res", ".cfg"}}
    | {ROOT / "packaging/debian/control", *(ROOT / "systemd").glob("failoverd.s*")}
)
PROGRAM = sorted(
    {*(ROOT / "failoverd").rglob("*.py"), *(each for each in (ROOT / "hooks").iterdir() if each.is_file())}
)

#: Where a document quotes what not to say.
QUOTED = re.compile(r"<!-- retired phrases begin -->.*?<!-- retired phrases end -->", re.DOTALL)


def texts(name: str, content: str) -> Iterator[tuple[int, bool, str]]:
    """What is read in a file: each text, its first line, and whether it has the lines of the file."""
    if name.endswith(".py"):
        yield from literals(ast.parse(content))
    else:
        yield 1, True, QUOTED.sub(lambda quoted: "\n" * quoted[0].count("\n"), content)


def literals(tree: ast.AST) -> Iterator[tuple[int, bool, str]]:
    """The string literals and docstrings. What an f-string fills in is an ellipsis."""
    for node in ast.iter_child_nodes(tree):
        text = None
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        if text is not None:
            assert isinstance(node, ast.expr)
            yield node.lineno, text.count("\n") == (node.end_lineno or 0) - node.lineno, text
        inner = node.values if isinstance(node, ast.JoinedStr) else [node]
        for part in inner:
            if not isinstance(part, ast.Constant):
                yield from literals(part)


def complaints(name: str, content: str, retired: tuple[tuple[str, str], ...]) -> list[str]:
    """A line for each retired phrase: FILE:LINE: say X, not Y."""
    found = []
    for line, same_lines, text in texts(name, content):
        for phrase, instead in retired:
            for match in re.finditer(phrase.replace(" ", r"\s+"), text, re.IGNORECASE):
                at = line + (text[: match.start()].count("\n") if same_lines else 0)
                found.append(f"{name}:{at}: say {instead!r}, not {' '.join(match[0].split())!r}")
    return found


@pytest.mark.parametrize("file", [*DOCUMENTS, *PROGRAM], ids=lambda file: str(file.relative_to(ROOT)))
def test_no_retired_phrase_comes_back(file: Path) -> None:
    retired = RETIRED if file in PROGRAM else RETIRED + RETIRED_IN_DOCUMENTS
    name = str(file.relative_to(ROOT))
    assert not (found := complaints(name, file.read_text(encoding="utf-8"), retired)), "\n".join(found)


KEYS = (*(cls for table in (keys.NODE, keys.KEEPALIVED, keys.INSTANCE, keys.RESOURCE) for cls in table), Restart)
OPTIONS = {f"driver {name}": drivers.find(name).options for name in drivers.names()}


@pytest.mark.parametrize(("table", "cls"), [*((cls.__name__, cls) for cls in KEYS), *OPTIONS.items()], ids=str)
def test_no_retired_phrase_comes_back_in_the_text_of_a_key(table: str, cls: type) -> None:
    """failoverd.toml(5) has these texts."""
    for field in dataclasses.fields(cls):
        name, text = f"{table}: {field.name}", field.metadata["doc"]
        assert not (found := complaints(name, text, RETIRED + RETIRED_IN_DOCUMENTS)), "\n".join(found)


MODULE = '''"""A module.

Its word
is law.
"""
NAME = "word is law"  # its word is law
LONG = (
    f"its word {NAME} {'its word is law'}"
    "is law"
)
'''
DOCUMENT = """Not so:
Its word
  is law
<!-- retired phrases begin -->
its word is law
<!-- retired phrases end -->
its word is law
"""


@pytest.mark.parametrize(
    ("name", "content", "lines"), [("a.py", MODULE, [3, 8]), ("a.md", DOCUMENT, [2, 7])], ids=["program", "document"]
)
def test_a_retired_phrase_is_found_and_its_place_is_named(name: str, content: str, lines: list[int]) -> None:
    found = complaints(name, content, (("its word is law", "the state is checked"),))
    assert [each.lower() for each in found] == [
        f"{name}:{line}: say 'the state is checked', not 'its word is law'" for line in lines
    ]
