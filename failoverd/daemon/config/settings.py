"""The paths and the node name of one daemon, from its command line: all that a reload cannot change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The arguments of one daemon. `node`: None: the configured name, or the host name."""

    config: Path
    runtime_dir: Path
    state_dir: Path
    node: str | None = None
