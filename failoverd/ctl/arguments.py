"""What failoverctl can be asked, and the help from which it can be learnt."""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Sequence
from typing import NoReturn

from failoverd import __version__

SOCKET = "/run/failoverd/control.sock"

#: sysexits.h: the command was used incorrectly.
EX_USAGE = 64

_VERBS = ("status", "history", "plan", "reset", "acknowledge", "accept", "config")

_EXAMPLES = """\
examples:
  failoverctl status                     what is active here, and what is wrong
  failoverctl status | grep '^!'         only what is wrong
  failoverctl history -n 5               the last five transitions
  failoverctl history show 118           what one of them ran, and what came of it
  failoverctl plan VI_1 master           what would run if VI_1 became MASTER now
  failoverctl reset VI_1                 try again what has given up
  failoverctl acknowledge VI_1           two were MASTER: somebody knows
  failoverctl accept VI_1 web-disk       serve old data, rather than none
  failoverctl config check FILE          before `systemctl reload failoverd`

exit status:
  0    done
  1    failoverd answered that it cannot; the message says why
  64   wrong usage
  69   failoverd cannot be reached
  74   the output cannot be written
  78   config check: the configuration has errors

Everybody may ask; `reset`, `acknowledge` and `accept` are for root and the
members of the group failoverd.
See failoverctl(8) for what the words mean.
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with what was probably meant, and exits as sysexits.h has it."""

    def error(self, message: str) -> NoReturn:
        word = re.search(r"invalid choice: '(.*?)'|unrecognized arguments: (\S+)", message)
        if word is not None:
            message = self._meant(word[1] or word[2]) or message
        self.exit(EX_USAGE, f"{self.prog}: {message}\ntry: {self.prog} --help\n")

    def options(self) -> set[str]:
        """Every option that the help names."""
        return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", self.format_help()))

    def _meant(self, word: str) -> str | None:
        import difflib  # only a mistake needs it

        choices = sorted(self.options()) if word.startswith("-") else [*_VERBS, "show", "check", "master", "backup"]
        near = difflib.get_close_matches(word, choices, 1, 0.6)
        return f"{word!r} is not known; did you mean {near[0]!r}?" if near else None


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Understand `argv`, or exit with EX_USAGE; ``verb`` is what to do."""
    top = parser()
    for word in itertools.takewhile(lambda word: word not in _VERBS, argv):
        option = word.partition("=")[0]
        if option.startswith("-") and option not in top.options():  # else its value is taken for the verb
            top.error(f"unrecognized arguments: {option}")
    asked, rest = top.parse_known_args(argv)
    asked.parser = getattr(asked, "parser", top)
    if rest:
        asked.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if asked.verb is None:
        top.error(f"say what to do: {', '.join(_VERBS)}")
    return asked


def parser() -> _Parser:
    """What understands the command line, and knows the help."""
    top = _Parser(
        prog="failoverctl",
        description="Ask failoverd what it does, did and would do on this node.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"failoverctl {__version__}")
    top.add_argument("--socket", metavar="PATH", default=SOCKET, help=f"the daemon's socket (default {SOCKET})")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", title="verbs", parser_class=_Parser)

    status = _verb(verbs, "status", "show each instance: its phase, its VIPs, its resources", _STATUS)
    _json(status)

    history = _verb(verbs, "history", "show what was done, newest first; or one transition in full", _HISTORY)
    history.add_argument("-n", metavar="N", type=_count, default=20, help="how many transitions (default 20)")
    _json(history)
    what = history.add_subparsers(dest="what", metavar="[show ID]", title="one transition", parser_class=_Parser)
    show = _verb(what, "show", "show one transition: why, each step, its commands and its result", _SHOW)
    show.add_argument("id", metavar="ID", type=_count, help="the transition's number, from `failoverctl history`")
    _json(show)

    plan = _verb(verbs, "plan", "show what a change of mastership would run; run nothing", _PLAN)
    _instance(plan)
    plan.add_argument("role", choices=("master", "backup"), type=str.lower, help="what keepalived would say")
    _json(plan)

    reset = _verb(verbs, "reset", "look at an instance anew, and try again what has given up", _RESET)
    _instance(reset)
    _json(reset)

    acknowledge = _verb(verbs, "acknowledge", "take note that another node was MASTER as well", _ACKNOWLEDGE)
    _instance(acknowledge)
    _json(acknowledge)

    accept = _verb(verbs, "accept", "overrule, once, why a resource is refused: its data may be old", _ACCEPT)
    _instance(accept)
    accept.add_argument("resource", metavar="RESOURCE", help="the resource's name, as in failoverd.toml")
    _json(accept)

    config = _verb(verbs, "config", "check a configuration file; needs no running failoverd", _CONFIG)
    what = config.add_subparsers(dest="what", metavar="check", required=True, title="checks", parser_class=_Parser)
    check = _verb(what, "check", "name every error in FILE; exit 0 if there is none, 78 otherwise", _CONFIG)
    check.add_argument("file", metavar="FILE", help="the configuration, e.g. /etc/failoverd/failoverd.toml")
    return top


def _verb(verbs: argparse._SubParsersAction[_Parser], name: str, told: str, more: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=told,
        description=f"{told[0].upper()}{told[1:]}.",
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--socket", metavar="PATH", default=argparse.SUPPRESS, help="the daemon's socket")
    parser.set_defaults(parser=parser)
    return parser


def _instance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("instance", metavar="INSTANCE", help="the instance's name, as in keepalived.conf")


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print the daemon's answer as JSON, for programs"
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 62:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


_STATUS = """\
On a terminal a table; in a pipe one line for each VIP and resource, which
begins with `!` if it is wrong and then names its instance. Phases:
  standby, active        settled; every resource should be at that level
  promoting, demoting    on the way there
  refused                keepalived says MASTER, and failoverd will not promote
  failed                 a step failed for good
  unknown                nothing reliable has been heard; failoverd only watches
