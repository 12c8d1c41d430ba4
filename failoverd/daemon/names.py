"""Users and groups by their names. Who knows them may be a directory service, which answers late, or never.

Each question is asked in a thread, and once for all who ask it meanwhile. Who asks is told what was known before, when
the answer takes too long.
"""

from __future__ import annotations

import asyncio
import grp
import pwd
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from failoverd import log, threads

#: Seconds for which an answer is taken for true, and for which one is waited for where another is known or not needed.
FRESH, PATIENCE = 10.0, 0.5

#: The most answers that are kept of one kind.
KEPT = 256

_log = log.get("names")
_Key = TypeVar("_Key")
_Answer = TypeVar("_Answer")


class Directory(Generic[_Key, _Answer]):
    """One kind of question to the user database: `ask` waits for the answer, and raises KeyError when there is none."""

    def __init__(self, ask: Callable[[_Key], _Answer]) -> None:
        self._ask = ask
        self._known: dict[_Key, tuple[float, _Answer | None]] = {}
        self._asking: dict[_Key, asyncio.Task[None]] = {}

    def known(self, key: _Key) -> _Answer | None:
        """What the last answer was; None: it has no such entry, or was never asked."""
        return self._known[key][1] if key in self._known else None

    async def get(self, key: _Key, patience: float | None = PATIENCE) -> _Answer | None:
        """What the database says, or what it said last when it does not answer within `patience` seconds.

        None: it has no such entry. TimeoutError: it has never answered this.
        """
        if key not in self._known or time.monotonic() - self._known[key][0] > FRESH:
            if key not in self._asking:
                self._asking[key] = asyncio.create_task(self._find(key))
            await asyncio.wait({self._asking[key]}, timeout=patience)
        if key not in self._known:
            raise TimeoutError
        return self._known[key][1]

    async def _find(self, key: _Key) -> None:
        try:
            answer = await threads.run(self._ask, key)
        except KeyError:
            self._keep(key, None)
        except OSError as error:
            _log.warning("the user database cannot be asked", asked=key, reason=str(error))
        else:
            self._keep(key, answer)
        finally:
            del self._asking[key]

    def _keep(self, key: _Key, answer: _Answer | None) -> None:
        self._known.pop(key, None)
        self._known[key] = (time.monotonic(), answer)
        if len(self._known) > KEPT:
            del self._known[next(iter(self._known))]


#: A user's name by number, a user's number and that of its first group by name, and a group's number by name.
user_name: Directory[int, str] = Directory(lambda uid: pwd.getpwuid(uid).pw_name)
user: Directory[str, tuple[int, int]] = Directory(lambda name: pwd.getpwnam(name)[2:4])
group: Directory[str, int] = Directory(lambda name: grp.getgrnam(name).gr_gid)
