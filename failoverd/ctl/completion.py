"""Completion in the shell, by argcomplete: what may come next on a line that begins with ``failoverctl``.

The shell runs failoverctl with ``_ARGCOMPLETE`` set, and reads what may follow; only then is argcomplete imported.
Names that the daemon knows are asked from it, with a deadline that a person at a keyboard does not mind. As a program,
``python3 -m failoverd.ctl.completion SHELL``, it prints what a package installs for bash, zsh or fish.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from failoverd.ctl import arguments, client

#: Seconds that the daemon has.
DEADLINE = 0.5

#: In zsh's own system, the code that an argcomplete before 3 makes for bash: bashcompinit knows how to run it.
_ZSH = """\
#compdef failoverctl
autoload -U +X bashcompinit && bashcompinit
{code}
_bash_complete -o nospace -F _python_argcomplete
"""


def answer(parser: argparse.ArgumentParser) -> int:
    """Tell the shell that runs us what may come next, and end the process; return 1 where there is no argcomplete."""
    try:
        import argcomplete
    except ImportError:
        return 1
    for action in _actions(parser):
        action.completer = _COMPLETERS.get(str(action.metavar))  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser, always_complete_options=False, default_completer=argcomplete.SuppressCompleter())
    return 1


def script(shell: str) -> str:
    """What makes `shell` (bash, zsh or fish) ask failoverctl. ImportError without argcomplete."""
    import argcomplete

    # Nothing but what we say: no file names where an instance is expected.
    code: str = argcomplete.shellcode(
        ["failoverctl"], shell="fish" if shell == "fish" else "bash", complete_arguments=["-o", "nospace"]
    )
    return _ZSH.format(code=code) if shell == "zsh" and "ZSH_VERSION" not in code else code


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of `parser` and of its verbs that takes a value of no fixed choice."""
    for action in parser._actions:  # noqa: SLF001  # argparse shows them nowhere else
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for each in action.choices.values():
                yield from _actions(each)
        elif action.choices is None:
            yield action


def instances(parsed_args: argparse.Namespace, **_: Any) -> dict[str, str]:
    """Each instance with its phase; none when the daemon does not say."""
    told = _ask(parsed_args, "status", {}).get("instances") or {}
    return {name: str(instance.get("phase", "")) for name, instance in told.items()}


def resources(parsed_args: argparse.Namespace, **_: Any) -> dict[str, str]:
    """Each resource of the instance that was named, with its level."""
    told = _ask(parsed_args, "status", {}).get("instances") or {}
    found = (told.get(parsed_args.instance) or {}).get("resources") or {}
    return {name: str(resource.get("level", "")) for name, resource in found.items()}


def transitions(parsed_args: argparse.Namespace, **_: Any) -> dict[str, str]:
    """The numbers of the last transitions, each with what it was."""
    told = _ask(parsed_args, "history", {"n": 20}).get("transitions") or ()
    return {
        str(one.get("id")): f"{one.get('instance')} to {one.get('target')}: {one.get('outcome') or 'running'}"
        for one in told
    }


def _ask(parsed_args: argparse.Namespace, verb: str, params: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return client.ask(getattr(parsed_args, "socket", arguments.SOCKET), verb, {**params}, deadline=DEADLINE)
    except client.CtlError:
        return {}


def files(prefix: str, **_: Any) -> list[str]:
    """What is in the folder that `prefix` begins with. Argcomplete's own way lets a shell evaluate what was typed."""
    typed, name = os.path.split(prefix)
    folder = Path(typed or ".").expanduser()
    try:
        found = sorted(each for each in folder.iterdir() if name.startswith(".") or not each.name.startswith("."))
    except OSError:
        return []
    return [os.path.join(typed, each.name) + ("/" if each.is_dir() else "") for each in found]  # noqa: PTH118  # as typed


#: By what the help calls a value.
_COMPLETERS: Mapping[str, Callable[..., Any]] = {
    "INSTANCE": instances,
    "RESOURCE": resources,
    "ID": transitions,
    "FILE": files,
    "PATH": files,
}

if __name__ == "__main__":
    sys.stdout.write(script(sys.argv[1]))
