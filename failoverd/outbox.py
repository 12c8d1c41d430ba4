"""What is told to somebody who may not listen: the teller never waits, a thread of its own does.

journald, systemd and whoever reads our standard error take what they are sent when they like, or never. The thread
waits for them, so nothing is lost that they take in the end; what does not fit into the queue meanwhile is counted.
The thread must hold no lock while it waits, and nothing waits for the thread when the process ends.
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
    """A queue of at most `limit` items, and the thread that gives each to `write`, which may wait as long as it likes.

    Any thread may call everything here. `lost`: how many items did not fit, or made `write` raise.
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
        """Whether nothing waits to be written."""
        return not self._items

    def put(self, item: _Item) -> None:
        """Queue it, or count it as lost."""
        with self._changed:
            if len(self._items) >= self._limit or not self._started():
                self.lost += 1
                return
            self._items.append(item)
            self._changed.notify_all()

    def stalled(self) -> float:
        """For how many seconds the item that is being written has not been taken."""
        since = self._writing_since
        return 0.0 if since is None else time.monotonic() - since

    def flush(self, deadline: float) -> bool:
        """Wait at most `deadline` seconds until all is written; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._items, deadline)

    def _started(self) -> bool:
        """Whether the thread runs; a machine without room for one more has none."""
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
            with suppress(Exception):  # nobody is left to be told of it
                self._write(item)
                written = True
            self._writing_since = None
            with self._changed:
                self.lost += not written
                self._items.popleft()
                self._changed.notify_all()
