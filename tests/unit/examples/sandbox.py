"""A throw-away copy of this machine, in which a test may install, configure and start what it likes."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
EXAMPLES = REPOSITORY / "examples"

_HERE = Path(__file__).parent
_NAMESPACES = ["--mount", "--net", "--pid", "--uts"]
#: Seconds for one command; the slowest, an Ansible play, takes a tenth of it.
_PATIENCE = 90


class Sandbox:
    """One copy. It has no network but `lo` and what `interface` makes."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def path(self, inside: str) -> Path:
        """Where a file of the copy is for this process."""
        return Path(f"/proc/{self._pid}/root{inside}")

    def write(self, inside: str, text: str, *, mode: int = 0o644) -> None:
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def command(self, argv: list[str]) -> list[str]:
        """What this process has to run to have `argv` run in the copy."""
        return ["nsenter", f"--target={self._pid}", *_NAMESPACES, "--root", "--wd", *argv]

    def run(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """Run it to its end; `stdout` has both outputs."""
        return subprocess.run(
            self.command(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", **_coverage()},
        )

    def do(self, argv: list[str]) -> str:
        """Run what must work."""
        done = self.run(argv)
        assert done.returncode == 0, f"{argv}: exit {done.returncode}\n{done.stdout}"
        return done.stdout

    def interface(self, name: str, address: str) -> None:
        """Make a network interface that is up. A bridge: not every kernel has dummies or VLANs."""
        self.do(["ip", "link", "add", name, "type", "bridge"])
        self.do(["ip", "link", "set", name, "up"])
        self.do(["ip", "address", "add", address, "dev", name])

    def install_hook(self) -> None:
        """As the package does."""
        source, target = REPOSITORY / "hooks/notify", "/usr/libexec/failoverd/notify"
        self.do(["install", "-D", "--owner=root", "--group=root", "--mode=755", str(source), target])


def _coverage() -> dict[str, str]:
    """The variables by which coverage.py measures a process that a test starts."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


@contextlib.contextmanager
def sandbox() -> Iterator[Sandbox]:
    """A fresh copy; everything in it ends with the test, whatever becomes of the test."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="failoverd-examples-"))
        script = ["sh", str(_HERE / "sandbox.sh"), directory, str(REPOSITORY), str(_HERE / "init.sh")]
        holder = stack.enter_context(
            subprocess.Popen(
                ["unshare", *_NAMESPACES, "--fork", "--kill-child=KILL", *script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        stack.callback(holder.kill)
        assert holder.stdout is not None
        line = holder.stdout.readline()
        assert line, "the sandbox was not made; is this root?"
        yield Sandbox(int(line))
