"""The manual pages as they are built, and as they are read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCES = sorted((ROOT / "docs" / "man").glob("*.scd"))

#: A terminal so wide that no paragraph of ours is broken.
_WIDE = "6000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manual:
    """One page. `roff`: the built file; `text`: what is read on a wide terminal; `source`: as it was written."""

    roff: Path
    text: str
    source: str

    @property
    def sections(self) -> dict[str, str]:
        """The text beneath each heading, subsections beneath theirs."""
        _, *parts = re.split(r"^(?:   )?(\S.*)$", self.text, flags=re.MULTILINE)
        return dict(zip(parts[::2], parts[1::2], strict=True))

    @property
    def examples(self) -> list[str]:
        """The literal blocks, as written."""
        return re.findall(r"^```\n(.*?)^```$", self.source, re.MULTILINE | re.DOTALL)

    def words(self, section: str) -> set[str]:
        """What the entries of a table are about: the first column, where a comma separates words."""
        rows = re.findall(r"^       (\S+(?: \S+)*)   ", self.sections[section], re.MULTILINE)
        return {word for row in rows for word in row.split(", ")}


def build(source: Path, folder: Path) -> Manual:
    """Build a page; whatever is said meanwhile is an error."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    roff = folder / source.stem
    roff.write_text(run([sys.executable, "docs/man/fill.py", str(source)], environment=environment), encoding="utf-8")
    return Manual(roff=roff, text=shown(roff, _WIDE), source=source.read_text(encoding="utf-8"))


def shown(roff: Path, width: str) -> str:
    """The page as man(1) shows it, without a word of warning."""
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": width}
    return run(
        ["man", "--warnings", "--no-hyphenation", "--no-justification", "-l", str(roff)], environment=environment
    )


def run(argv: list[str], *, environment: dict[str, str] | None = None) -> str:
    """What `argv` prints; it must succeed, and have nothing to complain about."""
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{argv}: {done.stderr}"
    return done.stdout
