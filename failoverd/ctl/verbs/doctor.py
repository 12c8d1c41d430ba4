"""``failoverctl doctor``: find what will not work when it matters. It looks at this machine; no daemon needs to run."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from failoverd.ctl import agreement, arguments, client, completion, output
from failoverd.ctl.page import Block, Cell, Page, Row, Tone
from failoverd.ctl.verbs import Verb
from failoverd.ctl.verbs.config_check import DEFAULT_FILE

if TYPE_CHECKING:
    from failoverd.doctor import Finding

_DETAILS = """\
It compares failoverd.toml with the files of keepalived and of every driver's
program, and asks these programs; of the other nodes in [peers], whether they
answer and have the same configuration. It changes nothing. On a correct node it
prints nothing. For each finding it prints the reason and the line to change.
Exit status:
  0    no findings
  1    findings
  77   not root, who alone may read all the files
  78   failoverd.toml has errors: failoverctl config check
"""


class _NotPermittedError(client.CtlError):
    status = os.EX_NOPERM


def _arguments(parser: argparse.ArgumentParser) -> None:
    text = f"the configuration file (default {DEFAULT_FILE})"
    file = parser.add_argument("file", metavar="FILE", nargs="?", type=Path, default=Path(DEFAULT_FILE), help=text)
    arguments.completed(file, completion.files)
    text = "keepalived.conf, if it is not that of the running keepalived"
    conf = parser.add_argument("--keepalived", metavar="CONF", type=Path, help=text)
    arguments.completed(conf, completion.files)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print the findings as JSON")


def _run(asked: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise _NotPermittedError("doctor reads files that only root may read", "use: sudo failoverctl doctor")
    from failoverd import doctor, log  # it imports the drivers, which takes longer than any other verb runs

    try:
        site = doctor.site(asked.file, Path(asked.socket).parent, asked.keepalived)
    except doctor.ConfigError as error:
        output.complain(error.problems)
        return os.EX_CONFIG
    log.configure("console", "error")
    configuration = site.configuration
    found = asyncio.run(doctor.examine(site))
    found += agreement.examine(configuration.peers, configuration.digest, asked.file)
    if getattr(asked, "json", False):
        sys.stdout.write(json.dumps({"findings": [asdict(each) for each in found]}, indent=2) + "\n")
    elif found:
        sys.stdout.write(output.drawn(page(found)))
    sys.stdout.flush()
    return 1 if found else 0


def page(found: Sequence[Finding]) -> Page:
    """The findings, each in a block: what is wrong, why it matters, and the line to change."""
    return tuple(_block(each) for each in found)


def _block(finding: Finding) -> Block:
    remedy = f"in {finding.where}:" if finding.where else "run:"
    return Block(
        title=(Cell(f"{finding.about}: {finding.wrong}", Tone.BAD),),
        notes=(Cell(finding.why),),
        rows=(Row(cells=(Cell(remedy, Tone.STRONG),), below=tuple(Cell(line) for line in finding.fix.split("\n"))),),
    )


VERB = Verb(
    position=85,
    summary="find what will not work when it matters; needs no running daemon",
    details=_DETAILS,
    examples=(("failoverctl doctor", "after every change of a configuration"),),
    arguments=_arguments,
    action=_run,
)
