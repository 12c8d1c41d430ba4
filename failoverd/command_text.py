"""A command line of failoverctl as a person pastes it: quoted for a shell, with ``--`` before what begins with ``-``.

keepalived allows almost every name of an instance. Every message with such a command makes it here.
"""

from __future__ import annotations

import shlex


def failoverctl(words: str, *names: str) -> str:
    """The command with these words and options, and with these names as its operands."""
    return f"failoverctl {words} {operands(*names)}"


def operands(*names: str) -> str:
    """The names alone. They must be the last words of the command."""
    end = ["--"] if any(name.startswith("-") for name in names) else []
    return " ".join([*end, *map(shlex.quote, names)])
