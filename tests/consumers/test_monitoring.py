"""The snippets for monitoring systems: each is taken by its program's own checker, and its command is one of ours."""

import re
import shlex

import pytest

from failoverd.ctl import command_line
from tests.unit.examples.sandbox import EXAMPLES, Sandbox

MONITORING = EXAMPLES / "monitoring"

_MONITRC = "set daemon 30\nset logfile /var/log/monit.log\ninclude /etc/monit/conf.d/*\n"
_NAGIOS_HOST = """
define host {
    use             generic-host
    host_name       left
    address         198.51.100.1
    check_command   check-host-alive
    max_check_attempts 3
    contact_groups  admins
}
define hostgroup {
    hostgroup_name  failoverd
    members         left
}
"""
_ICINGA_HOST = """
include <itl>
include "/etc/icinga2/failoverd.conf"
object Host "left" {
  check_command = "dummy"
  vars.failoverd = true
  vars.failoverd_instance = "VI_1"
}
"""


@pytest.fixture(name="box")
def _with_failoverctl(box: Sandbox) -> Sandbox:
    box.write("/usr/bin/failoverctl", "#!/bin/sh\nexit 0\n", mode=0o755)  # monit looks whether the program is there
    return box


def text(name: str) -> str:
    return (MONITORING / name).read_text()


def test_monit_takes_it(box: Sandbox) -> None:
    box.write("/etc/monit/monitrc", _MONITRC, mode=0o600)
    box.write("/etc/monit/conf.d/failoverd", text("monit"))
    box.write("/root/.monit.id", "0" * 32)
    assert box.do(["monit", "-t", "-c", "/etc/monit/monitrc"]) == "Control file syntax OK\n"


def test_nagios_takes_it(box: Sandbox) -> None:
    box.write("/etc/nagios4/objects/localhost.cfg", "")  # Debian's example of a host and its services
    box.write("/etc/nagios4/conf.d/failoverd.cfg", text("nagios.cfg") + _NAGIOS_HOST)
    told = box.do(["nagios4", "-v", "/etc/nagios4/nagios.cfg"])
    assert "Total Warnings: 0\nTotal Errors:   0" in told, told
    assert "Checked 1 services" in told


def test_icinga_takes_it(box: Sandbox) -> None:
    box.write("/etc/icinga2/failoverd.conf", text("icinga2.conf"))
    box.write("/etc/icinga2/test.conf", _ICINGA_HOST)
    told = box.do(["icinga2", "daemon", "--validate", "--config", "/etc/icinga2/test.conf"])
    assert "Instantiated 1 Service." in told
    assert "warning" not in told


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("monit", r'with path "/usr/bin/failoverctl ([^"]*)"'),
        ("nagios.cfg", r"^#   command\[check_failoverd\]=/usr/bin/failoverctl (.*)$"),
        ("icinga2.conf", r'command = \[ "/usr/bin/failoverctl", "([^"]*)" \]'),
    ],
)
def test_its_command_is_understood(name: str, pattern: str) -> None:
    (arguments,) = re.findall(pattern, text(name), re.MULTILINE)
    command_line.parser().parse_args([*shlex.split(arguments), "VI_1"])
