"""A queue to a reader that may stop reading: a thread of its own waits for the reader, the caller never does.

journald, systemd and the reader of standard error may read late or never. Items that do not fit into the queue
meanwhile are counted. The thread must hold no lock while it writes, and the exit of the process must not wait for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Outbox(Generic[_Item]):
    """A queue of at most `limit` items, and the thread that calls `write` with each; `write` may block.

    Every method is thread-safe. `lost`: how many items did not fit, or made `write` raise.
    """

    def __init__(self, name: str, write: Callable[[_Item], None], limit: int) -> None:
        self.lost = 0
        self._write = write
        self._limit = limit
        self._items: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._writing_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def idle(self) -> bool:
        """Whether the queue is empty."""
        return not self._items

    def put(self, item: _Item) -> None:
        """Queue the item, or count it as lost."""
        with self._changed:
            if len(self._items) >= self._limit or not self._started():
                self.lost += 1
                return
            self._items.append(item)
            self._changed.notify_all()

    def stalled(self) -> float:
        """For how many seconds `write` has been blocked by the current item; 0: there is none."""
        since = self._writing_since
        return 0.0 if since is None else time.monotonic() - since

    def flush(self, deadline: float) -> bool:
        """Wait at most `deadline` seconds until the queue is empty. Returns whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._items, deadline)

    def _started(self) -> bool:
        """Start the thread unless it runs. False: the machine has no room for one more thread."""
        if self._thread.ident is None:
            try:
                self._thread.start()
            except RuntimeError:
                return False
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items)
                item = self._items[0]
            self._writing_since = time.monotonic()
            written = False
            with suppress(Exception):  # there is nowhere to log it
                self._write(item)
                written = True
            self._writing_since = None
            with self._changed:
                self.lost += not written
                self._items.popleft()
                self._changed.notify_all()
