"""Small files of the state directory, read and written by a process of their own, ``process.py``.

A disk that hangs holds whoever uses it until it answers, against SIGKILL too; failoverd must always end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from failoverd.ports import command
from failoverd.ports.errors import DriverError, Hung, TimedOut

#: -P and -s: it imports nothing from the working directory or from a user's own packages.
_PROGRAM = (sys.executable, "-P", "-s", "-m", "failoverd.daemon.persistence.process")


async def read(file: Path, within: float | None) -> str:
    """The content of `file`, in UTF-8. TimeoutError: no answer within `within` seconds. OSError: it has none."""
    return await _run(("read", file), None, within)


async def rename(file: Path, new: Path, within: float | None) -> None:
    """Rename `file` to `new`, which is replaced. TimeoutError and OSError as in `read`."""
    await _run(("rename", file, new), None, within)


async def write(file: Path, data: bytes) -> None:
    """Replace the content of `file`, and wait until the disk has it, as long as that takes. OSError: it has not."""
    await _run(("write", file), data, None)


async def _run(words: Sequence[str | Path], data: bytes | None, within: float | None) -> str:
    try:
        done = await command.run((*_PROGRAM, *map(str, words)), timeout=within, input=data)
    except (TimedOut, Hung) as error:
        raise TimeoutError(str(error)) from error
    except DriverError as error:
        raise OSError(0, error.reason) from error
    if done.returncode != 0:
        code = done.returncode
        raise OSError(code, os.strerror(code) if code > 0 else f"its process ended with {done.stderr or code}")
    return done.stdout