The reason beneath says why. What was tried: failoverctl history

The exit status is 0 whatever the phases are; programs read --json.
"""

_HISTORY = """\
A transition is everything that follows one change of target. Outcomes:
  active, standby        it got there
  partial                active, but without what may fail
  refused, failed        it did not; the last column says why
  released               mastership was given away
  overtaken              a later event came before it had settled
  interrupted            failoverd ended in its middle
  running                it is under way

examples:
  failoverctl history -n 3
  failoverctl history show 118
"""

_SHOW = """\
Beneath each step are the commands that it ran, ready to be pasted. With --json
a step's `command` holds all of them, one a line.
"""

_PLAN = """\
examples:
  failoverctl plan VI_1 master     what promotion would run here, in order
  failoverctl plan VI_1 backup     what demotion would run
The time is the sum of the deadlines along the longest chain: what a sick
machine could take, not what a sound one does.
"""

_RESET = """\
For root and the members of the group failoverd. Mend first what `failoverctl
status` complains about; then every resource of INSTANCE is looked at again, and
those that had given up are tried again. What is as it should be is left alone.
What came of it: failoverctl status
"""

_ACKNOWLEDGE = """\
For root and the members of the group failoverd. Two nodes were MASTER of INSTANCE
at once, and both may have written: look at what they serve, on both, before what
one of them wrote is lost. Then this ends the mark in `failoverctl status`, on
this node; each node has its own. The history keeps it, and who acknowledged it.
"""

_ACCEPT = """\
For root and the members of the group failoverd. While the replication to the
Primary was down, or after DRBD had given up the connection to a node (StandAlone:
split brain), that node's writes did not come here: what was written in that time
is lost for good if this copy is served and kept. Prefer to bring the other node
back. A split brain is accepted for one promotion. The history keeps who accepted
it.
"""

_CONFIG = """\
conf.d/*.toml beside FILE is read too, as the daemon does. Then let failoverd
take the file: systemctl reload failoverd
"""
