"""What a configuration becomes, and what is said of a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from failoverd.core.spec import Restart, Vip
from failoverd.core.words import Escalation, OnFailure, OnRefused
from failoverd.daemon import config, schema
from failoverd.daemon.config import ConfigError

GOOD = """
[node]
name = "left"

[instance.VI_1]
vips = ["80.67.181.1/32", "2001:db8::1/64 dev vlan10"]
interface = "br-public"

[instance.VI_1.resource.web]
driver = "unit"
unit = "web.service"
needs = ["prefix"]
nodes = ["left", "right"]
on_failure = "continue"
on_refused = "release"
restart = { max = 3, within = "10m" }
escalation = "reboot"
stop_timeout = "1.5m"

[instance.VI_1.resource.prefix]
driver = "bird"
symbol = "failover_metric"
active = 100
standby = 300

[instance."a name.with spaces".resource.ospf]
driver = "quagga"
unit = "frr.service"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "failoverd.toml"


def errors(file: Path, text: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    return [problem.removeprefix(f"{file}: ") for problem in caught.value.problems]


@pytest.mark.parametrize("name", ["x" * 81, "é" * 41, "", ".hidden", " VI", "VI ", "a\\tb", "a\\nb", 'a\\"b', "50%"])
@pytest.mark.parametrize("table", ['instance."{}"', 'instance.VI_1.resource."{}"'])
def test_a_name_must_be_one_for_files_lines_and_people(file: Path, table: str, name: str) -> None:
    found = errors(file, f"[{table.format(name)}]\n")
    assert found
    assert all("expected" in problem for problem in found)
    assert any("name of" in problem for problem in found)


@pytest.mark.parametrize("name", ["x" * 80, "é" * 40, "my group.1", "VI/1", "a:b@c+d", "Köln"])
def test_a_name_may_have_much_that_keepalived_takes(file: Path, name: str) -> None:
    file.write_text(f'[instance."{name}".resource."{name}"]\ndriver = "unit"\nunit = "a.service"\n')
    assert list(config.load(file).core.instances) == [name]


def instance(body: str) -> str:
    return f'[instance.VI_1]\n{body}\n[instance.VI_1.resource.a]\ndriver = "unit"\nunit = "a.service"\n'


def resource(body: str, name: str = "a") -> str:
    return f"[instance.VI_1.resource.{name}]\n{body}\n"


def test_a_good_file(file: Path) -> None:
    file.write_text(GOOD)
    loaded = config.load(file)
    assert loaded.node == "left"
    spec = loaded.core.instances["VI_1"]
    assert spec.vips == (
        Vip(address="80.67.181.1/32", interface="br-public"),
        Vip(address="2001:db8::1/64", interface="vlan10"),
    )
    web = spec.resources["web"]
    assert web.needs == {"prefix"}
    assert web.stop_timeout == 90.0
    assert web.on_failure is OnFailure.CONTINUE
    assert web.on_refused is OnRefused.RELEASE
    assert web.restart == Restart(max=3, within=600.0)
    assert web.escalation is Escalation.REBOOT
    prefix = loaded.core.instances["VI_1"].resources["prefix"]
    assert prefix.options.owns == ("the constant failover_metric in /etc/bird/failoverd.conf",)
    assert "a name.with spaces" in loaded.core.instances


def test_a_file_that_follows_nothing_yet_is_good(file: Path) -> None:
    file.write_text("")
    assert not config.load(file).core.instances


def test_a_node_carries_what_names_it(file: Path) -> None:
    file.write_text(GOOD)
    assert set(config.load(file, "center").core.instances["VI_1"].resources) == {"prefix"}


def test_conf_d_is_read_too(file: Path) -> None:
    file.write_text(GOOD)
    more = file.parent / "conf.d" / "more.toml"
    more.parent.mkdir()
    more.write_text('[instance.VI_1.resource.x]\ndriver = "unit"\nunit = "x.service"\n')
    assert "x" in config.load(file).core.instances["VI_1"].resources
    more.write_text('[instance.VI_1]\ninterface = "eth0"\n[instance.VI_1.resource.x]\ndriver = "units"\n')
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    assert caught.value.problems[0] == (
        f"{more}: instance.VI_1.interface: is also set in {file}; expected in one file only"
    )
    assert caught.value.problems[1].startswith(f'{more}: instance.VI_1.resource.x.driver: no driver "units"; did you')


def test_all_errors_at_once(file: Path) -> None:
    text = 'node = 3\n[instnace.VI_1]\n[instance.VI_1]\nvip_timeout = "soon"\n' + resource(
        'driver = "bird"\nactive = "x"'
    )
    found = errors(file, text)
    assert len(found) == 6
    assert found[0].startswith("instnace: unknown key; did you mean")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[instance", "not valid TOML"),
        ("[node]\nparallel = 0\n" + instance(""), "node.parallel: expected an integer (1 or more): how many"),
        ("[node]\ncheck_interval = 1\n" + instance(""), 'expected a duration, like 90, "90s" or "5m", 10 s at least'),
        ('[node]\ncheck_interval = "1ms"\n' + instance(""), "10 s at least: how often"),
        (instance("vip_timeout = nan"), 'expected a duration, like 90, "90s" or "5m"'),
        ("[instance.VI_1]\nresource = 5", "instance.VI_1.resource: expected a table"),
        ("[instance]\nVI_1 = 3", "instance.VI_1: expected a table"),
        (instance('vips = ["192.0.2.1"]'), '"192.0.2.1" names no interface; expected `interface ='),
        (instance('vips = ["192.0.2.300 dev eth0"]'), '"192.0.2.300 dev eth0" is not an address; expected "ADDRESS'),
        (instance('interface = "a"\nvips = ["::1", "0::1/128"]'), '"0::1/128" is there twice; expected once'),
        (instance('interfaces = "eth0"'), 'instance.VI_1.interfaces: unknown key; did you mean "interface"?'),
        (instance("vips = 3"), "instance.VI_1.vips: expected a list of strings: its virtual addresses"),
        (resource('unit = "a.service"'), "instance.VI_1.resource.a.driver: missing; expected a string: the driver"),
        (resource('driver = "bidr"'), 'no driver "bidr"; did you mean "bird"? expected one of: bird, drbd, exec'),
        (resource('driver = "unit"'), "instance.VI_1.resource.a.unit: missing; expected a string"),
        (resource('driver = "unit"\nunit = "a.service"\nretry = 1'), 'a.retry: unknown key; did you mean "retries"?'),
        (resource('driver = "unit"\nunit = "a.service"\ntimeout = "9 min"'), 'found "9 min"'),
        (resource('driver = "unit"\nunit = "a.service"\non_failure = "go"'), 'expected one of "continue", "release"'),
        (
            resource('driver = "unit"\nunit = "a.service"\nrestart = { max = 3 }'),
            "a.restart.within: missing; expected a duration",
        ),
        (
            resource('driver = "unit"\nunit = "a.service"\nrestart = { max = 3, within = nan }'),
            "a.restart.within: expected a duration",
        ),
        (
            resource('driver = "unit"\nunit = "a.service"\nrestart = { max = 3, whitin = "1m" }'),
            'a.restart.whitin: unknown key; did you mean "within"?',
        ),
        (resource('driver = "unit"\nunit = "a.service"\nrestart = 3'), "a.restart: expected a table"),
        (
            resource('driver = "unit"\nunit = "a.service"\nneeds = ["b"]'),
            'there is no resource "b"; expected one of: a',
        ),
        (resource('driver = "unit"\nunit = "a.service"\nneeds = ["a"]'), "a circle: a needs a; expected none"),
        (
            resource('driver = "unit"\nunit = "a.service"\nneeds = ["b"]')
            + resource('driver = "unit"\nunit = "b.service"\nnodes = ["left"]', "b"),
            '"b" is only on left; expected it on every node that carries "a"',
        ),
    ],
)
def test_every_error_names_the_key_and_what_is_expected(file: Path, text: str, expected: str) -> None:
    assert any(expected in problem for problem in errors(file, text)), errors(file, text)


