"""What a configuration becomes, and what is said of a wrong one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from failoverd.core.spec import Restart, Vip
from failoverd.core.words import Drift, Escalation, OnFailure, OnRefused
from failoverd.daemon import config
from failoverd.daemon.config import ConfigError, addresses, schema
from failoverd.daemon.config.keys import MetricsOptions

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
drift = "report"
check_interval = "5m"
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
    assert any("name" in problem for problem in found)


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
    assert (web.escalation, web.drift, web.check_interval) == (Escalation.REBOOT, Drift.REPORT, 300.0)
    prefix = loaded.core.instances["VI_1"].resources["prefix"]
    assert prefix.options.owns == ("the constant failover_metric in /etc/bird/failoverd.conf",)
    assert "a name.with spaces" in loaded.core.instances


def test_a_file_that_follows_nothing_yet_is_good(file: Path) -> None:
    file.write_text("")
    assert not config.load(file).core.instances


def test_a_node_carries_what_names_it(file: Path) -> None:
    file.write_text(GOOD)
    spec = config.load(file, "center").core.instances["VI_1"]
    assert set(spec.resources) == {"prefix"}
    assert spec.elsewhere == {"web": ("left", "right")}


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
        ('[node]\ncheck_interval = "1ms"\n' + instance(""), "10 s at least: the interval"),
        (instance("vip_timeout = nan"), 'expected a duration, like 90, "90s" or "5m"'),
        ("[instance.VI_1]\nresource = 5", "instance.VI_1.resource: expected a table"),
        ("[instance]\nVI_1 = 3", "instance.VI_1: expected a table"),
        (
            '[[quorum]]\nwitnesses = ["icmp://a"]\n' + instance(""),
            "quorum: [[quorum]] begins a list of tables; expected one table: write [quorum] once",
        ),
        ("[[node]]\n[[node]]\n" + instance(""), "expected one table: write [node] once"),
        (
            "[[instance.VI_1]]",
            "instance.VI_1: [[instance.VI_1]] begins a list of tables; expected one table: write [inst",
        ),
        ("[[instance]]", "expected one table: write [instance.NAME] once"),
        ('[[fence.right]]\nagent = "fence_x"\n' + instance(""), "expected one table: write [fence.right] once"),
        ("[[peers]]", "expected one table: write [peers] once"),
        (instance('vips = ["192.0.2.1"]'), '"192.0.2.1" has no interface; expected `interface ='),
        (instance('vips = ["192.0.2.300 dev eth0"]'), '"192.0.2.300 dev eth0" is not an address; expected "ADDRESS'),
        (instance('interface = "a"\nvips = ["::1", "0::1/128"]'), '"0::1/128" is listed twice; expected once'),
        (instance('vips = ["::1 dev a", "::1/64 dev a"]'), '"::1/64 dev a" is listed twice; expected once'),
        (instance('vips = ["fe80::1%eth0/64"]'), 'does not support a zone; expected "fe80::1/64 dev eth0"'),
        (instance('vips = ["0.0.0.0/0 dev eth0"]'), "is not a unicast address"),
        (instance('vips = ["224.0.0.18 dev eth0"]'), "is not a unicast address"),
        (instance('vips = [""]'), '"" is not an address'),
        (instance('vips = ["192.0.2.1 dev"]'), "`dev` needs a value"),
        (instance('vips = ["192.0.2.1 on eth0"]'), "`on` is an unknown keyword"),
        (instance('vips = ["192.0.2.1 dev eth0 use_vmac"]'), 'expected "… dev vrrp.51", as `ip address` shows it'),
        (
            instance('vips = ["192.0.2.1 dev eth0.10@eth0"]'),
            'the part from the @ on is the parent interface; expected "eth0.10"',
        ),
        (instance('interface = "eth0.10@eth0"'), 'VI_1.interface: "eth0.10@eth0" is not a name'),
        (instance('interface = "eth0:vip"'), 'is the label of an address; expected the interface "eth0"'),
        (instance('interface = "abcdefghijklmnop"'), "has 16 bytes; expected at most 15"),
        (instance('interface = "a b"'), 'no interface can have the name "a b"'),
        (instance('interface = ".."'), 'no interface can have the name ".."'),
        (
            resource('driver = "quagga"\nmode = "metric"\nactive = 1\nstandby = 2\ninterfaces = ["eth0:1"]'),
            'a.interfaces.0: "eth0:1" is the label of an address',
        ),
        (
            "[instance.eth0.10]",
            'instance.eth0.10: unknown table; quote a name that has a dot: [instance."eth0.10"]',
        ),
        (
            '[instance.VI_1.resource.a.disk]\ndriver = "unit"\nunit = "a.service"',
            'quote a name that has a dot: [instance.VI_1.resource."a.disk"]',
        ),
        (
            '[instance.VI_1.resources.a]\ndriver = "unit"\nunit = "a.service"',
            'instance.VI_1.resources: unknown table; did you mean "resource"?',
        ),
        (
            '[instance.VI_1.resource.a]\ndriver = "unit"\nunit = "a.service"\nrestarts = { max = 3, within = "10m" }',
            'VI_1.resource.a.restarts: unknown table; did you mean "restart"?',
        ),
        (instance('interfaces = "eth0"'), 'instance.VI_1.interfaces: unknown key; did you mean "interface"?'),
        (instance("vips = 3"), "instance.VI_1.vips: expected a list of strings: its virtual addresses"),
        (resource('unit = "a.service"'), "instance.VI_1.resource.a.driver: missing; expected a string: the driver"),
        (resource('driver = "bidr"'), 'no driver "bidr"; did you mean "bird"? expected one of: b'),
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
        (resource('driver = "unit"\nunit = "a.service"\nneeds = ["a"]'), "circular needs: a needs a"),
        (
            resource('driver = "unit"\nunit = "a.service"\nneeds = ["b"]')
            + resource('driver = "unit"\nunit = "b.service"\nnodes = ["left"]', "b"),
            '"b" is only on left; expected it on every node that carries "a"',
        ),
    ],
)
def test_every_error_names_the_key_and_what_is_expected(file: Path, text: str, expected: str) -> None:
    assert any(expected in problem for problem in errors(file, text)), errors(file, text)


@pytest.mark.parametrize(
    "others", ['retries = "two"', "driver = 3", 'driver = "bidr"', 'driver = "unit"', "nodes = 3\nneeds = 3"]
)
def test_what_is_wrong_with_needs_is_said_beside_whatever_else_is_wrong(file: Path, others: str) -> None:
    good = 'driver = "unit"\nunit = "{}.service"\n'
    tables = resource(others, "a")
    tables += resource(good.format("b") + 'needs = ["a", "x"]', "b")
    tables += resource(good.format("c") + 'nodes = ["left"]', "c")
    tables += resource(good.format("d") + 'needs = ["c", "d"]', "d")
    found = errors(file, tables)
    assert any('b.needs: there is no resource "x"' in problem for problem in found)
    assert any('d.needs: "c" is only on left' in problem for problem in found)
    assert any("circular needs: d needs d" in problem for problem in found)
    assert not any('"a"' in problem for problem in found)


def test_wrong_keys_hide_neither_vips_nor_what_a_driver_says_of_its_own(file: Path) -> None:
    bird = 'driver = "bird"\nsymbol = "m"\nactive = 1\nstandby = 1\ntimeout = "soon"'
    found = errors(file, '[instance.VI_1]\nvip_timeout = "soon"\nvips = ["192.0.2.300 dev eth0"]\n' + resource(bird))
    assert len(found) == 4
    assert any('"192.0.2.300 dev eth0" is not an address' in problem for problem in found)
    assert any("active" in problem and "standby" in problem for problem in found)


def test_a_vip_has_the_words_of_keepalived_conf(file: Path) -> None:
    lines = [
        "192.0.2.1/24 brd 192.0.2.255 scope global dev vlan10 label vlan10:1 home",
        "fe80::1/64 dev vlan10 -nodad",
        "fe80::1/64 dev vlan20 noprefixroute preferred_lft forever",
        "192.0.2.2 peer 192.0.2.3",
    ]
    file.write_text(instance(f'interface = "eth0"\nvips = {lines}'))
    assert config.load(file).core.instances["VI_1"].vips == (
        Vip(address="192.0.2.1/24", interface="vlan10"),
        Vip(address="fe80::1/64", interface="vlan10"),
        Vip(address="fe80::1/64", interface="vlan20"),
        Vip(address="192.0.2.2", interface="eth0"),
    )


def test_a_byte_order_mark_changes_nothing(file: Path) -> None:
    file.write_text("\ufeff" + GOOD)
    assert config.load(file).node == "left"


@pytest.mark.parametrize(("node", "carried"), [("left", {"a"}), ("left.example.net", {"a", "b"}), ("right", set())])
def test_a_node_is_named_with_or_without_its_domain(file: Path, node: str, carried: set[str]) -> None:
    tables = resource('driver = "unit"\nunit = "a.service"\nnodes = ["left"]')
    tables += resource('driver = "unit"\nunit = "b.service"\nneeds = ["a"]\nnodes = ["left.example.net"]', "b")
    file.write_text(tables)
    assert config.load(file, node).core.instances["VI_1"].resources.keys() == carried
    same = resource('driver = "unit"\nunit = "a.service"\nnodes = ["left.example.net"]', "c")
    assert "changes the unit a.service" in errors(file, tables + same)[0]
    (problem,) = errors(
        file, tables + resource('driver = "unit"\nunit = "d.service"\nneeds = ["b"]\nnodes = ["left"]', "d")
    )
    assert '"b" is only on left.example.net' in problem


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
    os.mkfifo(tmp_path / "fifo.toml")
    for path in (tmp_path, tmp_path / "fifo.toml", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="cannot be read: it is not a regular file"):
            config.load(path)


@pytest.mark.parametrize(
    ("text", "value"), [(3, 3.0), ("90s", 90.0), ("500ms", 0.5), ("5m", 300.0), ("1h", 3600.0), ("1.5s", 1.5)]
)
def test_durations(text: str | float, value: float) -> None:
    assert schema.seconds(text) == value


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1 s", "s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
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
        "tables or lists nested more than 32 deep; expected at most 6",
    ]


def test_what_is_nested_within_reason_is_named(file: Path) -> None:
    (problem,) = errors(file, f"a = {'[' * 20}{']' * 20}\n")
    assert problem.startswith("a: unknown key")


PEERS = """
[peers]
left = "root@192.0.2.1"
right = ["ssh", "-p", "2222", "root@right"]
center = "center.example.net"
"""


@pytest.mark.parametrize("node", ["left", "left.example.net"])
def test_the_peers_are_all_nodes_but_this_one(file: Path, node: str) -> None:
    file.write_text(PEERS)
    peers = {"right": ("ssh", "-p", "2222", "root@right"), "center": "center.example.net"}
    assert config.load(file, node).peers == peers
    assert set(config.load(file, "leftover").peers) == {"left", "right", "center"}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('""', 'found ""'),
        ("7", "found 7"),
        ("[]", "found []"),
        ('["ssh", 1]', "found "),
        ('["ssh", ""]', "found "),
        ('"-oProxyCommand=reboot"', 'found "-oProxyCommand=reboot"'),
        (r'"right\n"', "found "),
        ('"ssh -p 22 right"', 'an address has no space; expected ["ssh", "-p", "22", "right"]'),
    ],
)
def test_a_peer_that_is_no_address_and_no_command_is_an_error(file: Path, value: str, found: str) -> None:
    (problem,) = errors(file, f"[peers]\nright = {value}")
    assert problem.startswith("peers.right: ")
    assert found in problem


@pytest.mark.parametrize(
    ("text", "problem"), [("peers = 1", "peers: expected a table"), ("[peers]\n'a\"' = 'b'", "peers.")]
)
def test_peers_are_a_table_of_nodes(file: Path, text: str, problem: str) -> None:
    assert errors(file, text)[0].startswith(problem)


def test_the_digest_is_that_of_all_that_is_the_same_on_every_node(file: Path) -> None:
    def digest(text: str) -> str:
        file.write_text(text)
        return config.load(file).digest

    first = digest(GOOD)
    assert first == digest("# a comment\n" + GOOD.replace('name = "left"', 'name = "right"'))
    assert first == digest(GOOD.replace('[node]\nname = "left"\n', ""))
    assert first != digest(GOOD.replace("active = 100", "active = 101"))
    (file.parent / "conf.d").mkdir()
    (file.parent / "conf.d" / "more.toml").write_text("[node]\nparallel = 4\n")
    assert first != digest(GOOD)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("0.0.0.0:9705", "is not on the loopback interface, and anybody who reaches it could read"),
        ("192.0.2.1:9705", "is not on the loopback interface"),
        ("[2001:db8::1]:9705", "is not on the loopback interface"),
        ("localhost:9705", "is not an address with a port"),
        ("127.0.0.1", "is not an address with a port"),
        (":9705", "is not an address with a port"),
        ("9705", "is not an address with a port"),
        ("127.0.0.1:0", "has no valid port"),
        ("127.0.0.1:65536", "has no valid port"),
        ("127.0.0.1:http", "has no valid port"),
        ("127.0.0.1:-1", "has no valid port"),
        ("127.0.0.1:²", "has no valid port"),
    ],
)
def test_metrics_are_on_a_loopback_address_only(file: Path, value: str, found: str) -> None:
    (problem,) = errors(file, f'[metrics]\nlisten = "{value}"')
    assert problem.startswith(f'metrics.listen: "{value}" {found}')
    assert problem.endswith('such as "127.0.0.1:9705" or "[::1]:9705"')


@pytest.mark.parametrize("value", ["failoverd.prom", "/var/lib/failoverd.txt", "/var/lib/.prom", ""])
def test_the_file_of_metrics_is_one_that_node_exporter_reads(file: Path, value: str) -> None:
    (problem,) = errors(file, f'[metrics]\nfile = "{value}"')
    assert "reads names that end with .prom" in problem


def test_metrics_are_off_without_their_table(file: Path) -> None:
    file.write_text(GOOD)
    assert config.load(file).metrics == MetricsOptions()
    file.write_text(f'{GOOD}\n[metrics]\nlisten = "[::1]:9705"\n')
    assert config.load(file).metrics == MetricsOptions(listen="[::1]:9705")
    assert addresses.loopback("[::1]:9705") == ("::1", 9705)
    assert addresses.loopback("127.0.0.2:1") == ("127.0.0.2", 1)
