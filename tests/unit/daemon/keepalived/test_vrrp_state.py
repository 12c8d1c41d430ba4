"""Many answers at once leave the loop free for events, and a question that comes meanwhile is answered too."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import cast

from failoverd.core.effects import QueryVrrpState
from failoverd.core.events import VrrpStateReported
from failoverd.daemon.keepalived.dbus_answers import ReportedState
from failoverd.daemon.keepalived.vrrp_state import Bus, VrrpStateQueries

MANY = 200


class Silent:
    """A bus that knows nothing."""

    async def ask(self, instances: Collection[str]) -> dict[str, ReportedState]:
        return {name: ReportedState(detail="nothing") for name in instances}


async def test_other_events_are_handled_between_many_answers() -> None:
    answers: list[VrrpStateReported] = []
    seen = asyncio.Event()
    seen.set()
    queries = VrrpStateQueries(
        seen,
        cast("Bus", Silent()),
        lambda _: None,
        answers.append,
        voided=lambda _: False,
        booted=lambda _: False,
    )
    for number in range(MANY):
        queries.ask(QueryVrrpState(instance=f"VI_{number}", words=number))
    between = []
    while len(answers) < MANY:
        await asyncio.sleep(0)
        if 0 < len(answers) < MANY:
            between.append(len(answers))
            if len(between) == 1:
                queries.ask(QueryVrrpState(instance="VI_0", words=MANY))
    assert len(between) > 1
    await queries.answered()
    assert [answer.words for answer in answers] == list(range(MANY + 1))
    queries.close()
