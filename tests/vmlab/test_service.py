"""Stories of the service in a machine that has the package: what a hypervisor's administrator relies on.

One machine for all of them, since a boot is what takes the time; each story brings it to where it begins.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from failoverd import alarms
from failoverd.core.effects import AlarmKind
from tests.lab import wire
from tests.lab.waiting import wait_for

from . import service
from .lab import VmLab
from .machine import Hardware
from .service import SOON, UNIT, VIP, Service

#: Of the watchdog device. An emulated machine on a busy host starts failoverd in it, which takes the device over.
_RESET_SECONDS = 30.0

# What a machine writes whatever happens to the package.
_NOT_THE_PACKAGES = ("/var/log/", "/var/lib/dpkg/", "/var/lib/systemd/", "/var/cache/", "/srv/story/", "/root/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The machine before the package was there."""

    files: set[str]
    groups: str
    users: str


def look_around(failoverd: Service) -> Before:
    files = failoverd.machine.sh("find / /run/failoverd -xdev", check=False, within=SOON).splitlines()
    return Before(
        files={path for path in files if not path.startswith(_NOT_THE_PACKAGES)},
        groups=failoverd.machine.sh("getent group | sort"),
        users=failoverd.machine.sh("getent passwd | sort"),
    )


@pytest.fixture(scope="module")
def lab() -> Iterator[VmLab]:
    with VmLab({"left": Hardware(networks={"service": "192.0.2.11/24"}, processors=2, watchdog=True)}) as lab:
        lab.boot()
        yield lab


@pytest.fixture(scope="module")
def before(lab: VmLab) -> Before:
    """The machine as it was, with the package installed now."""
    failoverd = Service(lab.machines["left"])
    failoverd.configure()
    found = look_around(failoverd)
    failoverd.install(service.package())
    return found


@pytest.fixture
def failoverd(lab: VmLab, before: Before) -> Iterator[Service]:
    """The service, which must not fall over its own feet in any story."""
    del before
    found = Service(lab.machines["left"])
    began = lab.machines["left"].sh("date +%s").strip()
    yield found
    assert "Traceback" not in found.journal(f"--since=@{began}", "-o", "cat")


@pytest.fixture(scope="module")
def client(lab: VmLab) -> str:
    """The namespace of somebody who uses the VIP."""
    return lab.add_namespace("client", {"service": "192.0.2.99/24"})


@pytest.fixture(scope="module")
def booted(lab: VmLab, before: Before) -> Service:
    """A boot in which keepalived does not run."""
    del before
    machine = lab.machines["left"]
    machine.run(["systemctl", "disable", "--quiet", "keepalived.service"])
    machine.reboot()
    return Service(machine)


def test_after_a_boot_all_is_there_and_what_something_else_started_is_stopped(booted: Service) -> None:
    failoverd, machine = booted, booted.machine
    assert failoverd.property("ActiveState") == "active"
    owners = machine.sh("cd /run/failoverd && stat -c '%n %A %U' notify.sock control.sock keepalived.fifo spool track")
    assert [line.split()[0] for line in owners.splitlines()] == [
        *("notify.sock", "control.sock", "keepalived.fifo", "spool", "track")
    ]
    kinds = {line.split()[0]: (line.split()[1][0], line.split()[2]) for line in owners.splitlines()}
    assert kinds == {
        "notify.sock": ("s", "root"),
        "control.sock": ("s", "root"),
        "keepalived.fifo": ("p", "root"),
        "spool": ("d", "root"),
        "track": ("d", "root"),
    }
    # Nobody may tell it what keepalived said, and everybody may ask it.
    nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    told = machine.run([*nobody, "/usr/libexec/failoverd/notify", "INSTANCE", "VI_1", "MASTER", "100"], check=False)
    assert told.returncode == 75
    assert machine.run([*nobody, "failoverctl", "status"]).returncode == 0

    # web.service is enabled. Nobody has spoken in this boot, and the VIP is not here.
    failoverd.wait_for_phase("standby")
    assert failoverd.recorded("VI_1") == []
    failoverd.wait_for_property("ActiveState", "inactive", "web.service")
    assert failoverd.property("ExecMainStartTimestampMonotonic", "web.service") != "0"


