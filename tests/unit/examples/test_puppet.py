"""The Puppet class: sound by its tools' word, and applied to a copy of this machine."""

import subprocess

import pytest

from .managed import OPERATOR, Machine
from .sandbox import EXAMPLES, Sandbox

_CLASS = f"""class {{ 'failoverd':
  config            => '/srv/site/files/failoverd.toml',
  keepalived_config => '/srv/site/files/keepalived.conf',
  operators         => ['{OPERATOR}'],
  units             => ['certbot.timer'],
}}
"""

#: `puppet apply --detailed-exitcodes`
_NOTHING_TO_DO, _CHANGED, _FAILED = 0, 2, 4


def test_puppet_takes_it(box: Sandbox) -> None:
    files = [str(file) for file in (EXAMPLES / "puppet").rglob("*.pp")]
    assert len(files) == 2
    assert box.do(["puppet", "parser", "validate", *files]) == ""


def test_puppet_lint_takes_it(box: Sandbox) -> None:
    assert box.do(["puppet-lint", "--fail-on-warnings", str(EXAMPLES / "puppet")]) == ""


@pytest.mark.lab
@pytest.mark.lab
def test_the_site_would_set_up_a_node(box: Sandbox) -> None:
    machine = Machine(box)
    box.do(["cp", "--recursive", str(EXAMPLES / "puppet"), "/srv/puppet"])
    box.do(["cp", "--recursive", "/srv/site", "/srv/puppet/modules/site"])
    site = ["--noop", "--certname=right", "--modulepath=/srv/puppet/modules", "/srv/puppet/site.pp"]
    told = box.do(["puppet", "apply", "--color=false", *site])
    assert "Service[keepalived]/ensure: current_value 'stopped', should be 'running' (noop)" in told
    assert machine.told() == []


@pytest.mark.lab
@pytest.mark.timeout(300)  # five runs
def test_the_class_brings_a_machine_up_keeps_it_reloads_what_changed_and_refuses_what_is_bad(box: Sandbox) -> None:
    machine = _machine(box)
    _apply(machine, _CHANGED)
    assert machine.has_the_files_of_the_site()
    assert machine.may_act()
    # In this order; and the timer, which may be at work, is not stopped.
    started = ["start failoverd", "enable failoverd", "start keepalived", "enable keepalived"]
    assert [word for word in machine.told() if not word.startswith("unmask ")] == ["disable certbot.timer", *started]

    _apply(machine, _NOTHING_TO_DO)
    assert machine.told() == []

    machine.change_both_files()
    _apply(machine, _CHANGED)
    assert machine.told() == ["reload failoverd", "reload keepalived"]
    assert machine.has_the_files_of_the_site()

    for _, installed, complaint in machine.spoil():
        good = box.path(installed).read_text()
        assert complaint in _apply(machine, _FAILED)
        assert box.path(installed).read_text() == good
        assert machine.told() == []


def _machine(box: Sandbox) -> Machine:
    machine = Machine(box)
    box.do(["apt-get", "update"])
    box.write("/srv/site.pp", _CLASS)
    return machine


def _apply(machine: Machine, expected: int) -> str:
    modules = f"--modulepath={EXAMPLES / 'puppet/modules'}"
    done: subprocess.CompletedProcess[str] = machine.box.run(
        ["puppet", "apply", "--detailed-exitcodes", "--color=false", modules, "/srv/site.pp"]
    )
    assert done.returncode == expected, done.stdout
    return done.stdout
