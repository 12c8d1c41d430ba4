"""The secrets of fence agents, with a real systemd and the package's own service, by the manual's own words.

A shell script plays the power switch and its agent, and keeps all that reaches it.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.waiting import wait_for

from . import chroot
from .chroot import Chroot
from .conftest import KEEPALIVED_CONF, ROOT, Package

WORD, ANOTHER = "tr0ub4dor-and-3", "correct-horse-4"
CREDENTIALS = "/run/credentials/failoverd.service"
DROP_IN = "/etc/systemd/system/failoverd.service.d/fence.conf"
#: A node that was never heard is fenced a minute after the start of failoverd, and an agent may take its time.
WITHIN = 240
METADATA = "/usr/share/fence_spy.xml"
AGENT = f"""#!/bin/sh
given=$(cat)
action=$(printf '%s\\n' "$given" | sed -n 's/^action=//p')
[ "$action" != metadata ] || exec cat {METADATA}
printf '%s\\n' "$given" >>/root/given
cat /proc/$$/cmdline /proc/$$/environ >>/root/shown
case $action in
off) echo off >/root/power ;;
status) grep -q off /root/power && exit 2 ;;
esac
exit 0
"""
FILES = {
    "/usr/sbin/fence_spy": AGENT,
    METADATA: (ROOT / "tests/recordings/fence/fence-agents-4.12.1/fence_ipmilan.xml").read_text(),
    "/etc/hostname": "left\n",
    "/root/power": "on\n",
    "/etc/keepalived/keepalived.conf": KEEPALIVED_CONF,
    "/etc/systemd/system/web.service": "[Service]\nExecStart=/bin/sleep infinity\n",
}
CONFIGURATION = """
[instance.VI_1]
vips = ["192.0.2.1/32"]
interface = "eth0"
[instance.VI_1.resource.web]
driver = "unit"
unit = "web.service"
[instance.VI_1.resource.disk]
driver = "drbd"
resource = "disk"
on_failure = "continue"
[heartbeat]
addresses = { left = "192.0.2.11", right = "192.0.2.12" }
key_file = "heartbeat-key"
[fence.left]
agent = "fence_spy"
options = { ip = "192.0.2.21", username = "ha", lanplus = true }
secrets = { password = "left-bmc" }
[fence.right]
agent = "fence_spy"
options = { ip = "192.0.2.22", username = "ha", lanplus = true }
secrets = { password = "right-bmc" }
"""


@pytest.fixture(name="node", scope="module")
def _node(debian: Path, package: Package) -> Iterator[Chroot]:
    """The node left, which the manual's reader has configured, and not restarted."""
    with chroot.machine(debian) as node:
        node.install(package.deb)
        for path, text in FILES.items():
            node.path(path).write_text(text)
        node.path("/usr/sbin/fence_spy").chmod(0o755)
        node.boot()
        # systemd and udev do all this on a machine, and not in a container.
        node.run("mount", "--make-rshared", "/")
        node.run("ln", "-s", "pts/ptmx", "/dev/ptmx")
        node.run("sh", "-c", "for it in lo eth0 eth1; do ip link set $it up; done")
        node.run("ip", "address", "add", "192.0.2.11/24", "dev", "eth0")
        node.path("/etc/failoverd/failoverd.toml").write_text(CONFIGURATION)
        yield node


def test_what_is_missing_is_told_and_nothing_else_suffers(node: Chroot) -> None:
    node.run("systemctl", "restart", "failoverd.service")
    wait_for_trouble(node, "right cannot be fenced: the credential right-bmc is missing; run: failoverctl doctor")
    wait_for_trouble(
        node, "the credential heartbeat-key is missing; expected LoadCredential=heartbeat-key in a drop-in"
    )
    told = node.run("failoverctl", "config", "check")
    assert "fence.right: the credential right-bmc is missing; expected LoadCredential=right-bmc in a drop-in" in told
    assert "fence.left" not in told
    (found,) = findings(node, "fence.right")
    assert (found["code"], found["wrong"]) == ("credential-missing", "the credential right-bmc is missing")


def test_the_doctors_commands_hand_it_over(node: Chroot) -> None:
    (found,) = findings(node, "fence.right")
    typed(node, found["fix"], "typed")
    assert node.path(f"{CREDENTIALS}/right-bmc").read_text() == "typed\n"
    assert findings(node, "fence.right") == []
    node.run("sh", "-c", f"rm -r /etc/credstore {DROP_IN}")


def test_the_manuals_commands_hand_it_over_and_nobody_complains(node: Chroot) -> None:
    store, drop_in, restart = steps_of_the_manual()
    typed(node, store, ANOTHER, WORD)
    node.path(DROP_IN).parent.mkdir(exist_ok=True)
    node.path(DROP_IN).write_text(f"{drop_in}LoadCredential=heartbeat-key\n")
    node.run("sh", "-c", "umask 077; head -c 32 /dev/urandom | base64 >/etc/credstore/heartbeat-key")
    node.run("sh", "-c", restart)
    assert "fence" not in node.run("failoverctl", "config", "check")
    about = ("fence.left", "fence.right", "heartbeat", "failoverd.service")
    assert [each for each in findings(node) if each["about"] in about] == []
    assert {f"password={ANOTHER}", f"password={WORD}"} <= set(given(node))


