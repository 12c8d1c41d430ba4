"""All domains, from one ``xl list -v`` for all callers at a time."""

from __future__ import annotations

from failoverd.ports import command
from failoverd.ports.coalesce import Shared
from failoverd.ports.errors import DriverError
from failoverd.ports.xl import domain

#: For each xl that changes nothing. One takes 50 ms.
XL_TIMEOUT_S = 10.0


async def _list() -> tuple[domain.Domain, ...]:
    done = await command.run(("xl", "list", "-v"), timeout=XL_TIMEOUT_S)
    if done.returncode != 0:
        said = domain.why(done.stderr) or f"exit status {done.returncode}"
        raise DriverError(f"xl list: {said}")
    try:
        return domain.parse(done.stdout)
    except ValueError as error:
        raise DriverError(str(error)) from error


#: The one listing of this process, since a machine has one Xen. It returns all domains, or raises DriverError.
listing = Shared("xl list", _list)
