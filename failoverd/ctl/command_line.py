"""The command line of failoverctl, made of the declarations in ``verbs/``: it names no verb itself."""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from failoverd import __version__
from failoverd.ctl import arguments, completion, verbs
from failoverd.ctl.client import DEFAULT_SOCKET
from failoverd.ctl.verbs import Request, Verb

#: sysexits.h: the command was used incorrectly.
EX_USAGE = 64

_EXIT_STATUSES = """\
exit status:
  0    success
  1    the daemon rejected the request, or standby was not reached; the message
       has the reason; doctor: there are findings
  64   invalid arguments
  69   cannot reach the daemon
  74   cannot write the output
  73   init: the file exists, or cannot be written
  77   doctor, init: they must be run by root
  78   config check, doctor, init, keepalived-config: the configuration has
       errors
check exits with 0 to 3, as a monitoring plugin: failoverctl check --help
"""

#: The columns of the help.
_WIDTH = 80

_RESTRICTED = "Restricted to root and the group failoverd"


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line, with a suggestion, and exits with EX_USAGE."""

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

        own: list[str] = []
        if word.startswith("-"):
            known = {option: option for option in self.options()}
        else:
            own = [choice for action in self._get_positional_actions() for choice in action.choices or ()]
            known = self.phrases() | {choice: choice for choice in own}
        near = difflib.get_close_matches(word, known, 1, 0.6)
        if near:
            return f"unknown argument {word!r}; did you mean {known[near[0]]!r}?"
        return f"unknown argument {word!r}; expected {' or '.join(own)}" if own else None

    def phrases(self) -> dict[str, str]:
        """Each word that is valid here or after further words, with those words before it."""
        found: dict[str, str] = {}
        before = ""
        for action in self._get_positional_actions():
            for word in action.choices or ():
                found.setdefault(word, f"{before}{word}")
            if isinstance(action.choices, dict):
                for word, parser in action.choices.items():
                    for further, phrase in parser.phrases().items():
                        found.setdefault(further, f"{before}{word} {phrase}")
            before += f"{action.metavar or action.dest} "
        return found


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse `argv`; its ``verb`` is the Verb to run. Exits with EX_USAGE where `argv` is not understood."""
    words = {name.split()[0] for name in verbs.names()}
    first = next((word for word in argv if word in words), None)
    top = parser(first)  # importing all verbs takes as long as the rest
    for word in itertools.takewhile(lambda word: word != first, argv):
        option = word.partition("=")[0]
        if option.startswith("-") and option not in top.options():  # else its value is taken for the verb
            top.error(f"unrecognized arguments: {option}")
    asked, rest = top.parse_known_args(argv)
    if rest:
        asked.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if asked.verb is None:
        top.error(f"no verb given; expected {', '.join(dict.fromkeys(name.split()[0] for name in verbs.declared()))}")
    return asked


def parser(only: str | None = None) -> _Parser:
    """The parser of all verbs; with `only`, of those that begin with this word.

    Its result has a ``verb``, a Verb or None where none was given, and its ``parser``.
    """
    declared = verbs.declared(only)
    top = _Parser(
        prog="failoverctl",
        description="Query and operate failoverd on this node.",
        epilog=f"{_examples(declared.values())}\n{_EXIT_STATUSES}\n{_permissions(declared)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"failoverctl {__version__}")
    text = f"the daemon's control socket (default {DEFAULT_SOCKET})"
    socket = top.add_argument("--socket", metavar="PATH", default=DEFAULT_SOCKET, help=text)
    arguments.completed(socket, completion.files)
    top.set_defaults(verb=None, parser=top)
    found = top.add_subparsers(metavar="VERB", title="verbs", parser_class=_Parser)
    _add_verbs(found, {tuple(name.split()): verb for name, verb in declared.items()})
    return top


def _add_verbs(parsers: argparse._SubParsersAction[_Parser], declared: Mapping[tuple[str, ...], Verb]) -> None:
    """Add a parser for each first word in `declared`, and beneath it those of the words that follow."""
    for word in dict.fromkeys(words[0] for words in declared):
        verb = declared.get((word,))
        further = {words[1:]: each for words, each in declared.items() if words[0] == word and words[1:]}
        summary = verb.summary if verb is not None else "; ".join(each.summary for each in further.values())
        added = _add_parser(parsers, word, summary, _epilog(verb) if verb is not None else None)
        if verb is not None:
            _declare(added, verb)
        if further:
            choices = "|".join(dict.fromkeys(words[0] for words in further))
            metavar = choices if verb is None else f"[{choices}]"
            required = verb is None
            nested = added.add_subparsers(metavar=metavar, required=required, title="verbs", parser_class=_Parser)
            _add_verbs(nested, further)


def _add_parser(
    parsers: argparse._SubParsersAction[_Parser], word: str, summary: str, epilog: str | None
) -> argparse.ArgumentParser:
    added = parsers.add_parser(
        word,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    socket = added.add_argument(
        "--socket", metavar="PATH", default=argparse.SUPPRESS, help="the daemon's control socket"
    )
    arguments.completed(socket, completion.files)
    added.set_defaults(parser=added)
    return added


def _declare(parser: argparse.ArgumentParser, verb: Verb) -> None:
    parser.set_defaults(verb=verb)
    verb.arguments(parser)
    if isinstance(verb.action, Request):
        text = "print the daemon's answer as JSON"
        parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=text)


def _epilog(verb: Verb) -> str:
    restriction = f"{_RESTRICTED}.\n\n" if _operators_only(verb) else ""
    return f"{restriction}{verb.details}\n{_examples([verb])}"


def _examples(declared: Iterable[Verb]) -> str:
    examples = [example for verb in declared for example in verb.examples]
    width = max(len(line) for line, _ in examples)
    return "\n".join(("examples:", *(f"  {line:{width}}  {purpose}" for line, purpose in examples), ""))


def _permissions(declared: Mapping[str, Verb]) -> str:
    names = ", ".join(name for name, verb in declared.items() if _operators_only(verb))
    import textwrap

    restricted = textwrap.fill(f"{_RESTRICTED}: {names}.", _WIDTH)
    return f"{restricted}\nEverybody may run the others. failoverctl(8) explains the terms.\n"


def _operators_only(verb: Verb) -> bool:
    return isinstance(verb.action, Request) and verb.action.operators_only
