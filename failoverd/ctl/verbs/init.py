"""``failoverctl init``: write a first failoverd.toml from what this machine has, and say what is still missing."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tomllib
from pathlib import Path

from failoverd.ctl import arguments, client, completion, output
from failoverd.ctl.verbs import Verb
from failoverd.ctl.verbs.config_check import DEFAULT_FILE
from failoverd.ctl.verbs.doctor import page

_DETAILS = """\
It reads keepalived.conf, DRBD's files, the files of Xen's guests, bird.conf and
frr.conf, and writes FILE, with a comment at each guess. It overwrites nothing:
of a FILE without any key it keeps the comments as FILE.orig, and with one it
ends with an error. Then it prints what doctor finds. Exit status:
  0    the file was written, and doctor has no findings
  1    the file was written, and doctor has findings; or there is no instance
  73   FILE exists, or cannot be written
  77   not root
  78   the file was written, and needs a correction: the message names it
"""


class _ExistsError(client.CtlError):
    status = os.EX_CANTCREAT


class _NotPermittedError(client.CtlError):
    status = os.EX_NOPERM


def _arguments(parser: argparse.ArgumentParser) -> None:
    text = f"the file to write (default {DEFAULT_FILE})"
    file = parser.add_argument("file", metavar="FILE", nargs="?", type=Path, default=Path(DEFAULT_FILE), help=text)
    arguments.completed(file, completion.files)
    text = "keepalived.conf, if it is not that of the running keepalived"
    conf = parser.add_argument("--keepalived", metavar="CONF", type=Path, help=text)
    arguments.completed(conf, completion.files)


def _run(asked: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise _NotPermittedError("init reads files that only root may read", "use: sudo failoverctl init")
    from failoverd import doctor, log  # it imports the drivers, which takes longer than any other verb runs

    log.configure("console", "error")
    file: Path = asked.file
    _refuse_to_overwrite(file)
    try:
        text = asyncio.run(doctor.first_configuration(asked.keepalived))
    except doctor.Nothing as error:
        raise client.CtlError(f"nothing to follow: {error}", "keepalived.conf(5)") from error
    except OSError as error:
        raise client.CtlError(
            f"cannot read {error.filename}: {error.strerror}", "name it: --keepalived CONF"
        ) from error
    _write(file, text)
    sys.stdout.write(f"wrote {file}: read it, and correct each guess\n")
    try:
        site = doctor.site(file, Path(asked.socket).parent, asked.keepalived)
    except doctor.ConfigError as error:
        output.complain(error.problems)
        return os.EX_CONFIG
    found = asyncio.run(doctor.examine(site))
    if found:
        sys.stdout.write(f"\n{output.drawn(page(found))}")
    else:
        sys.stdout.write("doctor has no findings; next: systemctl reload failoverd\n")
    sys.stdout.flush()
    return 1 if found else 0


def _refuse_to_overwrite(file: Path) -> None:
    try:
        configures = bool(tomllib.loads(file.read_text(encoding="utf-8-sig")))
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        configures = True
    if configures:
        raise _ExistsError(f"{file} exists, and init overwrites nothing", f"try: failoverctl init {file}.new")


def _write(file: Path, text: str) -> None:
    try:
        if file.exists():
            kept = file.with_name(f"{file.name}.orig")
            kept.hardlink_to(file)  # fails if it exists
            file.unlink()
            sys.stdout.write(f"kept the comments of {file} as {kept}\n")
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise _ExistsError(
            f"cannot write {file}: {error.strerror}", "try another file: failoverctl init FILE"
        ) from error


VERB = Verb(
    position=84,
    summary="write a first failoverd.toml from what this machine has",
    details=_DETAILS,
    examples=(("failoverctl init", "once, where keepalived is set up"),),
    arguments=_arguments,
    action=_run,
)
