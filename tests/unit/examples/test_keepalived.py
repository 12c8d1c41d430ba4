"""A real keepalived with each example speaks to failoverd as the example says: by FIFO, by the hook, or by both."""

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.waiting import wait_for

from . import uses
from .sandbox import EXAMPLES, Sandbox

_HERE = Path(__file__).parent
_FIFO, _SPOOL, _LOG = "/run/failoverd/keepalived.fifo", "/run/failoverd/spool", "/run/keepalived.log"

#: Seconds for keepalived to start and to speak.
_SECONDS = 20.0

#: What keepalived says of a script that it leaves out, of a keyword or a setting that it passes over.
_COMPLAINT = re.compile(
    r"warning|error|unknown|unsafe|disabl|cannot|unable|ignor|invalid|reset|incompatib|not exist|does ?n.t|no such",
    re.IGNORECASE,
)


@contextlib.contextmanager
def _keepalived(box: Sandbox, use: str, node: str) -> Iterator[None]:
    """keepalived on `node` with the example, and nobody there to listen: FIFO and spool keep what it says.

    The scripts that it runs find a failoverd that has come up, and a HAProxy that answers.
    """
    for number, name in enumerate(sorted(uses.interfaces(use)), start=1):
        box.interface(name, f"198.51.100.{number}/32")
    box.path(_SPOOL).mkdir(parents=True)
    box.path("/run/failoverd/track").mkdir()  # as the package does at boot; without it keepalived ends at once
    for name in uses.instances(use):
        box.write(f"/run/failoverd/track/{name}", "0\n")
    box.do(["install", "-m", "755", str(_HERE / "systemctl.sh"), "/usr/bin/systemctl"])
    box.do(["systemctl", "start", "failoverd.service"])
    if use == "loadbalancer":
        box.do(["ip", "link", "set", "lo", "up"])
        box.do(["sysctl", "--quiet", "--load", str(EXAMPLES / use / "sysctl.conf")])
        box.do(["install", "-d", "-o", "haproxy", "/run/haproxy"])
        box.do(["haproxy", "-D", "-f", str(EXAMPLES / use / "haproxy.cfg")])
    os.mkfifo(box.path(_FIFO), 0o600)
    conf = str(EXAMPLES / use / "keepalived.conf")
    with (
        box.path(_LOG).open("w") as log,
        subprocess.Popen(
            box.command(["keepalived", "--dont-fork", "--log-console", "-i", node, "-f", conf]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as keepalived,
    ):
        try:
            yield
        finally:
            keepalived.kill()  # what it leaves behind ends with the box


@pytest.mark.parametrize(("use", "node"), [("hosting", "right"), ("router", "left")])
def test_it_tells_failoverd_by_the_fifo(box: Sandbox, use: str, node: str) -> None:
    box.install_hook()
    (name,) = uses.instances(use)
    kind = uses.keepalived(use)[name].kind
    with _keepalived(box, use, node):
        fifo = os.open(box.path(_FIFO), os.O_RDWR | os.O_NONBLOCK)
        told = _told(fifo, _line(kind, name))
        os.close(fifo)
    assert all(line.endswith(f" BACKUP {_priority(use, node)}") for line in told.splitlines() if "INSTANCE" in line)
    assert _complaints(box) == []


@pytest.mark.parametrize(("use", "node"), [("router", "right"), ("loadbalancer", "left"), ("loadbalancer", "right")])
def test_it_tells_failoverd_by_the_hook(box: Sandbox, use: str, node: str) -> None:
    box.install_hook()
    (name,) = uses.instances(use)
    kind = uses.keepalived(use)[name].kind
    priority = 0 if kind == "GROUP" else _priority(use, node)  # keepalived gives a group none
    with _keepalived(box, use, node):
        told = [kind, name, "BACKUP", str(priority)]
        wait_for("the hook has spooled it", lambda: told in _spooled(box.path(_SPOOL)), within=_SECONDS)
    assert _complaints(box) == []


def test_a_node_on_which_failoverd_did_not_come_up_in_this_boot_is_no_master(box: Sandbox) -> None:
    with _keepalived(box, "hosting", "left"):
        log, came_up = box.path(_LOG), box.path("/run/failoverd/track/VI_1")
        wait_for("it is MASTER", lambda: "(VI_1) Entering MASTER STATE" in log.read_text(), within=_SECONDS)
        came_up.unlink()  # as at a boot
        wait_for("it is in FAULT", lambda: "(VI_1) Entering FAULT STATE" in log.read_text(), within=_SECONDS)
        came_up.write_text("0\n")
        wait_for("it is BACKUP", lambda: "(VI_1) Entering BACKUP STATE\n" in log.read_text(), within=_SECONDS)


@pytest.mark.parametrize("use", uses.USES)
def test_a_master_whose_failoverd_has_ended_stays_master_and_is_the_last_choice(box: Sandbox, use: str) -> None:
    box.install_hook()
    (name,) = uses.instances(use)
    before = _priority(use, "left")
    with _keepalived(box, use, "left"):
        log = box.path(_LOG)
        wait_for("it is MASTER", lambda: ") Entering MASTER STATE" in log.read_text(), within=_SECONDS)
        box.do(["systemctl", "stop", "failoverd.service"])
        changed = f"Changing effective priority from {before} to {before - 100}"
        wait_for("its priority is lower", lambda: changed in log.read_text(), within=_SECONDS)
    assert _complaints(box) == []
    assert f"({name}) Entering FAULT STATE" not in log.read_text()


@pytest.mark.parametrize("use", ["router", "loadbalancer"])
def test_a_hook_that_others_may_write_is_left_out_and_the_log_says_so(box: Sandbox, use: str) -> None:
    # Shows that the tests above would notice.
    box.install_hook()
    box.path("/usr/libexec/failoverd/notify").chmod(0o777)
    with _keepalived(box, use, "left"):
        wait_for("it is BACKUP", lambda: "Entering BACKUP STATE" in box.path(_LOG).read_text(), within=_SECONDS)
    assert len(_complaints(box)) == 1


def _complaints(box: Sandbox) -> list[str]:
    return [line for line in box.path(_LOG).read_text().splitlines() if _COMPLAINT.search(line)]


def _line(kind: str, name: str) -> str:
    return f'{kind} "{name}" BACKUP '


def _priority(use: str, node: str) -> int:
    found = {int(n) for n in re.findall(rf"@{node} +priority (\d+)", uses.text(f"{use}/keepalived.conf"))}
    (only,) = found
    return only


def _told(fifo: int, line: str) -> str:
    """All that keepalived wrote, once `line` is in it."""
    told = ""

    def more() -> str:
        nonlocal told
        told += os.read(fifo, 65536).decode()
        return told

    return wait_for(f"keepalived tells {line}", more, within=_SECONDS, until=lambda text: line in text)


def _spooled(directory: Path) -> list[list[str]]:
    return [file.read_text().rstrip("\n").split("\t")[4:] for file in directory.glob("[0-9]*")]
