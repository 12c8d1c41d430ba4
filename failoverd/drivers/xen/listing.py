"""All domains, as one ``xl list -v`` tells them."""

from __future__ import annotations

from failoverd.drivers import DriverError, command
from failoverd.drivers.shared import Shared
from failoverd.drivers.xen import domain
from failoverd.drivers.xen.config import PATIENCE


async def _list() -> tuple[domain.Domain, ...]:
    done = await command.run(("xl", "list", "-v"), timeout=PATIENCE)
    if done.returncode != 0:
        said = domain.why(done.stderr) or f"exit status {done.returncode}"
        raise DriverError(f"xl list: {said}")
    try:
        return domain.parse(done.stdout)
    except ValueError as error:
        raise DriverError(str(error)) from error


#: The one listing of this process, as there is one Xen: completely and for certain, or a DriverError.
listing = Shared("xl list", _list)
