"""One finding of the doctor: plain data, which failoverctl shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that will not work when it matters.

    `code`: its kind, which does not change between releases. `about`: the instance, the resource as INSTANCE.RESOURCE,
    or the program. `wrong` and `why`: one sentence each. `where`: the file to edit, with a line if there is one; empty:
    `fix` is a command. `fix`: the lines to write there, or the commands to run; ready to paste.
    """

    code: str
    about: str
    wrong: str
    why: str
    where: str = ""
    fix: str
