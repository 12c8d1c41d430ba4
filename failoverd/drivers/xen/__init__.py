"""A Xen guest: created on the MASTER with ``xl create``, shut down everywhere else.

From the outside in: guest.py has the two verbs, look.py what there is of a domain (listing.py asks for all of them,
domain.py reads the answer, keeper.py finds the xl that may start one), dying.py what keeps one from its end, config.py
and disk.py what must be so before one is created (backing.py: what a disk stands on), and events.py notices what
happens to them.
"""

from __future__ import annotations

from dataclasses import dataclass

from failoverd.core.spec import ResourceSpec
from failoverd.drivers import option
from failoverd.drivers.xen.events import watch
from failoverd.drivers.xen.guest import Guest

__all__ = ["Options", "make", "watch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The keys of a ``driver = "xen"`` resource."""

    config: str = option(
        "The domain's configuration file, as `xl create` takes it: `/etc/xen/web.cfg`. Not in `/etc/xen/auto`, its "
        "disks plain (`phy:/dev/drbdN`), and without `restart` in `on_crash`, `on_watchdog` and `on_poweroff`: "
        "failoverd is what starts it again.",
        pattern="^/",
    )

    def __post_init__(self) -> None:
        """Hold the path to what xl needs; ValueError says what is expected."""
        if not self.config.startswith("/"):
            raise ValueError(f'config: "{self.config}": expected the whole path, e.g. "/etc/xen/web.cfg"')

    @property
    def owns(self) -> tuple[str, ...]:
        """What no other resource may change."""
        return (f"the domain of {self.config}",)


def make(options: Options, spec: ResourceSpec) -> Guest:
    """The driver of one domain."""
    return Guest(options.config, spec)
