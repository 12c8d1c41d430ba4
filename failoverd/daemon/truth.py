"""Who knows what keepalived says: its D-Bus, and its last word of this boot. Asked once for all who want to know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from failoverd import log
from failoverd.core.events import FindTruth, TruthTold
from failoverd.core.model import VrrpState
from failoverd.drivers import DriverError, dbus

_log = log.get("truth")

#: Seconds that netlink has for its first answer, and keepalived's D-Bus for its own.
_PATIENCE = 2.0


class Inquiry:
    """Answers FindTruth with TruthTold, through `answer`; never fails, what is silent is None.

    `vips_seen`: nothing is answered before it is set, since the core holds the answer against the VIPs.
    `last`: keepalived's last word of this boot about an instance; `voided`: that it no longer binds. `booted`: whether
    the instance was there when the machine has only just booted.
    """

    def __init__(
        self,
        vips_seen: asyncio.Event,
        last: Callable[[str], VrrpState | None],
        answer: Callable[[TruthTold], None],
        *,
        voided: Callable[[str], bool],
        booted: Callable[[str], bool],
    ) -> None:
        self._vips_seen = vips_seen
        self._last = last
        self._answer = answer
        self._voided = voided
        self._booted = booted
        self._questions: list[FindTruth] = []
        self._asking: asyncio.Task[None] | None = None

    def ask(self, question: FindTruth) -> None:
        """Find out, and answer later."""
        self._questions.append(question)
        if self._asking is None:
            self._asking = asyncio.create_task(self._find())

    def close(self) -> None:
        """Answer nothing more."""
        if self._asking is not None:
            self._asking.cancel()

    async def _find(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._vips_seen.wait()
        except TimeoutError:
            _log.warning("netlink has not answered yet", seconds=_PATIENCE)
        questions, self._questions = self._questions, []
        told = None
        try:
            told = await dbus.keepalived_states(timeout=_PATIENCE)
        except DriverError as error:
            _log.info("keepalived's D-Bus is silent", reason=error.reason)
        except Exception:
            _log.exception("keepalived's D-Bus failed in a way that it should not; this is a bug of failoverd")
        self._asking = asyncio.create_task(self._find()) if self._questions else None
        for question in questions:
            word = (told or {}).get(question.instance)
            self._answer(
                TruthTold(
                    instance=question.instance,
                    words=question.words,
                    dbus=VrrpState(word) if word is not None else None,
                    stored=self._last(question.instance),
                    void=self._voided(question.instance),
                    booted=self._booted(question.instance),
                )
            )
