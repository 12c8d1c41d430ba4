"""Where the daemon lives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the daemon lives. `node`: None for the configured name, or the host name."""

    config: Path
    runtime_dir: Path
    state_dir: Path
    node: str | None = None
