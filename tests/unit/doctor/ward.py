"""A copy of this machine that is a correct node of one example, for `failoverctl doctor` to examine."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from failoverd.daemon import config
from tests.unit.examples import uses
from tests.unit.examples.sandbox import EXAMPLES, Sandbox, sandbox
from tests.unit.examples.test_programs import first_include

#: Where the files of the examples go, as their README.md says.
_INSTALLED = {
    "keepalived.conf": "/etc/keepalived/keepalived.conf",
    "failoverd.toml": "/etc/failoverd/failoverd.toml",
    "vpn.res": "/etc/drbd.d/vpn.res",
    "web.res": "/etc/drbd.d/web.res",
    "drbd-xen.conf": "/etc/modprobe.d/drbd-xen.conf",
    "vpn.cfg": "/etc/xen/vpn.cfg",
    "web.cfg": "/etc/xen/web.cfg",
    "bird.conf": "/etc/bird/bird.conf",
    "frr.conf": "/etc/frr/frr.conf",
    "daemons": "/etc/frr/daemons",
}
#: Programs that this machine lacks, or that would need a running system.
_PROGRAMS = Path(__file__).parent / "programs"

_AT_BOOT = ("failoverd.service", "keepalived.service", "frr.service", "drbd@vpn.target", "drbd@web.target")
_UNIT = """\
Type=simple
RemainAfterExit=no
LoadState=loaded
ActiveState=inactive
UnitFileState={state}
StartLimitAction=none
FailureAction=none
TriggeredBy=
"""
FAILOVERCTL = str(Path(sys.executable).parent / "failoverctl")

#: Examines the node for each line that it reads.
_DOCTOR = """
import asyncio, dataclasses, json, pathlib, sys
from failoverd import doctor, log
log.configure("console", "error")
for line in sys.stdin:
    site = doctor.site(pathlib.Path("/etc/failoverd/failoverd.toml"), pathlib.Path("/run/failoverd"))
    print(json.dumps([dataclasses.asdict(each) for each in asyncio.run(doctor.examine(site))]), flush=True)
"""

#: Stands for a bird whose session is in the state that /run/bird/state has, up without it.
_BIRD = """
import os, pathlib, socketserver, sys, threading
threading.Thread(target=lambda: sys.stdin.read() or os._exit(0), daemon=True).start()
state = pathlib.Path("/run/bird/state")
class Bird(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"0001 BIRD 2.0.12 ready.\\n")
        for question in self.rfile:
            now = state.read_text() if state.exists() else "up"
            self.wfile.write(f"2002-Name Proto Table State\\n1002-upstream BGP --- {now}\\n0000 \\n".encode())
state.parent.mkdir(exist_ok=True)
with socketserver.ThreadingUnixStreamServer("/run/bird/bird.ctl", Bird) as server:
    print("it listens", flush=True)
    server.serve_forever()
"""


class Ward:
    """One node."""

    def __init__(self, box: Sandbox, use: str, node: str) -> None:
        self.box = box
        self.use = use
        box.do(["hostname", node])
        for number, name in enumerate(sorted(uses.interfaces(use)), start=1):
            box.interface(name, f"198.51.100.{number}/32")
        if use == "hosting":
            (address,) = re.findall(rf"on {node} {{.*?address (\S+):", uses.text("hosting/vpn.res"), re.DOTALL)
            box.do(["ip", "link", "set", "lo", "up"])
            box.do(["ip", "address", "add", f"{address}/32", "dev", "lo"])
        box.install_hook()
        box.do(["mkdir", "-p", "/run/failoverd/track"])
        os.mkfifo(box.path("/run/failoverd/keepalived.fifo"), 0o600)
        for program in _PROGRAMS.iterdir():
            box.do(["install", "-m", "755", str(program), "/usr/bin/"])
        self._files = {file: path for file, path in _INSTALLED.items() if (EXAMPLES / use / file).exists()}
        for file, path in self._files.items():
            box.write(path, uses.text(f"{use}/{file}"))
        box.write("/var/lib/peer.json", json.dumps({"digest": config.load(EXAMPLES / use / "failoverd.toml").digest}))
        for unit in (*_AT_BOOT, *uses.units(use), "drbd.service"):
            self._files[unit] = f"/var/lib/units/{unit}"
            box.write(self._files[unit], _UNIT.format(state="enabled" if unit in _AT_BOOT else "disabled"))
        self._bird: subprocess.Popen[str] | None = None
        if use == "hosting":
            box.do(["sh", "-c", first_include()])
            self._bird = subprocess.Popen(
                box.command(["/usr/bin/python3", "-c", _BIRD]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert self._bird.stdout is not None
            self._bird.stdout.readline()
        argv = box.command([sys.executable, "-c", _DOCTOR])
        self._doctor = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        """End the doctor, and bird."""
        self._doctor.communicate()
        if self._bird is not None:
            self._bird.communicate()

    @contextlib.contextmanager
    def changed(self, file: str, old: str, new: str) -> Iterator[None]:
        """The node while `old` is `new` in this file of the example, or of a unit's properties; empty: all of it."""
        path = self.box.path(self._files.get(file, file))
        before = path.read_text() if path.exists() else ""
        assert old in before
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(before.replace(old, new) if old else new)
        try:
            yield
        finally:
            path.write_text(before) if before else path.unlink()

    def findings(self) -> list[dict[str, Any]]:
        """All findings, from a doctor that stays: it would take longer to start than to examine."""
        assert self._doctor.stdin is not None
        assert self._doctor.stdout is not None
        self._doctor.stdin.write("\n")
        self._doctor.stdin.flush()
        found: list[dict[str, Any]] = json.loads(self._doctor.stdout.readline())
        return found


@contextlib.contextmanager
def ward(use: str, node: str = "left") -> Iterator[Ward]:
    """A correct node of that example."""
    with sandbox() as box, contextlib.closing(Ward(box, use, node)) as made:
        yield made
