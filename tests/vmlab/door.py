"""The way into a machine: ssh, through a network card that QEMU itself connects, over one connection for all commands.

It does not depend on the networks that the machine is tested on; one whose cables are cut can be asked still.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab import wire
from tests.lab.run import Run

_SECONDS = 60.0
_HOST = "root@127.0.0.1"
_FAILOVERD = "/run/failoverd/control.sock"
_OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": "3",
    "LogLevel": "ERROR",
    "ServerAliveCountMax": "12",
    "ServerAliveInterval": "5",
    "StrictHostKeyChecking": "no",
    "UserKnownHostsFile": "/dev/null",
}


class Door:
    """One machine's: `port` on the fabric's loopback leads there, and `key` opens. Its sockets are in `directory`."""

    def __init__(self, run: Run, directory: Path, port: int, key: Path) -> None:
        self._run = run
        self._shared = directory / "door"
        self._control = directory / "control"
        self._port = port
        self._key = key
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def open(self) -> bool:
        """Whether commands go through the connection that they share."""
        check = [*self._ssh(), "-O", "check", _HOST]
        return subprocess.run(check, capture_output=True, check=False, timeout=_SECONDS).returncode == 0

    def knock(self) -> None:
        """Make that connection, if nobody does, and return at once."""
        if self._process is None or self._process.poll() is not None:
            # One that was killed leaves it behind, and the next would do without.
            self._shared.unlink(missing_ok=True)
            forwarding = ["-o", "StreamLocalBindUnlink=yes", "-L", f"{self._control}:{_FAILOVERD}"]
            self._process = subprocess.Popen(
                self._run.in_cgroup([*self._ssh(), *forwarding, "-M", "-N", _HOST]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def shut(self) -> None:
        """End the connection; may be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def argv(self, command: str) -> Sequence[str]:
        """The command line that runs a shell's command inside."""
        return [*self._ssh(), "--", _HOST, command]

    @property
    def control(self) -> Path:
        """failoverd's control socket, as it is reached from here."""
        self.knock()
        return self._control

    def _ssh(self) -> list[str]:
        options = {**_OPTIONS, "ControlPath": str(self._shared), "IdentityFile": str(self._key)}
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return wire.in_netns(self._run.netns("fabric"), ["ssh", "-F", "none", "-p", str(self._port), *words])
