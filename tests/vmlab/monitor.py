"""QEMU's monitor (QMP, qemu-qmp-ref(7)): to stop a machine in the middle of its work, and to write its memory down."""

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab.waiting import wait_for

_SECONDS = 120.0
_POLL_SECONDS = 0.1


class Monitor:
    """The monitor of one QEMU, for one who talks to it at a time; `path` is its socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        self._endpoint = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._endpoint.settimeout(_SECONDS)
        # A QEMU that has just been started makes it in a moment, and listens a moment later.
        wait_for(f"there is {self._path}", self._connect, within=_SECONDS, poll=_POLL_SECONDS)
        self._lines = self._endpoint.makefile("r", encoding="utf-8")
        self._lines.readline()  # its greeting
        self.ask("qmp_capabilities")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lines.close()
        self._endpoint.close()

    def _connect(self) -> bool:
        self._endpoint.connect(str(self._path))
        return True

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """What it answers. RuntimeError when it refuses."""
        self._endpoint.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        for line in self._lines:
            said = json.loads(line)
            if "error" in said:
                raise RuntimeError(f"QEMU refuses {command}: {said['error']['desc']}")
            if "return" in said:  # what is neither is an event
                return dict(said["return"])
        raise RuntimeError(f"QEMU ended at {command}")

    def wait_for_event(self, name: str, within: float) -> float:
        """Wait for an event, and return when it was, in seconds since the epoch. TimeoutError: it did not come."""
        self._endpoint.settimeout(within)
        for line in self._lines:
            said = json.loads(line)
            if said.get("event") == name:
                at = said["timestamp"]
                return float(at["seconds"]) + float(at["microseconds"]) / 1e6
        raise RuntimeError(f"QEMU ended before {name}")

    def save(self, memory: Path) -> None:
        """Write the memory of the machine, which has been stopped, into a file, and leave it stopped."""
        self.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.ask("migrate", uri=f"exec:cat >{memory}")
        self._wait_for_memory()

    def wait_until_loaded(self) -> None:
        """Wait until the memory of a machine, which begins with that of another, has been read."""
        self._wait_for_memory()

    def _wait_for_memory(self) -> None:
        found = wait_for(
            "the memory is written or read",
            lambda: self.ask("query-migrate").get("status"),
            until=lambda seen: seen in ("completed", "failed"),
            within=_SECONDS,
            poll=_POLL_SECONDS,
        )
        if found == "failed":
            raise RuntimeError("QEMU could not write or read the memory")