def test_a_restart_goes_on_with_what_the_boot_decided(booted: Service) -> None:
    failoverd, machine = booted, booted.machine
    failoverd.wait_for_phase("standby")
    machine.run(["systemctl", "stop", UNIT])
    machine.run(["systemctl", "start", "web.service"])
    machine.run(["systemctl", "start", UNIT], within=SOON)
    failoverd.wait_for_property("ActiveState", "inactive", "web.service")
    failoverd.wait_for_phase("standby")


def test_the_master_serves(failoverd: Service, client: str) -> None:
    failoverd.become_active()
    argv = wire.in_netns(client, ["ping", "-c", "1", "-W", "1", VIP])
    wait_for("the VIP answers", lambda: subprocess.run(argv, capture_output=True, check=True, timeout=20), within=SOON)
    assert failoverd.log().splitlines()[-2:] == ["route started", "guest started"]
    # Nothing was refused by the sandbox. Only the hook of `nobody`, in the story of the boot, was rejected.
    warnings = failoverd.journal("-b", "-p", "warning", "-o", "cat").splitlines()
    assert [line for line in warnings if "rejected" not in line] == []


def test_a_restart_changes_no_resource_and_loses_no_event(failoverd: Service) -> None:
    failoverd.become_active()
    before, steps = failoverd.resources(), failoverd.steps()
    rounds = failoverd.storm_during("restarted", f"systemctl restart {UNIT}")

    failoverd.assert_nothing_was_lost("restarted", rounds)
    failoverd.wait_for_phase("active")
    assert failoverd.resources() == before
    assert failoverd.steps() == steps


def test_a_stop_changes_no_resource(failoverd: Service) -> None:
    failoverd.become_active()
    before, steps = failoverd.resources(), failoverd.steps()
    failoverd.machine.run(["systemctl", "stop", UNIT], within=SOON)
    assert failoverd.property("ActiveState") == "inactive"
    assert failoverd.resources() == before

    failoverd.become_active()
    assert failoverd.resources() == before
    assert failoverd.steps() == steps


def test_an_upgrade_changes_no_resource_and_keeps_what_was_configured(failoverd: Service, tmp_path: Path) -> None:
    failoverd.become_active()
    machine = failoverd.machine
    machine.sh("echo '# edited' >>/etc/failoverd/failoverd.toml")
    before, steps = failoverd.resources(), failoverd.steps()
    newer, version = service.upgraded(service.package(), tmp_path)
    rounds = failoverd.storm_during("upgraded", f"dpkg -i {failoverd.put(newer)}")

    failoverd.assert_nothing_was_lost("upgraded", rounds)
    failoverd.wait_for_phase("active")
    assert failoverd.status()["version"] == version
    assert failoverd.resources() == before
    assert failoverd.steps() == steps
    assert machine.read("/etc/failoverd/failoverd.toml").splitlines()[-1] == "# edited"


def test_after_a_crash_it_is_back_and_nothing_has_changed(failoverd: Service) -> None:
    failoverd.become_active()
    before, steps = failoverd.resources(), failoverd.steps()
    restarts = int(failoverd.property("NRestarts"))
    failoverd.machine.run(["systemctl", "kill", "--kill-who=main", "--signal=KILL", UNIT])

    failoverd.wait_for_property("NRestarts", str(restarts + 1))
    failoverd.wait_for_phase("active")
    assert failoverd.resources() == before
    assert failoverd.steps() == steps


