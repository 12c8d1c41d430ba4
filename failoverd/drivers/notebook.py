"""What drivers must remember over a reload or a restart of the daemon, and not over a boot.

The door to these files for all drivers. What cannot be read is not remembered, and what cannot be written is said:
neither keeps a driver from its work.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from failoverd import log

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_log = log.get("notebook")


class Notebook:
    """A directory, which is made when it is first written to, of JSON objects in files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def read(self, file: str) -> dict[str, Any] | None:
        """What this boot wrote into `file`; None when that is nothing, or cannot be read."""
        try:
            kept: dict[str, Any] = json.loads((self.directory / file).read_text(encoding="utf-8"))
            return kept if kept["boot"] == _boot() else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            _log.error("what was remembered cannot be read", file=file, reason=repr(error))
            return None

    def write(self, file: str, content: dict[str, Any]) -> bool:
        """Whether it is remembered; that it is not is logged."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = self.directory / f".{file}.new"
            draft.write_text(json.dumps({"boot": _boot(), **content}), encoding="utf-8")
            draft.replace(self.directory / file)
        except OSError as error:
            _log.error("it cannot be remembered", file=file, reason=repr(error))
            return False
        return True

    def files(self, pattern: str) -> list[str]:
        """The names of the files that fit `pattern`."""
        return [file.name for file in self.directory.glob(pattern)]


#: The one of this process. The daemon says where it is.
notebook = Notebook(Path("/run/failoverd/drivers"))


def _boot() -> str:
    return _BOOT.read_text(encoding="ascii").strip()
