"""Run a systemd unit on the MASTER only.

The unit must not be enabled, because systemd would start it at boot on every node. This module holds the options;
ports/systemd_units.py starts, stops and observes the unit.
"""

from __future__ import annotations

from dataclasses import dataclass

from failoverd.core.options import option
from failoverd.core.spec import ResourceSpec
from failoverd.drivers import Driver
from failoverd.ports import systemd_units


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The keys of a ``driver = "unit"`` resource."""

    unit: str = option(
        "The whole name of the unit, e.g. `haproxy.service`. Do not enable it. A unit of Type=oneshot needs "
        "RemainAfterExit=yes: otherwise it is inactive at once.",
        minLength=1,
    )

    def __post_init__(self) -> None:
        """Check the name. ValueError, with the expected form, if it is not the name of a unit."""
        systemd_units.check_name(self.unit)

    @property
    def owns(self) -> tuple[str, ...]:
        """The unit: no other resource may start or stop it."""
        return (f"the unit {self.unit}",)


def make(options: Options, spec: ResourceSpec) -> Driver:
    """The driver of one unit. After `stop_timeout` seconds of a stop it kills the unit's processes."""
    return systemd_units.Unit(options.unit, spec.stop_timeout)
