"""Run a systemd unit on the MASTER and nowhere else.

The unit must not be enabled: failoverd starts it. How is systemd.py's knowledge; this is the resource.
"""

from __future__ import annotations

from dataclasses import dataclass

from failoverd.core.spec import ResourceSpec
from failoverd.drivers import Driver, option, systemd


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The keys of a ``driver = "unit"`` resource."""

    unit: str = option("The whole name of the unit, e.g. `haproxy.service`. Do not enable it.", minLength=1)

    def __post_init__(self) -> None:
        """Hold the name to what systemd calls a unit; ValueError says what is expected."""
        systemd.check_name(self.unit)

    @property
    def owns(self) -> tuple[str, ...]:
        """What no other resource may change."""
        return (f"the unit {self.unit}",)


def make(options: Options, spec: ResourceSpec) -> Driver:
    """The driver of one unit. When its `stop_timeout` is up, its processes are killed."""
    return systemd.Unit(options.unit, spec.stop_timeout)
