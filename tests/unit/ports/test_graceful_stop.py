"""The two rungs of a deactivation, and the deadline of each."""

from __future__ import annotations

import time

import pytest

from failoverd.core.spec import FORCED_STOP_S, ResourceSpec
from failoverd.core.words import Verb
from failoverd.ports import graceful_stop
from failoverd.ports.graceful_stop import RESERVE_S, Rung


class Rungs:
    """Two rungs, each with what it returns; `until` is what each was given."""

    def __init__(self, graceful: str | None, forced: str | None) -> None:
        self.until: dict[str, float] = {}
        self.graceful = self._rung("graceful", graceful)
        self.forced = self._rung("forced", forced)

    def _rung(self, name: str, still: str | None) -> Rung:
        async def rung(until: float) -> str | None:
            self.until[name] = until
            return still

        return rung

    async def stop(self, stop_timeout: float) -> str | None:
        return await graceful_stop.stop(stop_timeout, graceful=self.graceful, forced=self.forced)


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)


async def test_what_stops_gracefully_is_not_forced() -> None:
    rungs = Rungs(None, "running")
    assert await rungs.stop(30) is None
    assert rungs.until == {"graceful": 1030.0}


async def test_what_does_not_stop_gracefully_is_forced_for_what_is_left_of_the_step() -> None:
    rungs = Rungs("running", None)
    assert await rungs.stop(30) is None
    assert rungs.until == {"graceful": 1030.0, "forced": 1030.0 + FORCED_STOP_S - RESERVE_S}
    deadline = ResourceSpec(instance="VI_1", name="web", driver="unit", stop_timeout=30).deadline(Verb.DEACTIVATE)
    assert rungs.until["forced"] == 1000.0 + deadline - RESERVE_S


async def test_what_cannot_be_stopped_says_what_it_still_is() -> None:
    assert await Rungs("running", "dying").stop(30) == "dying"


def test_both_rungs_can_be_typed() -> None:
    typed = graceful_stop.commands(30.0, graceful="xl shutdown web", forced="xl destroy web")
    assert typed == ("xl shutdown web", "xl destroy web  # after 30 s")
