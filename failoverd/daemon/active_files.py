"""``active/INSTANCE`` in the runtime directory: a file that exists while the instance is active on this node.

It is for programs that only look at files, such as monit. Nothing of failoverd reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from failoverd.core.model import InstanceState
from failoverd.core.words import Phase
from failoverd.osutil import atomic_file
from failoverd.trouble import TroubleKind, troubles


class ActiveFiles:
    """Writes and removes the files."""

    def __init__(self, runtime_dir: Path) -> None:
        self._dir = runtime_dir / "active"
        self._wanted: dict[str, bool] = {}

    def follow(self, instances: Mapping[str, InstanceState]) -> None:
        """Keep files for these instances only, from here on."""
        self._wanted = {name: self._active(name, instance) for name, instance in instances.items()}
        self.check()

    def want(self, instances: Mapping[str, InstanceState]) -> None:
        """Write or remove the files of these instances, where that changes. `follow` was called with each of them."""
        for name, instance in instances.items():
            active = self._active(name, instance)
            if active is not self._wanted[name]:
                self._wanted[name] = active
                self._carry_out(partial(self._make, name, active=active))

    def check(self) -> None:
        """Check the files, and write or remove those that are wrong."""
        self._carry_out(self._make_all)

    def _carry_out(self, change: Callable[[], None]) -> None:
        try:
            change()
        except OSError as error:
            reason = f"cannot write {self._dir} ({error.strerror}), so programs that look there see an old state"
            troubles.begin(TroubleKind.ACTIVE_FILES, reason, directory=self._dir)
        else:
            troubles.end(TroubleKind.ACTIVE_FILES)

    def _make_all(self) -> None:
        for name in {file.name for file in self._there()} - {_file_name(name) for name in self._wanted}:
            (self._dir / name).unlink(missing_ok=True)
        for name, active in self._wanted.items():
            self._make(name, active=active)

    def _make(self, name: str, *, active: bool) -> None:
        file = self._dir / _file_name(name)
        if active and not file.exists():
            self._dir.mkdir(exist_ok=True)
            atomic_file.write(file, b"", 0o644)
        elif not active:
            file.unlink(missing_ok=True)

    def _active(self, name: str, instance: InstanceState) -> bool:
        """A promotion changes nothing until it is done, so a repair changes nothing; a file outlives its daemon."""
        if instance.phase in (Phase.UNKNOWN, Phase.PROMOTING):
            return self._wanted[name] if name in self._wanted else (self._dir / _file_name(name)).exists()
        return instance.phase is Phase.ACTIVE

    def _there(self) -> list[Path]:
        with suppress(FileNotFoundError):  # it is made with the first file
            return list(self._dir.iterdir())
        return []


def _file_name(instance: str) -> str:
    return instance.replace("/", "%2f")
