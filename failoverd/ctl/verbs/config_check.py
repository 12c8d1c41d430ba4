"""``failoverctl config check``: let the daemon's own code check a configuration; no daemon needs to run."""

from __future__ import annotations

import argparse
import os
import sys

from failoverd.ctl import arguments, completion
from failoverd.ctl.verbs import Verb

#: Where the daemon reads its configuration.
DEFAULT_FILE = "/etc/failoverd/failoverd.toml"

_DETAILS = """\
The check also reads conf.d/*.toml beside FILE, as the daemon does. Exit status:
0 if the configuration is valid, 78 if not.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    text = f"the configuration file (default {DEFAULT_FILE})"
    file = parser.add_argument("file", metavar="FILE", nargs="?", default=DEFAULT_FILE, help=text)
    arguments.completed(file, completion.files)


def _become_the_check(asked: argparse.Namespace) -> int:
    """Replace this process; -P: Python must not run code from the working directory, which is anybody's."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", "failoverd", "--config", asked.file, "--check"])  # noqa: S606


VERB = Verb(
    position=80,
    summary="check a configuration file; needs no running daemon",
    details=_DETAILS,
    examples=(("failoverctl config check", "before: systemctl reload failoverd"),),
    arguments=_arguments,
    action=_become_the_check,
)
