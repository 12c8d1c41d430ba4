"""The package's life on a machine: installed, used, upgraded, removed, purged; on each Debian that it is for."""

import json
import stat

from failoverd import __version__
from tests.lab.waiting import wait_for

from .chroot import Chroot
from .conftest import Package

CONFIG = "/etc/failoverd/failoverd.toml"
#: What dpkg and other packages keep for themselves, which comes with the first package that is installed or purged.
OTHERS = {
    "/etc/group-",
    "/etc/gshadow-",
    "/var/lib/dpkg/diversions-old",
    "/var/lib/dpkg/status-old",
    "/var/lib/dpkg/statoverride-old",
    "/var/log/dpkg.log",
}


def _status(machine: Chroot) -> dict[str, object]:
    answer: dict[str, object] = json.loads(machine.run("failoverctl", "status", "--json"))
    return answer


def test_it_runs_as_it_was_installed(settled: Chroot) -> None:
    assert settled.run("failoverctl", "--version") == f"failoverctl {__version__}\n"
    assert settled.run("failoverd", "--version") == f"failoverd {__version__}\n"
    assert "0 resources" in settled.run("failoverd", "--check")
    assert "0 resources" in settled.run("failoverctl", "config", "check", CONFIG)
    with settled.running("failoverd") as daemon:
        status = wait_for("failoverd answers", lambda: _status(settled), within=20)
        assert daemon.poll() is None
    assert daemon.returncode == 0
    assert status["version"] == __version__
    settled.run("dpkg", "--verify", "failoverd")


def test_its_modules_are_compiled_once_for_all(settled: Chroot) -> None:
    modules = settled.path("/usr/lib/python3/dist-packages/failoverd")
    for module in modules.glob("**/*.py"):
        assert list((module.parent / "__pycache__").glob(f"{module.stem}.cpython-*.pyc")), module


def test_the_sockets_group_and_the_fifo_are_made_beforehand(settled: Chroot) -> None:
    assert settled.run("getent", "group", "failoverd").split(":")[3] == "\n"
    assert stat.S_ISFIFO(settled.path("/run/failoverd/keepalived.fifo").stat().st_mode)


def test_keepalived_trusts_the_hook(settled: Chroot) -> None:
    """keepalived leaves out a script that anybody but root could change; eth0 is down, which it has to say at once."""
    settled.path("/root/keepalived.conf").write_text("""
        global_defs {
            script_user root
            enable_script_security
        }
        vrrp_instance VI_1 {
            interface eth0
            virtual_router_id 51
            virtual_ipaddress {
                192.0.2.1/32
            }
            notify "/usr/libexec/failoverd/notify"
        }
    """)
    spool = settled.path("/run/failoverd/spool")
    with settled.running("keepalived", "--dont-fork", "--log-console", "--use-file=/root/keepalived.conf"):
        (event,) = wait_for("the hook's event", lambda: list(spool.glob("[0-9]*")), within=20)
    assert event.read_text().split("\t")[4:7] == ["INSTANCE", "VI_1", "FAULT"]


def test_an_upgrade_keeps_what_the_operator_has_made(installed: Chroot, newer: Package) -> None:
    config, more = installed.path(CONFIG), installed.path("/etc/failoverd/conf.d/site.toml")
    config.write_text('[instance.VI_7]\nvips = ["192.0.2.7/32 dev lo"]\n')
    more.write_text("[instance.VI_8]\n")
    with installed.running("failoverd"):
        wait_for("failoverd answers", lambda: _status(installed), within=20)
    state = {path: path.read_bytes() for path in installed.path("/var/lib/failoverd").iterdir()}
    assert state
    left = {path for path in installed.files() if path.startswith("/run/failoverd")}

    installed.install(newer.deb)

    assert installed.run("failoverctl", "--version") == "failoverctl 9.9.9\n"
    assert config.read_text().startswith("[instance.VI_7]")
    assert more.read_text() == "[instance.VI_8]\n"
    assert {path: path.read_bytes() for path in state} == state
    assert {path for path in installed.files() if path.startswith("/run/failoverd")} == left
    assert "2 instances" in installed.run("failoverd", "--check")
    assert not list(config.parent.glob("*.dpkg-*"))


def test_an_upgrade_restarts_the_daemon_and_leaves_the_sockets_open(installed: Chroot, newer: Package) -> None:
    """What the package asks of systemd, whose part a script plays here that writes it down."""
    installed.path("/run/systemd/system").mkdir(parents=True)
    said = installed.path("/root/said")
    systemctl = installed.path("/usr/bin/systemctl")
    systemctl.unlink()
    systemctl.write_text('#!/bin/sh\necho "$@" >>/root/said\n')
    systemctl.chmod(0o755)

    def changes() -> list[str]:
        asked = [line.removeprefix("--quiet ").removeprefix("--system ") for line in said.read_text().splitlines()]
        said.unlink()
        return [each for each in asked if each.split()[0] in {"start", "stop", "restart", "try-restart", "reload"}]

    installed.install(newer.deb)
    assert changes() == ["restart failoverd.service"]
    installed.run("dpkg", "--remove", "failoverd")
    # The socket first: an event that comes meanwhile would start the service again.
    assert changes() == ["stop failoverd.socket", "stop failoverd.service"]


def test_removed_it_leaves_configuration_and_state_and_purged_it_leaves_nothing(
    machine: Chroot, package: Package
) -> None:
    group = machine.path("/etc/group").read_text()
    before = machine.files()
    machine.install(package.deb)
    machine.run("usermod", "--append", "--groups", "failoverd", "daemon")
    machine.path("/etc/failoverd/conf.d/site.toml").write_text("[instance.VI_8]\n")
    with machine.running("failoverd"):
        wait_for("failoverd answers", lambda: _status(machine), within=20)

    machine.run("dpkg", "--remove", "failoverd")
    kept = {path for path in machine.files() - before if not path.startswith("/var/lib/dpkg/")}
    assert {CONFIG, "/etc/failoverd/conf.d/site.toml", "/var/lib/failoverd"} <= kept
    assert not [path for path in kept if path.startswith("/usr/")]

    machine.run("dpkg", "--purge", "failoverd")
    assert machine.files() - before <= OTHERS
    assert before <= machine.files()
    assert machine.path("/etc/group").read_text() == group