def test_a_crash_in_the_middle_of_a_demotion_ends_where_it_would_have_ended(failoverd: Service) -> None:
    failoverd.become_active()
    machine = failoverd.machine
    machine.run(["systemctl", "stop", "keepalived.service"], within=SOON)
    wait_for(
        "the guest is being stopped", failoverd.log, until=lambda log: log.endswith("guest stopping\n"), within=SOON
    )
    machine.run(["systemctl", "kill", "--kill-who=main", "--signal=KILL", UNIT])

    failoverd.wait_for_phase("standby")
    assert failoverd.log().splitlines()[-4:] == ["guest stopping", "guest stopped", "route stopping", "route stopped"]
    newest, *_ = failoverd.transitions()
    assert (newest["target"], newest["outcome"]) == ("standby", "standby")
    assert "interrupted" in {transition["outcome"] for transition in failoverd.transitions()}


def test_a_loop_that_is_stuck_is_killed_by_the_watchdog_and_started_again(failoverd: Service) -> None:
    failoverd.become_active()
    machine = failoverd.machine
    machine.write(f"/run/systemd/system/{UNIT}.d/story.conf", "[Service]\nWatchdogSec=5s\nTimeoutAbortSec=2s\n")
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", UNIT], within=SOON)
    failoverd.wait_for_phase("active")
    before = failoverd.resources()
    restarts = int(failoverd.property("NRestarts"))
    machine.run(["systemctl", "kill", "--kill-who=main", "--signal=STOP", UNIT])

    failoverd.wait_for_property("NRestarts", str(restarts + 1))
    failoverd.wait_for_phase("active")
    assert "Watchdog timeout" in failoverd.journal("-b", "-g", "Watchdog")
    assert failoverd.resources() == before
    machine.sh(
        f"rm -r /run/systemd/system/{UNIT}.d && systemctl daemon-reload && systemctl restart {UNIT}", within=SOON
    )


def test_events_for_a_daemon_that_is_down_start_it_and_none_is_lost(failoverd: Service) -> None:
    failoverd.become_active()
    before, steps = failoverd.resources(), failoverd.steps()
    failoverd.machine.run(["systemctl", "stop", UNIT], within=SOON)
    assert failoverd.property("ActiveState", "failoverd.socket") == "active"
    assert failoverd.machine.run(["failoverctl", "status"], check=False).returncode == 69
    assert failoverd.property("ActiveState") == "inactive", "a question starts nothing"
    rounds = failoverd.storm_during("woken", "true")

    failoverd.wait_for_property("ActiveState", "active")
    failoverd.assert_nothing_was_lost("woken", rounds)
    failoverd.wait_for_phase("active")
    assert failoverd.resources() == before
    assert failoverd.steps() == steps


def test_what_keepalived_says_as_it_stops_is_kept_for_a_daemon_that_is_down(failoverd: Service) -> None:
    failoverd.become_standby()
    machine = failoverd.machine
    # Debian's unit kills its hooks with keepalived: what it wrote into the FIFO is all that there may be.
    machine.sh("sed -i.hooked '/notify \"/d' /etc/keepalived/keepalived.conf")
    failoverd.become_active()
    machine.run(["systemctl", "stop", UNIT], within=SOON)
    machine.run(["systemctl", "stop", "keepalived.service"], within=SOON)
    machine.sh("mv /etc/keepalived/keepalived.conf.hooked /etc/keepalived/keepalived.conf")

    failoverd.wait_for_property("ActiveState", "active")
    failoverd.wait_for_phase("standby")
    newest = failoverd.recorded("VI_1")[-1]
    assert (newest["state"], newest["source"]) == ("STOP", "fifo")


