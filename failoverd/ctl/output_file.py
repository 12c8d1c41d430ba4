"""Write a file that the user has named: as a whole or not at all, and never over anything but a file."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from failoverd.ctl.client import CtlError

#: sysexits.h: cannot write the output.
EX_IOERR = 74


class FileError(CtlError):
    """The file cannot be written."""

    status = EX_IOERR


def write(file: str, content: str) -> None:
    """Replace `file` by `content` in UTF-8; a symbolic link stays, and its target is replaced. Raises FileError."""
    target = Path(os.path.realpath(file))  # realpath of a loop of links returns, where Path.resolve raises
    try:
        if target.is_dir() or file.endswith("/"):
            raise FileError(f"{file} is a directory", "name the file in it, such as --html /tmp/transition.html")
        if os.path.lexists(target) and not target.is_file():
            raise FileError(f"{file} is not a regular file", "name another file, such as --html /tmp/transition.html")
        _replace(target, content.encode(errors="backslashreplace"))
    except OSError as error:
        hint = "name a file in a directory in which you may write, such as --html /tmp/transition.html"
        raise FileError(f"cannot write {file}: {error.strerror}", hint) from error


def _replace(target: Path, data: bytes) -> None:
    umask = os.umask(0)
    os.umask(umask)
    descriptor, name = tempfile.mkstemp(prefix=".failoverctl.", dir=target.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            os.fchmod(descriptor, 0o666 & ~umask)
            opened.write(data)
        draft.replace(target)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
