"""The active configuration: applied as a whole, at the start and at each reload, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from failoverd import log
from failoverd.core import machine
from failoverd.core.events import Reloaded
from failoverd.daemon import vip
from failoverd.daemon.access import Admission
from failoverd.daemon.alerts.sender import Alerts
from failoverd.daemon.config import ConfigError, Configuration
from failoverd.daemon.executor import Executor, drivers_of
from failoverd.daemon.fencing import Fencing
from failoverd.daemon.heartbeat.beat import Heartbeat
from failoverd.daemon.inputs import Inputs
from failoverd.daemon.loop import CoreLoop
from failoverd.daemon.metrics.exporter import Exporter
from failoverd.daemon.outputs import Outputs
from failoverd.daemon.self_fencing import SelfFencing
from failoverd.daemon.witnesses import Witnesses

_log = log.get("service")


class ActiveConfiguration:
    """Gives a configuration to every part that uses it. Call `apply` before any attribute is read."""

    def __init__(
        self,
        core: CoreLoop,
        executor: Executor,
        inputs: Inputs,
        outputs: Outputs,
        admission: Admission,
        *,
        alerts: Alerts,
        exporter: Exporter,
        witnesses: Witnesses,
        self_fencing: SelfFencing,
        fencing: Fencing,
        heartbeat: Heartbeat,
    ) -> None:
        self._core = core
        self._executor = executor
        self._inputs = inputs
        self._outputs = outputs
        self._admission = admission
        self._alerts = alerts
        self._exporter = exporter
        self._witnesses = witnesses
        self._self_fencing = self_fencing
        self._fencing = fencing
        self._heartbeat = heartbeat
        self.node = ""
        self.instances: tuple[str, ...] = ()
        self.digest = ""
        self.peers: Mapping[str, str | tuple[str, ...]] = {}
        self.budgets: Mapping[str, float] = {}

    def apply(self, configuration: Configuration) -> None:
        """Apply the configuration; or raise and change nothing, because everything that may fail comes first."""
        core = configuration.core
        drivers, places = drivers_of(core), vip.places(core.instances.values())
        machine.advance(self._core.state, Reloaded(config=core), asyncio.get_running_loop().time())
        self.node, self.instances = configuration.node, tuple(core.instances)
        self.digest, self.peers = configuration.digest, configuration.peers
        self.budgets = configuration.budgets
        self._executor.configure(drivers)
        self._witnesses.configure(core.quorum, configuration.node)
        self._fencing.configure(core.fences, configuration.node)
        for name, nodes in configuration.elsewhere.items():
            _log.warning("no resource of this instance is for this node", instance=name, node=self.node, nodes=nodes)
        self._inputs.intake.followed = frozenset(core.instances)
        self._core.dispatch(Reloaded(config=core))
        release: Callable[[], None] = partial(self._outputs.tell_keepalived, self._core.state)
        for part in (release, *self._inputs.follow(configuration, places)):
            try:
                part()
            except Exception:  # the core uses it already, so the other parts must follow
                _log.exception("cannot apply a part of the configuration; this is a bug in failoverd")
        self._admission.begin(configuration.script_user)
        self._exporter.configure(configuration.metrics)
        self._alerts.configure(configuration.alert)
        self._self_fencing.configure(core.quorum)
        self._heartbeat.configure(configuration.heartbeat)

    def reload(self, configuration: Configuration) -> None:
        """Apply a configuration that was reloaded. ConfigError: it has no instance, and the active one has."""
        if self._core.ending:
            return
        if self.instances and not configuration.core.instances:
            raise ConfigError(
                ["the configuration has no instance any more; to follow none, run: systemctl stop failoverd"]
            )
        self.apply(configuration)
        _log.info("the configuration was reloaded", files=[str(file) for file in configuration.files])
