"""The verbs that failoverctl requests, and their handlers. The lines and limits are server.py's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from failoverd.daemon.alerts.sender import Alerts
from failoverd.daemon.config.active import ActiveConfiguration
from failoverd.daemon.control.acting import Acting
from failoverd.daemon.control.handover import HandoverParts
from failoverd.daemon.control.reading import Reading
from failoverd.daemon.control.server import Handler, Subscribe
from failoverd.daemon.executor import Executor
from failoverd.daemon.heartbeat.beat import Heartbeat
from failoverd.daemon.history.store import Store
from failoverd.daemon.intake import ReportedEvent
from failoverd.daemon.keepalived.vrrp_state import VrrpStateQueries
from failoverd.daemon.loop import CoreLoop
from failoverd.daemon.persistence.wishes import Wishes


class Answers:
    """The handlers of all verbs: `reads` for everybody, `acts` for root and operators; `feeds` for everybody.

    `configuration` returns the active configuration; `counters` the number of keepalived's events by their verdict;
    `queries` those for keepalived's states; `accepted` the last accepted event of an instance, None if there was none;
    `watched` whether its keepalived watches the track files, None if that is not known.
    """

    def __init__(
        self,
        core: CoreLoop,
        executor: Executor,
        store: Store,
        alerts: Alerts,
        *,
        configuration: Callable[[], ActiveConfiguration],
        counters: Callable[[], Mapping[str, int]],
        queries: Callable[[], VrrpStateQueries],
        accepted: Callable[[str], ReportedEvent | None],
        watched: Callable[[str], Awaitable[bool | None]],
        wishes: Wishes,
        heartbeat: Heartbeat,
    ) -> None:
        reading = Reading(
            core,
            executor,
            store,
            configuration=configuration,
            counters=counters,
            accepted=accepted,
            heartbeat=heartbeat,
        )
        acting = Acting(
            core,
            executor,
            store,
            alerts,
            configuration=configuration,
            queries=queries,
            watched=watched,
            wishes=wishes,
        )
        parts = HandoverParts(core, executor, store, watched=watched, wishes=wishes)
        self.reads: Mapping[str, Handler] = reading.reads
        self.feeds: Mapping[str, Subscribe] = reading.feeds
        self.acts: Mapping[str, Handler] = {**acting.acts, "handover": parts.handle}
