"""A Xen guest: created on the MASTER with ``xl create``, shut down on every other node.

From the outside in: guest.py activates and deactivates; look.py finds the state of a domain (xl_processes.py finds the
xl that may start it); dying.py names the reason why a domain does not end; config.py and disk.py check the file and the
disks before a domain is created (backing.py finds the devices below a disk), and files.py the room for xl's own files;
events.py reports changes. Xen itself is
asked in ports/xl/.
"""

from __future__ import annotations

from dataclasses import dataclass

from failoverd.core.options import option
from failoverd.core.spec import ResourceSpec
from failoverd.drivers.xen.events import watch
from failoverd.drivers.xen.guest import Guest

__all__ = ["Options", "make", "watch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The keys of a ``driver = "xen"`` resource."""

    config: str = option(
        "The domain's configuration file, as `xl create` takes it: `/etc/xen/web.cfg`. Not in `/etc/xen/auto`, its "
        "disks plain (`phy:/dev/drbdN`), and without `restart` in `on_crash`, `on_watchdog` and `on_poweroff`: "
        "only failoverd may start it again.",
        pattern="^/",
    )

    def __post_init__(self) -> None:
        """Check the path. ValueError, with the expected form, if it is not absolute."""
        if not self.config.startswith("/"):
            raise ValueError(f'config: "{self.config}": expected the whole path, e.g. "/etc/xen/web.cfg"')

    @property
    def owns(self) -> tuple[str, ...]:
        """The domain: no other resource may start or stop it."""
        return (f"the domain of {self.config}",)


def make(options: Options, spec: ResourceSpec) -> Guest:
    """The driver of one domain."""
    return Guest(options.config, spec)
