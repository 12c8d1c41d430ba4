"""``failoverctl keepalived-config``: print the lines of keepalived.conf that belong to a failoverd.toml."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from failoverd.ctl import arguments, completion, output
from failoverd.ctl.verbs import Verb
from failoverd.ctl.verbs.config_check import DEFAULT_FILE

_DETAILS = """\
It prints a whole keepalived.conf that keepalived accepts: for each instance the
way to report, the track file and the VIPs. Identifiers and priorities, which
failoverd.toml does not have, are marked CHOOSE. It changes nothing.
Exit status: 0, or 78 if failoverd.toml has errors.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    text = f"the configuration file (default {DEFAULT_FILE})"
    file = parser.add_argument("file", metavar="FILE", nargs="?", type=Path, default=Path(DEFAULT_FILE), help=text)
    arguments.completed(file, completion.files)


def _run(asked: argparse.Namespace) -> int:
    from failoverd import doctor  # it imports the drivers, which takes longer than any other verb runs

    try:
        text = doctor.keepalived_config(asked.file, Path(asked.socket).parent)
    except doctor.ConfigError as error:
        output.complain(error.problems)
        return os.EX_CONFIG
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0


VERB = Verb(
    position=86,
    summary="print the lines of keepalived.conf that failoverd.toml needs",
    details=_DETAILS,
    examples=(("failoverctl keepalived-config", "to copy from"),),
    arguments=_arguments,
    action=_run,
)