def test_two_resources_may_not_change_the_same_thing_on_one_node(file: Path) -> None:
    left = resource('driver = "unit"\nunit = "frr.service"\nnodes = ["left"]')
    again = '[instance.VI_2.resource.b]\ndriver = "quagga"\nnodes = {}\n'
    expected = "instance.VI_2.resource.b: changes the unit frr.service, as instance.VI_1.resource.a does"
    assert expected in errors(file, left + again.format('["left", "right"]'))[0]
    file.write_text(left + again.format('["right"]'))
    config.load(file, "left")


def test_two_resources_may_not_change_one_of_many_things(file: Path) -> None:
    cost = 'driver = "quagga"\nmode = "metric"\nactive = 10\nstandby = 100\ninterfaces = {}\n'
    both = cost.format('["eth0", "eth1"]') + "[instance.VI_1.resource.b]\n" + cost.format('["eth1"]')
    (problem,) = errors(file, resource(both))
    assert "changes the OSPF cost of eth1, as instance.VI_1.resource.a does" in problem


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        config.load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("text", "value"), [(3, 3.0), ("90s", 90.0), ("500ms", 0.5), ("5m", 300.0), ("1h", 3600.0), ("1.5s", 1.5)]
)
def test_durations(text: str | float, value: float) -> None:
    assert schema.seconds(text) == value


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1 s", "s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        schema.seconds(text)


@pytest.mark.parametrize("depth", [40, 400, 3000])
@pytest.mark.parametrize(
    "text",
    [
        lambda depth: f"a = {'[' * depth}{']' * depth}\n",
        lambda depth: f"a = {'{ a = ' * depth}1{' }' * depth}\n",
        lambda depth: f"{'.'.join(['a'] * depth)} = 1\n",
        lambda depth: f"[{'.'.join(['a'] * depth)}]\n",
    ],
    ids=["lists", "tables", "a key", "a heading"],
)
def test_nothing_can_be_nested_without_end(file: Path, text: Callable[[int], str], depth: int) -> None:
    assert errors(file, text(depth)) == [
        "more than 32 tables or lists within each other; expected at most six",
    ]


def test_what_is_nested_within_reason_is_named(file: Path) -> None:
    (problem,) = errors(file, f"a = {'[' * 20}{']' * 20}\n")
    assert problem.startswith("a: unknown key")
