"""The Ansible role: sound by its tools' word, and applied to a copy of this machine."""

import json

import pytest

from .managed import OPERATOR, Machine
from .sandbox import EXAMPLES, Sandbox

_PLAYBOOK = str(EXAMPLES / "ansible/site.yml")
_INVENTORY = "/srv/site/inventory.ini"


def test_ansible_takes_it(box: Sandbox) -> None:
    inventory = str(EXAMPLES / "ansible/inventory.ini")
    box.do(["ansible-playbook", "--syntax-check", f"--inventory={inventory}", _PLAYBOOK])
    told = box.do(["ansible-playbook", "--list-tasks", "--list-hosts", f"--inventory={inventory}", _PLAYBOOK])
    assert {"left", "right"} <= set(told.split())


@pytest.mark.lab  # it takes ten seconds to start
def test_ansible_lint_takes_it(box: Sandbox) -> None:
    assert box.do(["ansible-lint", "--offline", "--strict", "-q", str(EXAMPLES / "ansible")]).strip() == ""


@pytest.mark.lab
@pytest.mark.timeout(300)  # five plays
def test_the_role_brings_a_machine_up_keeps_it_reloads_what_changed_and_refuses_what_is_bad(box: Sandbox) -> None:
    machine = _machine(box)
    assert _changed(_play(machine)) > 0
    assert machine.has_the_files_of_the_site()
    assert machine.may_act()
    # In this order; and the timer, which may be at work, is not stopped.
    started = ["enable failoverd", "start failoverd", "enable keepalived", "start keepalived"]
    assert machine.told() == ["disable certbot.timer", *started]

    assert _changed(_play(machine)) == 0
    assert machine.told() == []

    machine.change_both_files()
    assert _changed(_play(machine)) == 2 + 2  # the files and their handlers
    assert machine.told() == ["reload failoverd", "reload keepalived"]
    assert machine.has_the_files_of_the_site()

    for file, installed, complaint in machine.spoil():
        good = box.path(installed).read_text()
        told = _play(machine)
        assert _failed(told) == 1, file
        assert complaint in told
        assert box.path(installed).read_text() == good
        assert machine.told() == []


def _machine(box: Sandbox) -> Machine:
    machine = Machine(box)
    box.write(_INVENTORY, "[loadbalancer]\nleft ansible_connection=local ansible_python_interpreter=/usr/bin/python3\n")
    return machine


def _play(machine: Machine) -> str:
    """Play the example's own playbook, with the site's files, and return what Ansible says."""
    variables = {
        "failoverd_config": "/srv/site/files/failoverd.toml",
        "failoverd_keepalived_config": "/srv/site/files/keepalived.conf",
        "failoverd_operators": [OPERATOR],
    }
    play = ["ansible-playbook", f"--inventory={_INVENTORY}", f"--extra-vars={json.dumps(variables)}", _PLAYBOOK]
    return machine.box.run(["env", "ANSIBLE_PIPELINING=1", "ANSIBLE_NOCOLOR=1", "ANSIBLE_FORCE_COLOR=0", *play]).stdout


def _failed(told: str) -> int:
    return _recap(told)["failed"]


def _changed(told: str) -> int:
    assert _failed(told) == 0, told
    return _recap(told)["changed"]


def _recap(told: str) -> dict[str, int]:
    """The counts in Ansible's last line, `left : ok=9 changed=0 …`."""
    lines = [line for line in told.splitlines() if line.startswith("left ")]
    assert lines, told
    return {key: int(count) for key, _, count in (word.partition("=") for word in lines[-1].split()[2:])}
