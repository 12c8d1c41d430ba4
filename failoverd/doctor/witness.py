"""Witnesses: a program that is to be asked is here."""

from __future__ import annotations

from failoverd.doctor.finding import Finding
from failoverd.doctor.site import Site
from failoverd.osutil import threads
from failoverd.ports import witness


async def look(site: Site) -> list[Finding]:
    """All findings about [quorum]."""
    quorum = site.configuration.core.quorum
    asked = () if quorum is None else quorum.witnesses
    found = [(name, await threads.run(witness.obstacle, name)) for name in asked]
    return [
        Finding(
            code="witness-program",
            about="quorum",
            wrong=f"the witness {name} cannot be asked: {problem}",
            why="It never answers this node, which serves only while enough of the others do.",
            fix=f"    chmod 755 {name.removeprefix('exec://')}    # or install it: the same on all nodes",
        )
        for name, problem in found
        if problem is not None
    ]
