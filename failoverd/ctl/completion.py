"""Completion in the shell, by argcomplete, and the completers of the arguments.

The shell runs failoverctl with ``_ARGCOMPLETE`` set and reads the candidates. argcomplete must not be imported in any
other run: it is slow, and may be missing. Completers ask the daemon, briefly, and never fail: without a daemon there
are no candidates. As a program, ``python3 -m failoverd.ctl.completion SHELL``, it prints the script that a package
installs for bash, zsh or fish.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import Any

from failoverd.ctl import client

#: For one request: somebody waits at the keyboard.
REPLY_TIMEOUT_S = 0.5

#: argcomplete before 3 has no code for zsh: bashcompinit runs the one for bash.
_ZSH = """\
#compdef failoverctl
autoload -U +X bashcompinit && bashcompinit
{code}
_bash_complete -o nospace -F _python_argcomplete
"""


def answer(parser: argparse.ArgumentParser) -> int:
    """Print the candidates for the shell and end the process; return 1 where argcomplete is missing."""
    try:
        import argcomplete
    except ImportError:
        return 1
    argcomplete.autocomplete(parser, always_complete_options=False, default_completer=argcomplete.SuppressCompleter())
    return 1


def script(shell: str) -> str:
    """The completion script for `shell`: bash, zsh or fish. ImportError: argcomplete is missing."""
    import argcomplete

    # Without `-o default`, bash offers no file names where an instance is expected.
    code: str = argcomplete.shellcode(
        ["failoverctl"], shell="fish" if shell == "fish" else "bash", complete_arguments=["-o", "nospace"]
    )
    return _ZSH.format(code=code) if shell == "zsh" and "ZSH_VERSION" not in code else code


def instances(parsed_args: argparse.Namespace, **_: Any) -> dict[str, str]:
    """The instances, each with its phase; none without an answer."""
    told = _ask(parsed_args, "status", {}).get("instances") or {}
    return {name: str(instance.get("phase", "")) for name, instance in told.items()}


def resources(parsed_args: argparse.Namespace, **_: Any) -> dict[str, str]:
    """The resources of the instance before it on the line, each with its level; none without an answer."""
    told = _ask(parsed_args, "status", {}).get("instances") or {}
    found = (told.get(parsed_args.instance) or {}).get("resources") or {}
    return {name: str(resource.get("level", "")) for name, resource in found.items()}


def transitions(parsed_args: argparse.Namespace, **_: Any) -> dict[str, str]:
    """The numbers of the last 20 transitions, each with its instance, target and outcome; none without an answer."""
    told = _ask(parsed_args, "history", {"n": 20}).get("transitions") or ()
    return {
        str(one.get("id")): f"{one.get('instance')} to {one.get('target')}: {one.get('outcome') or 'running'}"
        for one in told
    }


def _ask(parsed_args: argparse.Namespace, verb: str, params: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return client.ask(
            getattr(parsed_args, "socket", client.DEFAULT_SOCKET), verb, {**params}, deadline=REPLY_TIMEOUT_S
        )
    except client.CtlError:
        return {}


def files(prefix: str, **_: Any) -> list[str]:
    """The files that begin with `prefix`. argcomplete's own completer lets a shell evaluate `prefix`."""
    from pathlib import Path  # slow to import, and only the shell needs it

    typed, name = os.path.split(prefix)
    folder = Path(typed or ".").expanduser()
    try:
        found = sorted(each for each in folder.iterdir() if name.startswith(".") or not each.name.startswith("."))
    except OSError:
        return []
    return [os.path.join(typed, each.name) + ("/" if each.is_dir() else "") for each in found]  # noqa: PTH118  # as typed


if __name__ == "__main__":
    sys.stdout.write(script(sys.argv[1]))
