"""Look up users and groups. The user database may be a directory service, which answers late or never.

Each question is asked in a thread, once for all callers that ask it meanwhile. A caller gets the previous answer if the
new one takes too long. This module must not block the loop's thread.
"""

from __future__ import annotations

import asyncio
import grp
import pwd
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from failoverd.daemon.rate_limited_log import RateLimitedLog
from failoverd.osutil import threads

#: Seconds for which an answer is used without asking again.
FRESH_S = 10.0

#: Seconds for which `Directory.get` waits for a new answer.
ANSWER_TIMEOUT_S = 0.5

#: Answers of one kind that are kept; one more drops the oldest.
MAX_KEPT_ANSWERS = 256

_log = RateLimitedLog("users")
_Key = TypeVar("_Key")
_Answer = TypeVar("_Answer")


class Directory(Generic[_Key, _Answer]):
    """One kind of question to the user database.

    `ask` waits for the answer, and raises KeyError if there is no such entry.
    """

    def __init__(self, ask: Callable[[_Key], _Answer]) -> None:
        self._ask = ask
        self._known: dict[_Key, tuple[float, _Answer | None]] = {}
        self._asking: dict[_Key, asyncio.Task[None]] = {}

    def known(self, key: _Key) -> _Answer | None:
        """The last answer; None: there is no such entry, or it was never asked."""
        return self._known[key][1] if key in self._known else None

    async def get(self, key: _Key, timeout: float | None = ANSWER_TIMEOUT_S) -> _Answer | None:
        """The database's answer, or the previous one after `timeout` seconds without an answer; None: no limit.

        Returns None if there is no such entry. TimeoutError: the database has never answered this question.
        """
        if key not in self._known or time.monotonic() - self._known[key][0] > FRESH_S:
            if key not in self._asking:
                self._asking[key] = asyncio.create_task(self._find(key))
            await asyncio.wait({self._asking[key]}, timeout=timeout)
        if key not in self._known:
            raise TimeoutError
        return self._known[key][1]

    async def _find(self, key: _Key) -> None:
        try:
            answer = await threads.run(self._ask, key)
        except KeyError:
            self._keep(key, None)
        except OSError as error:
            _log.warning("cannot query the user database", asked=key, reason=str(error))
        else:
            self._keep(key, answer)
        finally:
            del self._asking[key]

    def _keep(self, key: _Key, answer: _Answer | None) -> None:
        self._known.pop(key, None)
        self._known[key] = (time.monotonic(), answer)
        if len(self._known) > MAX_KEPT_ANSWERS:
            del self._known[next(iter(self._known))]


#: A user's name by its number; a user's number and primary group by its name; a group's number by its name.
user_name: Directory[int, str] = Directory(lambda uid: pwd.getpwuid(uid).pw_name)
user: Directory[str, tuple[int, int]] = Directory(lambda name: pwd.getpwnam(name)[2:4])
group: Directory[str, int] = Directory(lambda name: grp.getgrnam(name).gr_gid)
