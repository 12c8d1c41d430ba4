"""The table [quorum]: what it becomes, and what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from failoverd.core.spec import Quorum
from failoverd.daemon import config
from failoverd.daemon.config import ConfigError, quorum

INSTANCE = '[instance.VI_1]\nvips = ["192.0.2.1/32"]\ninterface = "eth0"\n'


def read(tmp_path: Path, table: str) -> Quorum | None:
    file = tmp_path / "failoverd.toml"
    file.write_text(f"[quorum]\n{table}\n{INSTANCE}" if table else INSTANCE)
    return config.load(file, "left").core.quorum


def test_without_the_table_there_is_none(tmp_path: Path) -> None:
    assert read(tmp_path, "") is None


def test_the_witnesses_that_grant_leases_are_not_counted(tmp_path: Path) -> None:
    found = read(tmp_path, 'witnesses = ["icmp://192.0.2.4", "etcd://192.0.2.2:2379", "tcp://192.0.2.3:22"]')
    assert found == Quorum(
        witnesses=("icmp://192.0.2.4", "tcp://192.0.2.3:22"), leases=("etcd://192.0.2.2:2379",), need=2
    )


@pytest.mark.parametrize(("number", "need"), [(1, 1), (2, 2), (3, 2), (4, 3)])
def test_more_than_half_are_needed(tmp_path: Path, number: int, need: int) -> None:
    found = read(tmp_path, f"witnesses = {[f'icmp://192.0.2.{n + 2}' for n in range(number)]}")
    assert found is not None
    assert found.need == need


def test_a_lease_alone_is_enough(tmp_path: Path) -> None:
    found = read(tmp_path, 'witnesses = ["etcd://192.0.2.2:2379"]')
    assert found is not None
    assert found.need == 0


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("", "quorum.witnesses: missing; expected"),
        ("witnesses = []", "quorum.witnesses: expected"),
        ('witnesses = ["192.0.2.1"]', 'quorum.witnesses: "192.0.2.1" is not the URL of a witness; expected one of'),
        ('witnesses = ["tcp://192.0.2.1"]', 'quorum.witnesses: "tcp://192.0.2.1" has no port; expected'),
        ('witnesses = ["icmp://a", "icmp://a"]', 'quorum.witnesses: "icmp://a" is listed twice; expected once'),
        (
            'witnesses = ["icmp://a", "icmp://A."]',
            'quorum.witnesses: "icmp://A." is the same as "icmp://a"',
        ),
        (
            'witnesses = ["http://a/x", "http://a:80/x/"]',
            'quorum.witnesses: "http://a:80/x/" is the same as "http://a/x"; expected once',
        ),
        (
            'witnesses = ["icmp://[2001:db8::1]", "icmp://[2001:DB8:0::1]"]',
            'quorum.witnesses: "icmp://[2001:DB8:0::1]" is the same as "icmp://[2001:db8::1]"',
        ),
        (
            'witnesses = ["exec:///bin/a", "exec:///bin/../bin/a"]',
            'quorum.witnesses: "exec:///bin/../bin/a" is the same as "exec:///bin/a"',
        ),
        (
            'witnesses = ["etcd://a:1,b:1/x", "etcd://b:1,a:1/y"]',
            'quorum.witnesses: "etcd://a:1,b:1/x" and "etcd://b:1,a:1/y" grant leases; expected one: two nodes could',
        ),
        ('witnesses = ["icmp://127.0.0.2"]', 'quorum.witnesses: "icmp://127.0.0.2": 127.0.0.2 is this machine'),
        ('witnesses = ["tcp://LOCALHOST:1"]', 'quorum.witnesses: "tcp://LOCALHOST:1": LOCALHOST is this machine'),
        ('witnesses = ["tcp://[::1]:1"]', 'quorum.witnesses: "tcp://[::1]:1": ::1 is this machine'),
        (
            'witnesses = ["etcd://a:1,[::ffff:127.0.0.1]:1"]',
            'quorum.witnesses: "etcd://a:1,[::ffff:',
        ),
        (
            'witnesses = ["tcp://192.0.2.1:22"]',
            'quorum.witnesses: "tcp://192.0.2.1:22": 192.0.2.1 is a VIP',
        ),
        ('witnesses = ["icmp://a"]\nneed = 2', "quorum.need: expected at most the number of witnesses"),
        ('witnesses = ["etcd://a:1"]\nneed = 1', "quorum.need: expected at most the number of witnesses"),
        ('witnesses = ["icmp://a"]\nneed = 0', "quorum.need: expected"),
        (
            'witnesses = ["icmp://a"]\nwatchdog_timeout = "60s"',
            'quorum.watchdog_timeout: expected `watchdog` beside it, such as "/dev/watchdog"',
        ),
        ('witnesses = ["icmp://a"]\nneeds = 1', "quorum.needs: unknown key; did you mean"),
        (
            'witnesses = ["icmp://a"]\ntimeout = "2.6s"',
            "quorum.isolation_timeout: expected at least four times `timeout`",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(tmp_path: Path, table: str, problem: str) -> None:
    file = tmp_path / "failoverd.toml"
    file.write_text(f"[quorum]\n{table}\n{INSTANCE}")
    with pytest.raises(ConfigError) as error:
        config.load(file, "left")
    assert any(each.startswith(f"{file}: {problem}") for each in error.value.problems), error.value.problems


RESOURCE = '[instance.VI_1.resource.a]\ndriver = "exec"\nactivate = ["a"]\ndeactivate = ["a"]\n'
#: isolation_timeout, the timeout of the resource, its stop with the forced one, and watchdog_timeout.
RESET_BY_S = 10 + 30 + 40 + 15


@pytest.mark.parametrize(("witness", "keys", "wait"), [("icmp://a", "", RESET_BY_S), ("etcd://a:1", "", 0)])
def test_that_nobody_waits_for_the_watchdog_is_said(tmp_path: Path, witness: str, keys: str, wait: float) -> None:
    file = tmp_path / "failoverd.toml"
    file.write_text(f'[quorum]\nwitnesses = ["{witness}"]\nwatchdog = "/dev/watchdog"\n{keys}{INSTANCE}{RESOURCE}')
    core = config.load(file, "left").core
    assert quorum.unheeded(core.quorum, core.instances.values()) == wait


@pytest.mark.parametrize(("need", "problem"), [(1, "need: expected at least 2: 192.0.2.11 is a node"), (2, None)])
def test_that_a_node_answers_itself_is_not_enough(tmp_path: Path, need: int, problem: str | None) -> None:
    file = tmp_path / "failoverd.toml"
    addresses = '[heartbeat]\nkey_file = "key"\n[heartbeat.addresses]\nleft = "192.0.2.11"\nright = "192.0.2.12"\n'
    witnesses = (
        f'[quorum]\nwitnesses = ["icmp://192.0.2.11", "icmp://192.0.2.12", "icmp://192.0.2.13"]\nneed = {need}\n'
    )
    file.write_text(f"{witnesses}{addresses}{INSTANCE}")
    if problem is None:
        config.load(file, "left")
    else:
        with pytest.raises(ConfigError, match=problem):
            config.load(file, "left")
