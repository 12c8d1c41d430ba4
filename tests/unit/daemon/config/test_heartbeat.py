"""The table [heartbeat]: what it becomes, and what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from failoverd.core.spec import Heartbeat
from failoverd.daemon import config
from failoverd.daemon.config import ConfigError, Configuration
from failoverd.ports.heartbeat.channel import Address

INSTANCE = """
[instance.VI_1]
vips = ["192.0.2.100/32"]
interface = "eth0"
[instance.VI_1.resource.web]
driver = "unit"
unit = "web.service"
nodes = ["left", "right.example.com"]
[instance.VI_1.resource.log]
driver = "unit"
unit = "log.service"
nodes = ["left"]
[instance.VI_2]
[instance.VI_2.resource.third]
driver = "unit"
unit = "third.service"
[instance.VI_3]
"""
KEY = 'key_file = "/etc/failoverd/heartbeat.key"\n'
THREE = 'addresses = { left = "192.0.2.1", right = "192.0.2.2:6000", third = "192.0.2.3" }\n' + KEY


def load(tmp_path: Path, table: str, node: str = "left.example.com") -> Configuration:
    file = tmp_path / "failoverd.toml"
    file.write_text(f"[heartbeat]\n{table}\n{INSTANCE}" if table else INSTANCE)
    return config.load(file, node)


def test_without_the_table_there_is_none(tmp_path: Path) -> None:
    found = load(tmp_path, "")
    assert (found.heartbeat, found.core.heartbeat) == (None, None)
    assert found.core.instances["VI_1"].others == ()


def test_the_nodes_have_their_addresses(tmp_path: Path) -> None:
    found = load(tmp_path, THREE + 'interval = "500ms"').heartbeat
    assert found is not None
    assert (found.core.node, found.own) == ("left", Address("192.0.2.1", 5409))
    assert found.key_file == "/etc/failoverd/heartbeat.key"
    assert found.peers == {"right": Address("192.0.2.2", 6000), "third": Address("192.0.2.3", 5409)}
    assert found.core == Heartbeat(interval=0.5, node="left", peers=("right", "third"))


@pytest.mark.parametrize("text", ['"10s"', "10", '"100ms"'])
def test_the_longest_and_the_shortest_interval(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, f"{THREE}interval = {text}").heartbeat is not None


@pytest.mark.parametrize("text", ["2001:db8::2", "[2001:db8::2]", "[2001:db8:0::2]:5409"])
def test_an_ipv6_address_may_have_brackets(tmp_path: Path, text: str) -> None:
    found = load(tmp_path, f'addresses = {{ left = "2001:db8::1", "right" = "{text}" }}\n{KEY}').heartbeat
    assert found is not None
    assert found.peers == {"right": Address("2001:db8::2", 5409)}
    assert str(found.peers["right"]) == "[2001:db8::2]:5409"


def test_the_others_of_an_instance_are_those_that_can_carry_it(tmp_path: Path) -> None:
    found = load(tmp_path, THREE).core.instances
    assert {name: instance.others for name, instance in found.items()} == {
        "VI_1": ("right",),
        "VI_2": ("right", "third"),
        "VI_3": (),
    }
    assert {name: each.others for name, each in found["VI_1"].resources.items()} == {"web": ("right",), "log": ()}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (KEY, "heartbeat.addresses: missing; expected a table with 2 entries or more: the address of every node"),
        ('addresses = { left = "192.0.2.1", right = "192.0.2.2" }', "heartbeat.key_file: missing; expected a string"),
        (f'addresses = {{ left = "192.0.2.1" }}\n{KEY}', "heartbeat.addresses: expected a table with 2 entries"),
        (f'addresses = {{ left = "192.0.2.1", right = 7 }}\n{KEY}', "heartbeat.addresses.right: expected a string"),
        (
            f'addresses = {{ left = "192.0.2.1", right = "192.0.2.1:5409" }}\n{KEY}',
            "heartbeat.addresses.right: 192.0.2.1:5409 is also the address of left; expected one of its own",
        ),
        (
            f'addresses = {{ link = "192.0.2.1", right = "192.0.2.2" }}\n{KEY}',
            'this node is missing; expected one address of "left.example.com" beside the others (link, right)',
        ),
        (
            f'addresses = {{ left = "192.0.2.1", "left.example.com" = "192.0.2.2", right = "192.0.2.3" }}\n{KEY}',
            "heartbeat.addresses: left, left.example.com are all this node; expected one address",
        ),
        (
            f'addresses = {{ left = "192.0.2.1", right = "2001:db8::1" }}\n{KEY}',
            "heartbeat.addresses: some are of IPv4 and some of IPv6; expected one of both",
        ),
        (
            f'addresses = {{ left = "192.0.2.100", right = "192.0.2.2" }}\n{KEY}',
            "heartbeat.addresses.left: 192.0.2.100 is a VIP, which moves from node to node; expected an address that",
        ),
        (
            f'addresses = {{ left = "192.0.2.1", right = "192.0.2.100:6000" }}\n{KEY}',
            "heartbeat.addresses.right: 192.0.2.100 is a VIP",
        ),
        (
            f'addresses = {{ left = "127.0.0.1", right = "127.0.0.2" }}\n{KEY}',
            "heartbeat.addresses.left: 127.0.0.1 is every node itself; expected the address at which the others reach",
        ),
        (
            f'addresses = {{ left = "127.0.0.2", right = "192.0.2.2" }}\n{KEY}',
            "heartbeat.addresses.left: 127.0.0.2 is every node itself",
        ),
        (f'addresses = {{ left = "192.0.2.1", right = "right" }}\n{KEY}', '"right" is not an address; expected'),
        (f'addresses = {{ left = "192.0.2.1", right = "[::1" }}\n{KEY}', '"[::1" is not an address; expected'),
        (f'addresses = {{ left = "192.0.2.1", right = "192.0.2.2:0" }}\n{KEY}', "has no valid port; expected"),
        (f'addresses = {{ left = "192.0.2.1", right = "192.0.2.2:70000" }}\n{KEY}', "has no valid port; expected"),
        (f'addresses = {{ left = "192.0.2.1", right = "224.0.0.1" }}\n{KEY}', "is not the address of one node"),
        (f'addresses = {{ left = "192.0.2.1", right = "255.255.255.255" }}\n{KEY}', "is not the address of one node"),
        (f'addresses = {{ left = "fe80::1%eth0", right = "::2" }}\n{KEY}', "is not the address of one node"),
        (
            'addresses = { left = "192.0.2.1", right = "192.0.2.2" }\nkey_file = "heartbeat/key"',
            "heartbeat.key_file: expected an absolute path, or the name of a credential, which has no slash",
        ),
        (
            f'addresses = {{ left = "192.0.2.1", other = "192.0.2.2" }}\n{KEY}',
            "heartbeat.addresses: right.example.com carries resources of VI_1, and has no address; expected one",
        ),
        (THREE + 'interval = "10ms"', "heartbeat.interval: expected a duration"),
        (THREE + 'interval = "1h"', "0.1 s at least, 10 s at most: the time from one datagram to the next"),
        (THREE + "interval = 10.5", "heartbeat.interval: expected a duration"),
        (THREE + "port = 7", "heartbeat.port: unknown key"),
    ],
)
def test_every_problem_names_its_key(tmp_path: Path, table: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, table)
    assert any(problem in each for each in raised.value.problems), raised.value.problems