def test_a_rebooting_master_stops_keepalived_then_its_resources_and_then_failoverd(failoverd: Service) -> None:
    machine = failoverd.machine
    machine.run(["systemctl", "enable", "--quiet", "keepalived.service"])
    failoverd.become_active()
    machine.sh("rm /srv/story/log")
    machine.reboot()

    # The log of the boot before; this one's comes after it.
    assert failoverd.log().splitlines()[:4] == ["guest stopping", "guest stopped", "route stopping", "route stopped"]
    lines = machine.run(
        ["journalctl", "-b", "-1", "-o", "cat", "--no-pager", "-u", "init.scope", "-u", "keepalived", "-u", UNIT]
    ).stdout.splitlines()
    stopped = {unit: _last(lines, rf"^Stopped {unit}\.service") for unit in ("keepalived", "failoverd")}
    assert 0 <= stopped["keepalived"] < stopped["failoverd"]
    newest = [each for each in failoverd.transitions() if each["target"] == "standby"]
    assert newest[0]["outcome"] == "standby"

    ready, started = (
        int(failoverd.property(name, unit))
        for name, unit in (
            ("ActiveEnterTimestampMonotonic", UNIT),
            ("ExecMainStartTimestampMonotonic", "keepalived.service"),
        )
    )
    assert 0 < ready < started
    failoverd.wait_for_phase("active")


def test_a_boot_with_the_routing_daemons_enabled_starts_all_of_it(failoverd: Service) -> None:
    machine = failoverd.machine
    enabled = ("keepalived.service", "bird.service", "frr.service")
    machine.run(["systemctl", "enable", "--quiet", *enabled])
    machine.reboot()
    everything = ("network.target", "multi-user.target", UNIT, "failoverd.socket", *enabled)
    found = {unit: failoverd.property("ActiveState", unit) for unit in everything}
    said = machine.run(["journalctl", "-b", "--no-pager", "-o", "cat", "-g", "ordering cycle|to break"], check=False)
    machine.run(["systemctl", "disable", "--quiet", "--now", "bird.service", "frr.service"], within=SOON)
    machine.run(["rm", "-r", "/var/tmp/frr"])  # FRR's own, which it leaves
    assert said.stdout == ""
    assert found == dict.fromkeys(everything, "active")


@pytest.mark.parametrize(("driver", "event"), [("i6300esb", "WATCHDOG"), ("softdog", "RESET")])
def test_a_node_that_must_not_serve_and_cannot_stop_is_reset_by_its_watchdog(
    failoverd: Service, client: str, driver: str, event: str
) -> None:
    del client  # the witness
    machine = failoverd.machine
    machine.run(["systemctl", "disable", "--quiet", "keepalived.service"])
    _load(failoverd, driver)
    failoverd.become_active()
    before = failoverd.resources()
    limit = failoverd.watch("icmp://192.0.2.99", isolation_timeout=6.0, timeout=1.5, watchdog_timeout=_RESET_SECONDS)
    boot = machine.boot_id()
    failoverd.wait_for_phase("active")
    wait_for("the device is armed", _watchdog(failoverd), until=lambda state: state == "active", within=SOON)

    # Neither a crash, nor a restart, nor a stop costs a reset: each has its time to come.
    machine.run(["systemctl", "kill", "--kill-who=main", "--signal=KILL", UNIT])
    failoverd.wait_for_property("NRestarts", "1")
    time.sleep(_RESET_SECONDS)
    machine.run(["systemctl", "restart", UNIT], within=SOON)
    time.sleep(_RESET_SECONDS)
    machine.run(["systemctl", "stop", UNIT], within=SOON)
    assert _watchdog(failoverd)() == "inactive"
    machine.run(["systemctl", "start", UNIT], within=SOON)
    failoverd.wait_for_phase("active")
    wait_for("the device is armed", _watchdog(failoverd), until=lambda state: state == "active", within=SOON)
    assert (machine.boot_id(), failoverd.resources()) == (boot, before)

    with machine.monitor() as monitor:
        cut = time.time()
        machine.unplug("service")
        reset = monitor.wait_for_event(event, 3 * limit)
    assert reset - cut <= limit
    machine.wait_until_rebooted(boot)
    machine.plug("service")
    said = failoverd.journal("-b", "-1", "-o", "cat")
    assert "the watchdog is not fed any more, and resets this machine" in said
    assert "VI_1.guest" in said
    failoverd.unwatch()
    failoverd.wait_for_phase("standby")
    machine.run(["rm", _NO_BOARD])
    print(f"{driver}: reset {reset - cut:.1f} s after the cut, and {limit:.0f} s at the latest")


