"""The printed keepalived.conf: a real keepalived accepts it, and the doctor finds nothing wrong in it."""

import re
from collections.abc import Callable

import pytest

from tests.unit.examples import uses

from .ward import FAILOVERCTL, Ward

_ODD = """\
[keepalived]
script_user = "nobody"
[instance."VI one"]
vips = ["203.0.113.10/24 dev eth0", "2001:db8::10/64 dev eth0"]
[instance.G]
vips = ["203.0.113.11/32 dev eth0", "203.0.113.12/32 dev eth0", "203.0.113.13/32 dev eth0"]
members = ["a b", "c"]
preempt = false
"""


@pytest.mark.parametrize("use", uses.USES)
def test_it_is_a_correct_keepalived_conf_for_each_example(wards: Callable[[str], Ward], use: str) -> None:
    node = wards(use)
    with node.changed("keepalived.conf", "", node.box.do([FAILOVERCTL, "keepalived-config"])):
        assert node.findings() == []


def test_it_names_the_node_for_which_keepalived_would_ask_dns_otherwise(wards: Callable[[str], Ward]) -> None:
    assert "\n    router_id left\n" in wards("loadbalancer").box.do([FAILOVERCTL, "keepalived-config"])


def test_it_is_one_for_groups_and_names_with_spaces(wards: Callable[[str], Ward]) -> None:
    node = wards("loadbalancer")
    with node.changed("failoverd.toml", "", _ODD):
        text = node.box.do([FAILOVERCTL, "keepalived-config"])
        with node.changed("keepalived.conf", "", text):
            assert node.findings() == []
    assert text.count("nopreempt\n") == 2
    assert text.count("virtual_router_id") == len(set(re.findall(r"virtual_router_id (\d+)", text))) == 3