def test_the_agent_powers_the_silent_node_off_and_nobody_else_sees_the_secret(node: Chroot) -> None:
    node.path("/root/given").unlink()
    node.run("systemctl", "start", "keepalived.service")
    wait_for("the instance is active", lambda: phase(node), until=lambda seen: seen == "active", within=WITHIN)
    assert node.path("/root/power").read_text() == "off\n"
    asked = given(node)
    assert [line for line in asked if line.startswith("action=")] == ["action=off", "action=status"]
    assert asked.count(f"password={WORD}") == 2

    shown = [node.run("failoverctl", *verb) for verb in (("status", "--json"), ("history", "--json"), ("why", "VI_1"))]
    shown += [node.run("journalctl", "--boot", "--no-pager"), node.path("/root/shown").read_text(errors="replace")]
    shown += [
        file.read_text(errors="replace")
        for pattern in ("*/cmdline", "*/environ")
        for file in node.path("/proc").glob(pattern)
        if file.parent.name.isdecimal()
    ]
    assert [text for text in shown if WORD in text] == []
    node.run("sh", "-c", f"! grep -rl {WORD} /run/failoverd /run/log /var/lib/failoverd /var/log /dev/shm")


def test_drbds_handler_needs_no_secret(node: Chroot) -> None:
    """It asks the daemon: without the credentials in its environment, and where they cannot be read."""
    drbd = ["DRBD_RESOURCE=disk", "DRBD_PEER_NODE_ID=1", "DRBD_NODE_ID_0=left", "DRBD_NODE_ID_1=right"]
    hidden = f"mount -t tmpfs tmpfs {CREDENTIALS}; exec env -i {' '.join(drbd)} /usr/libexec/failoverd/fence-peer"
    told = node.run("unshare", "--mount", "sh", "-c", f"({hidden}) 2>&1; echo $?")
    assert told.splitlines()[-1] == "7", told


def test_a_new_secret_counts_after_a_restart(node: Chroot) -> None:
    node.path("/root/power").write_text("on\n")  # an operator has switched it on
    node.path("/etc/credstore/right-bmc").write_text("the-newest\n")
    node.run("systemctl", "restart", "failoverd.service")
    assert findings(node, "fence.right") == []
    assert "password=the-newest" in given(node)


@pytest.mark.parametrize("content", ["", "two\nlines\n"])
def test_a_secret_that_is_none_is_told_and_failoverd_runs(node: Chroot, content: str) -> None:
    node.path("/etc/credstore/right-bmc").write_text(content)
    node.run("systemctl", "restart", "failoverd.service")
    wrong = f"the credential right-bmc is {'not one line of printable text' if content else 'empty'}"
    wait_for_trouble(node, f"right cannot be fenced: {wrong}; run: failoverctl doctor")
    (found,) = findings(node, "fence.right")
    typed(node, found["fix"], WORD)
    assert findings(node, "fence.right") == []


def test_whoever_owns_the_file_systemd_reads_it(node: Chroot) -> None:
    node.run("sh", "-c", "chown nobody /etc/credstore/right-bmc; chmod 000 /etc/credstore/right-bmc")
    node.run("systemctl", "restart", "failoverd.service")
    assert findings(node, "fence.right") == []


def test_a_drop_in_that_names_a_missing_file_keeps_failoverd_from_starting_and_the_doctor_says_so(node: Chroot) -> None:
    """The manual says so; if a systemd should start it after all, the manual can be shorter."""
    drop_in = node.path(DROP_IN)
    before = drop_in.read_text()
    drop_in.write_text(before.replace("=right-bmc", "=right-bmc:/etc/failoverd/right-bmc"))
    node.run("systemctl", "daemon-reload")
    node.run("sh", "-c", "! systemctl restart failoverd.service")
    assert node.run("systemctl", "show", "--value", "--property=ExecMainStatus", "failoverd.service") == "243\n"
    (found,) = findings(node, "failoverd.service")
    assert found["wrong"].startswith("/etc/failoverd/right-bmc is missing, which LoadCredential=right-bmc:")
    typed(node, found["fix"], WORD)
    assert findings(node, "fence.right") == []
    node.path("/etc/failoverd/right-bmc").chmod(0o644)
    (found,) = findings(node, "failoverd.service")
    assert found["code"] == "credential-open"
    node.run("sh", "-c", found["fix"])
    assert findings(node, "failoverd.service") == []


def steps_of_the_manual() -> tuple[str, str, str]:
    """How the secrets are stored, the drop-in, and what makes both count: the words of the section [fence.NODE]."""
    manual = (ROOT / "docs/man/failoverd.toml.5.scd").read_text()
    section = manual[manual.index("# TABLE [fence.NODE]") : manual.index("# TABLE [heartbeat]")]
    blocks = [
        block for block in re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL) if "[fence" not in block
    ]
    store, drop_in, restart, *_ = blocks
    assert DROP_IN in drop_in
    return store, drop_in, restart


def typed(node: Chroot, commands: str, *answers: str) -> None:
    """Run commands as somebody does who pastes them into a terminal, and types the answers."""
    node.path("/root/commands").write_text(commands)
    node.path("/root/answers").write_text("".join(f"{answer}\n" for answer in answers))
    node.run("sh", "-c", "script --quiet --return --command 'sh -e /root/commands' /dev/null </root/answers")


def findings(node: Chroot, about: str | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(node.run("sh", "-c", "failoverctl doctor --json || :"))["findings"]
    return [each for each in found if about in (None, each["about"])]


def given(node: Chroot) -> list[str]:
    """What the agent got on its standard input."""
    return node.path("/root/given").read_text().splitlines()


def wait_for_trouble(node: Chroot, text: str) -> None:
    status = "failoverctl status || :"
    wait_for(
        f"status says: {text}", lambda: node.run("sh", "-c", status), until=lambda seen: text in seen, within=WITHIN
    )


def phase(node: Chroot) -> str:
    return str(json.loads(node.run("failoverctl", "status", "--json"))["instances"]["VI_1"]["phase"])
