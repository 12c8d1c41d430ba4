"""One domain by its id, asked of xl: quicker than the table of all, and independent of rows that cannot be parsed."""

from __future__ import annotations

import re

from failoverd.ports import command

#: Seconds that xl may take to report on one domain; it needs 10 ms.
DOMAIN_TIMEOUT_S = 2.0

#: The end of the row of a dying domain in ``xl list``: ``--ps-d     14.9``.
_DYING = re.compile(r"\s[r-][b-][p-][s-][-rscwS?]d\s+\d+\.\d\s*$", re.MULTILINE)


async def is_dying(domain: str) -> bool:
    """Whether the domain with this id is dying; False also where there is none. Raises DriverError."""
    return _DYING.search((await command.run(("xl", "list", domain), timeout=DOMAIN_TIMEOUT_S)).stdout) is not None


async def name(domain: str) -> str:
    """The name of the domain with this id; empty where it has none. Raises DriverError."""
    done = await command.run(("xl", "domname", domain), timeout=DOMAIN_TIMEOUT_S)
    return done.stdout.strip() if done.returncode == 0 else ""