def test_softdog_is_there_after_each_boot_once_the_doctor_is_obeyed(failoverd: Service, client: str) -> None:
    del client  # the witness
    machine = failoverd.machine
    _load(failoverd)
    failoverd.watch("icmp://192.0.2.99", isolation_timeout=6.0, timeout=1.5, watchdog_timeout=_RESET_SECONDS)
    assert [each["code"] for each in failoverd.doctor("watchdog")] == ["watchdog-missing"]
    machine.run(["modprobe", "softdog"])
    (found,) = failoverd.doctor("watchdog")
    assert found["code"] == "watchdog-softdog"
    machine.sh(found["fix"])
    assert failoverd.doctor("watchdog") == []
    machine.reboot()
    there = machine.read("/sys/class/watchdog/watchdog0/identity").strip()
    findings = failoverd.doctor("watchdog")
    machine.run(["rm", "/etc/modules-load.d/softdog.conf", _NO_BOARD])
    failoverd.unwatch()
    assert (there, findings) == ("Software Watchdog", [])


#: Keeps udev from loading the driver of the board's watchdog, which would be the first one.
_NO_BOARD = "/etc/modprobe.d/no-board.conf"


def _load(failoverd: Service, *drivers: str) -> None:
    """Have the watchdogs of these drivers, and no other one, also after a boot."""
    machine = failoverd.machine
    machine.write(_NO_BOARD, "blacklist i6300esb\n")
    machine.run(["modprobe", "--remove", "--all", "i6300esb", "softdog"])
    for driver in drivers:
        machine.run(["modprobe", driver])


def _watchdog(failoverd: Service) -> Callable[[], str]:
    """Whether the device counts down, as the kernel says."""
    return lambda: failoverd.machine.sh("cat /sys/class/watchdog/watchdog0/state").strip()


def _last(lines: list[str], pattern: str) -> int:
    """The place of the last line that matches; -1 when none does."""
    return max((place for place, line in enumerate(lines) if re.search(pattern, line)), default=-1)


def test_the_journal_explains_a_refusal(failoverd: Service) -> None:
    failoverd.become_standby()
    failoverd.machine.run(["/usr/libexec/failoverd/notify", "INSTANCE", "VI_1", "MASTER", "100"])
    failoverd.wait_for_phase("refused")
    explained = failoverd.journal("-b", "-x", "-n", "60")
    assert alarms.ALARMS[AlarmKind.REFUSED].title in explained
    assert "failoverctl status" in explained
    failoverd.machine.run(["/usr/libexec/failoverd/notify", "INSTANCE", "VI_1", "BACKUP", "100"])
    failoverd.wait_for_phase("standby")


def test_the_sandbox_is_tight(failoverd: Service) -> None:
    rated = failoverd.machine.run(["systemd-analyze", "security", "--no-pager", UNIT], within=SOON).stdout
    found = re.search(r"Overall exposure level for failoverd\.service: ([0-9.]+)", rated)
    assert found is not None
    assert float(found[1]) < 5.7, rated


def test_a_removal_keeps_configuration_and_state_and_a_purge_leaves_nothing(failoverd: Service, before: Before) -> None:
    failoverd.become_standby()
    machine = failoverd.machine
    machine.run(["systemctl", "disable", "--quiet", "keepalived.service"])
    machine.run(["dpkg", "--remove", "failoverd"], within=SOON)
    assert machine.run(["systemctl", "is-active", UNIT, "failoverd.socket"], check=False).stdout.split() == [
        *("inactive", "inactive")
    ]
    machine.run(["test", "-s", "/etc/failoverd/failoverd.toml"])
    machine.run(["test", "-s", "/var/lib/failoverd/history.db"])

    machine.run(["dpkg", "--purge", "failoverd"], within=SOON)
    after = look_around(failoverd)
    assert sorted(after.files - before.files) == []
    assert (after.groups, after.users) == (before.groups, before.users)
