"""The signals that end a verb which waits: caught, so that it can clean up before the process ends."""

from __future__ import annotations

import os
import signal
from types import TracebackType
from typing import Any, Self

#: Ctrl-C, a polite end, and a terminal that was closed.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(SystemExit):
    """A signal has ended a wait. `status`: the exit status, as a shell reports it: 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        self.status = 128 + number
        super().__init__(self.status)


class Signals:
    """Within this context the signals end nothing: `descriptor` becomes readable instead.

    At its end it raises Ended for the first signal, unless none came. A signal that was ignored, as by nohup(1), stays
    ignored. A second signal raises it wherever the process is: it may wait for a terminal. `resized`: whether SIGWINCH
    makes `descriptor` readable too.
    """

    def __init__(self, *, resized: bool = False) -> None:
        self._numbers = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
        self._numbers += [signal.SIGWINCH] if resized else []
        self._caught = 0
        self._before: dict[int, Any] = {}

    @property
    def ending(self) -> bool:
        """Whether a signal came that ends the process."""
        return bool(self._caught)

    def drain(self) -> None:
        """Make `descriptor` wait for the next signal."""
        try:
            while os.read(self.descriptor, 64):
                pass
        except BlockingIOError:
            pass

    def __enter__(self) -> Self:
        self.descriptor, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._catch) for number in self._numbers}
        return self

    def _catch(self, number: int, _frame: object) -> None:
        if number == signal.SIGWINCH:
            return
        if self._caught:
            raise Ended(self._caught)
        self._caught = number

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for descriptor in (self.descriptor, self._write):
            os.close(descriptor)
        if self._caught:
            raise Ended(self._caught)
