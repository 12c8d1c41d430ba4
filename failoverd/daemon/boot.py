"""Which boot of the machine this is, and whether a daemon has run in it before."""

from __future__ import annotations

from pathlib import Path

from failoverd import log

_log = log.get("boot")


def identity() -> str:
    """The kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class Boot:
    """The boot that goes on, as the runtime directory remembers it."""

    def __init__(self, runtime_dir: Path) -> None:
        self._memory = runtime_dir / "boot"
        self.id = identity()

    def first(self) -> bool:
        """Whether no daemon has come as far as `remember` in this boot."""
        try:
            return self._memory.read_text(encoding="ascii").strip() != self.id
        except (OSError, ValueError):
            return True

    def remember(self) -> None:
        """From here on a daemon that starts in this boot is not the first."""
        try:
            self._memory.write_text(f"{self.id}\n", encoding="ascii")
        except OSError as error:
            _log.error("this boot cannot be remembered", file=str(self._memory), reason=str(error))
