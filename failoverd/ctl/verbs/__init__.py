"""The verbs of failoverctl: one module each, and nothing else here.

A module's name is its verb as it is typed, ``_`` for a space and ``__`` for a hyphen: ``history_show`` declares
``failoverctl history show`` in its ``VERB``. The command line, the help, the completion, the request and the page all
come from that declaration; no other place lists verbs. A verb must not decide anything: it sends its request and shows
the answer.
"""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from failoverd.ctl.page import Page

#: The daemon's answer to one request: a JSON object.
Answer = Mapping[str, Any]

#: Runs a verb here, and returns the exit status.
Run = Callable[["argparse.Namespace"], int]


class Request(NamedTuple):
    """The request of a verb to the daemon, and the page of the answer.

    `verb`: the daemon's handler in ``daemon/control/answers.py``; `params`: the request's other keys, from the command
    line. `page` makes a page of the answer, the command line and the time (which has a zone); it raises AttributeError,
    LookupError, TypeError or ValueError where it cannot read the answer. `operators_only`: the daemon
    rejects the request of any user but root and operators. `follow` waits for the effects, within a deadline of its
    own, and returns the answer to show; it raises the same, or client.CtlError. None: the first answer is shown.
    """

    verb: str
    params: Callable[[argparse.Namespace], dict[str, Any]]
    page: Callable[[Answer, argparse.Namespace, datetime], Page]
    operators_only: bool = False
    follow: Callable[[Answer, argparse.Namespace], Answer] | None = None


class Verb(NamedTuple):
    """One verb, declared once.

    `position`: where its help stands, the lowest first. `summary`: one line for the list of verbs, without a full stop.
    `details`: paragraphs below its own help, lines of 80 columns at most. `examples`: command lines, each with its
    purpose. `arguments` adds its arguments to its parser. `action`: a request to the daemon, or a
    function that runs here and returns the exit status. `instead`: the function of this kind that replaces the action
    for these arguments; None: the action stays.
    """

    position: int
    summary: str
    details: str
    examples: tuple[tuple[str, str], ...]
    arguments: Callable[[argparse.ArgumentParser], None]
    action: Request | Run
    instead: Callable[[argparse.Namespace], Run | None] = lambda _: None


def names() -> tuple[str, ...]:
    """The words of every verb, as typed, in no order that means anything."""
    files = (file.name for folder in __path__ for file in os.scandir(folder))
    modules = (name.removesuffix(".py") for name in files if name.endswith(".py") and name != "__init__.py")
    return tuple(name.replace("__", "-").replace("_", " ") for name in modules)


def declared(only: str | None = None) -> dict[str, Verb]:
    """Every verb by its words, in the order of the help; with `only`, those that begin with this word.

    AttributeError: a module here declares no ``VERB``.
    """
    found = {
        name: importlib.import_module(f"{__name__}.{name.replace(' ', '_').replace('-', '__')}").VERB
        for name in names()
        if only is None or name.split()[0] == only
    }
    return dict(sorted(found.items(), key=lambda item: item[1].position))
