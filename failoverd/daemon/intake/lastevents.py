"""The newest state of every instance, for the daemon's next life within this boot.

One line of JSON for each change, appended before the change is acknowledged. It lives beside the sockets, on a
tmpfs, and not in the history: writing it takes microseconds and cannot hang on a disk, and a reboot forgets it, as
it must. A line that was torn by a crash is skipped when the file is read. Trouble with it is mentioned, no more.
"""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

from failoverd.core.model import VrrpState
from failoverd.core.ordering import Newest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from failoverd.daemon.intake.errors import Complaints

#: Bytes after which the file is written anew with one line per instance.
COMPACT = 1 << 16

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class LastEvents:
    """The file at `path`, for the boot `boot`."""

    def __init__(self, path: Path, boot: str, complaints: Complaints) -> None:
        self._path = path
        self._boot = boot
        self._complaints = complaints
        self._newest: dict[str, Newest] = {}
        self._fd = -1
        self._size = 0
        self._compact_at = COMPACT

    def restore(self) -> list[Newest]:
        """What was known when the file was last written in this boot. Opens it for what follows."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            lines = []
        except OSError as error:
            self._complaints.trouble("last events cannot be read", error=str(error))
            lines = []
        for line in filter(None, lines):
            newest = self._parse(line)
            if newest:
                self._newest[newest.name] = newest
        self._rewrite()
        return list(self._newest.values())

    def write(self, changed: Iterable[Newest]) -> None:
        """Append what is new."""
        data = b""
        for newest in changed:
            self._newest[newest.name] = newest
            data += self._line(newest)
        if not data:
            return
        if self._fd < 0 or self._size + len(data) > self._compact_at:
            self._rewrite()
            return
        try:
            self._append(data)
        except OSError as error:
            self._complaints.trouble("last events cannot be written", error=str(error))
            # What stands at the end may be half a line: begin anew with the next change.
            self.close()

    def close(self) -> None:
        """Close the file; it stays for the next life."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _rewrite(self) -> None:
        self.close()
        data = b"".join(map(self._line, self._newest.values()))
        draft = self._path.with_name(f".{self._path.name}")
        self._size = 0
        self._compact_at = max(COMPACT, 2 * len(data))
        try:
            self._fd = os.open(draft, _FLAGS, 0o600)
            self._append(data)
            draft.rename(self._path)
        except OSError as error:
            self.close()
            self._complaints.trouble("last events cannot be written", error=str(error))

    def _append(self, data: bytes) -> None:
        if os.write(self._fd, data) < len(data):
            raise OSError(errno.ENOSPC, "only a part could be written")
        self._size += len(data)

    def _line(self, newest: Newest) -> bytes:
        fields = {
            "boot": self._boot,
            "name": newest.name,
            "state": newest.state.value if newest.state else None,
            "hook": newest.hook,
            "fifo": newest.fifo,
        }
        return json.dumps(fields).encode() + b"\n"

    def _parse(self, line: bytes) -> Newest | None:
        try:
            fields = json.loads(line)
            if fields["boot"] != self._boot:
                return None
            hook = fields["hook"]
            fifo = fields["fifo"]
            return Newest(
                name=str(fields["name"]),
                state=VrrpState(fields["state"]) if fields["state"] is not None else None,
                hook=(int(hook[0]), int(hook[1])) if hook else None,
                fifo=None if fifo is None else int(fifo),
            )
        except (ValueError, KeyError, TypeError, IndexError):
            self._complaints.trouble("unreadable line among the last events")
            return None
