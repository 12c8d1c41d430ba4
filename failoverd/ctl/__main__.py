"""failoverctl's entry: runs one verb, and maps every failure to an exit status.

No traceback may reach the terminal for a failure of the daemon, the output or the user.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from datetime import datetime

from failoverd.ctl import client, command_line, completion, output
from failoverd.ctl.signals import Ended
from failoverd.ctl.verbs import Request, Verb

#: sysexits.h: cannot write the output.
EX_IOERR = 74

#: What a shell reports of a program that SIGPIPE (the reader closed the output) or SIGINT (Ctrl-C) ended.
EX_PIPE, EX_INTERRUPTED = 141, 130


def main(argv: list[str] | None = None) -> int:
    """Run failoverctl with `argv` (None: the command line) and return its exit status. SystemExit: wrong arguments."""
    asked = None
    try:
        if "_ARGCOMPLETE" in os.environ:  # the shell runs it to complete a line
            sys.exit(completion.answer(command_line.parser()))
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        asked = command_line.parse(sys.argv[1:] if argv is None else argv)
        return _run(asked)
    except client.CtlError as error:
        output.complain([f"failoverctl: {error.error}", *([f"  {error.hint}"] if error.hint else [])])
        return error.status
    except OSError as error:  # of the output: the client raises CtlError
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its exit
        if isinstance(error, BrokenPipeError):
            return EX_PIPE
        print(f"failoverctl: cannot write the output: {error.strerror}", file=sys.stderr)
        return EX_IOERR
    except KeyboardInterrupt:
        return _interrupted(asked, EX_INTERRUPTED)
    except Ended as ended:
        return _interrupted(asked, ended.status)


def _interrupted(asked: Namespace | None, status: int) -> int:
    action = None if asked is None else asked.verb.action
    if isinstance(action, Request) and action.operators_only:
        said = ["failoverctl: interrupted; failoverd continues the request, if it has it", "  see: failoverctl status"]
    else:
        said = ["failoverctl: interrupted"]
    output.complain(said)
    return status


def _run(asked: Namespace) -> int:
    verb: Verb = asked.verb
    if (instead := verb.instead(asked)) is not None:
        return instead(asked)
    if not isinstance(verb.action, Request):
        return verb.action(asked)
    request, answer = verb.action, client.ask(asked.socket, verb.action.verb, verb.action.params(asked))
    try:
        if request.follow is not None:
            answer = dict(request.follow(answer, asked))
        if getattr(asked, "json", False):
            text = json.dumps(answer, indent=2) + "\n"
        else:
            text = output.drawn(request.page(answer, asked, datetime.now().astimezone()))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise client.CtlError(f"cannot show the answer ({error}); --json prints it", client.OTHER_RELEASE) from error
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
