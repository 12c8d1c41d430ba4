"""failoverctl's entry: asks, shows, and maps what went wrong to an exit status."""

from __future__ import annotations

import json
import os
import shutil
import sys
from argparse import Namespace
from datetime import datetime
from typing import Any

from failoverd.ctl import arguments, client, render_history, render_plan, render_status
from failoverd.ctl.page import Block, Cell, Page, plain, terminal

#: sysexits.h: the output cannot be written; and what a shell reports of a program that SIGPIPE or SIGINT ended.
EX_IOERR, EX_PIPE, EX_INTERRUPTED = 74, 141, 130


def main(argv: list[str] | None = None) -> int:
    """Run failoverctl and return its exit status; wrong usage exits."""
    try:
        if "_ARGCOMPLETE" in os.environ:  # it is not run by a person, but by the shell that completes a line
            from failoverd.ctl import completion

            sys.exit(completion.answer(arguments.parser()))
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        asked = arguments.parse(sys.argv[1:] if argv is None else argv)
        if asked.verb == "config":
            return _check(asked.file)
        _show(asked)
        sys.stdout.flush()
    except client.CtlError as error:
        print(f"failoverctl: {error.error}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return error.status
    except OSError as error:  # what speaks to the daemon has errors of its own: this is the output's
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains at its exit
        if isinstance(error, BrokenPipeError):
            return EX_PIPE
        print(f"failoverctl: cannot write: {error.strerror}", file=sys.stderr)
        return EX_IOERR
    except KeyboardInterrupt:
        return EX_INTERRUPTED
    return 0


def _show(asked: Namespace) -> None:
    verb, params = _question(asked)
    answer = client.ask(asked.socket, verb, params)
    wants_json = getattr(asked, "json", False)
    sys.stdout.write(json.dumps(answer, indent=2) + "\n" if wants_json else _drawn(_page(verb, answer)))


def _question(asked: Namespace) -> tuple[str, dict[str, Any]]:
    if asked.verb == "history" and asked.what == "show":
        return "transition", {"id": asked.id}
    if asked.verb == "history":
        return "history", {"n": asked.n}
    if asked.verb == "plan":
        target = "active" if asked.role == "master" else "standby"
        return "plan", {"instance": asked.instance, "target": target}
    if asked.verb in ("reset", "acknowledge"):
        return asked.verb, {"instance": asked.instance}
    if asked.verb == "accept":
        return "accept", {"instance": asked.instance, "resource": asked.resource}
    return "status", {}


def _page(verb: str, answer: dict[str, Any]) -> Page:
    now = datetime.now().astimezone()
    try:
        if verb == "transition":
            return render_history.page_of_one(answer, now)
        if verb == "history":
            return render_history.page(answer, now)
        if verb == "plan":
            return render_plan.page(answer)
        if verb == "acknowledge":
            noted = f"{answer['instance']}: noted that another node was MASTER as well ({answer['acknowledged']} times)"
            return (Block(title=(Cell(noted),)),)
        if verb in ("reset", "accept"):
            told = f"{answer['instance']} is looked at again, and what had given up is tried again"
            if answer.get("forgotten"):
                told = f"what is no longer followed is forgotten: {', '.join(answer['forgotten'])}"
            if verb == "accept":
                told = f"{answer['resource']}: {answer['accepted']}"
            return (Block(title=(Cell(told),), notes=(Cell("what comes of it: failoverctl status"),)),)
        return render_status.page(answer, now)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise client.CtlError(
            f"failoverd's answer is not understood ({error})",
            "are failoverd and failoverctl of one release? see --json",
        ) from error


def _drawn(page: Page) -> str:
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return terminal(page, shutil.get_terminal_size().columns)
    return plain(page)


def _check(file: str) -> int:
    """Become the daemon's own check; -P: the directory that one stands in is no place for root to run code from."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", "failoverd", "--config", file, "--check"])  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
