"""The first failoverd.toml: on a node of each example it is nearly the example's own, and overwrites nothing."""

import json
import os
import re
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.examples import uses

from .ward import FAILOVERCTL, Ward

Wards = Callable[[str], Ward]

_CONFIG = "/etc/failoverd/failoverd.toml"
#: What nobody could guess: the wishes of an operator.
_WISHES = {"on_failure", "on_refused", "restart", "stop_timeout", "interface", "vips", "active", "needs"}


def _written(node: Ward, file: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(node.box.path(file).read_text())["instance"]
    return found


def _certain(instance: dict[str, Any]) -> dict[str, Any]:
    """What an instance or a resource has, without wishes."""
    return {key: value for key, value in instance.items() if key not in _WISHES}


@pytest.mark.parametrize("use", uses.USES)
def test_it_finds_what_the_example_has(wards: Wards, use: str) -> None:
    node, file = wards(use), "/tmp/first/failoverd.toml"
    node.box.do(["mkdir", "-p", "/tmp/first"])
    told = node.box.run([FAILOVERCTL, "init", file]).stdout
    if use == "hosting":  # no program can know a witness
        findings = json.loads(node.box.run([FAILOVERCTL, "doctor", "--json", file]).stdout)["findings"]
        assert [each["code"] for each in findings] == ["drbd-no-witness"]
        written = node.box.path(file)
        written.write_text(re.sub(r"^# (?=\[quorum\]|witnesses)", "", written.read_text(), flags=re.MULTILINE))
        told = "doctor has no findings; next: systemctl reload failoverd"
    assert told.splitlines()[-1] == "doctor has no findings; next: systemctl reload failoverd"
    assert node.box.do([FAILOVERCTL, "doctor", file]) == ""
    (mine,), (own,) = _written(node, file).values(), uses.instances(use).values()
    assert [vip.split()[0] for vip in mine["vips"]] == [vip.split()[0] for vip in own["vips"]]
    mine, own = dict(mine), dict(own)
    found, real = mine.pop("resource", {}), own.pop("resource")
    assert _certain(mine) == _certain(own)
    assert {name: _certain(each) for name, each in found.items()} == {
        name: _certain(each) for name, each in real.items() if each["driver"] != "unit"
    }
    guests = [name for name, each in real.items() if each["driver"] == "xen"]
    assert {name: found[name]["needs"] for name in guests} == {name: real[name]["needs"] for name in guests}


def test_it_says_what_keepalived_conf_still_needs(wards: Wards) -> None:
    node = wards("loadbalancer")
    with node.changed("keepalived.conf", '    notify "/usr/libexec/failoverd/notify"\n', ""):
        done = node.box.run([FAILOVERCTL, "init", "/tmp/failoverd.toml"])
    assert done.returncode == 1
    assert "keepalived reports no change of VI_WEB to failoverd" in done.stdout
    assert '    notify "/usr/libexec/failoverd/notify"\n' in done.stdout


def test_it_overwrites_nothing(wards: Wards) -> None:
    node = wards("loadbalancer")
    before = node.box.path(_CONFIG).read_text()
    done = node.box.run([FAILOVERCTL, "init"])
    assert (done.returncode, done.stdout) == (
        os.EX_CANTCREAT,
        f"failoverctl: {_CONFIG} exists, and init overwrites nothing\n  try: failoverctl init {_CONFIG}.new\n",
    )
    assert node.box.path(_CONFIG).read_text() == before


def test_of_a_file_of_comments_it_keeps_the_comments(wards: Wards) -> None:
    node, comments = wards("loadbalancer"), "# [instance.VI_1]\n"
    with node.changed("failoverd.toml", "", comments):
        told = node.box.do([FAILOVERCTL, "init"])
        assert told.startswith(f"kept the comments of {_CONFIG} as {_CONFIG}.orig\n")
        assert node.box.path(f"{_CONFIG}.orig").read_text() == comments
        assert _written(node, _CONFIG).keys() == {"VI_WEB"}


def test_without_an_instance_there_is_nothing_to_write(wards: Wards) -> None:
    node, file = wards("loadbalancer"), "/tmp/none.toml"
    with node.changed("keepalived.conf", "", "global_defs {\n}\n"):
        done = node.box.run([FAILOVERCTL, "init", file])
    assert done.returncode == 1
    assert "has no vrrp_instance; set up keepalived first" in done.stdout
    assert not node.box.path(file).exists()


def test_what_it_cannot_know_is_a_comment(wards: Wards) -> None:
    node, file = wards("hosting"), "/tmp/odd.toml"
    other = """
vrrp_instance "VI two" {
    state BACKUP
    interface eth0
    virtual_router_id 52
    priority 100
    virtual_ipaddress {
        192.0.2.2/32
    }
}
"""
    with (
        node.changed("keepalived.conf", "", uses.text("hosting/keepalived.conf") + other),
        node.changed("web.cfg", "/dev/drbd1", "/dev/null"),
        node.changed("vpn.cfg", "memory = ", "memory "),
        node.changed("bird.conf", "include", "# include"),
    ):
        done = node.box.run([FAILOVERCTL, "init", file])
    text = node.box.path(file).read_text()
    assert done.returncode == 1  # bird no longer knows the constant
    assert _written(node, file)["VI two"] == {"vips": ["192.0.2.2/32 dev eth0"]}
    assert _written(node, file)["VI_1"]["resource"].keys() == {"vpn-disk", "web-disk"}
    for comment in (
        "# Without /etc/xen/vpn.cfg: ",
        "# Without /etc/xen/web.cfg: none of its disks is on DRBD, so no other node can start the guest.",
        "# There are several instances. Move each resource below to the instance that it must follow.",
        "# bird: to announce a better metric on the MASTER, see `Driver bird` in failoverd.toml(5).",
    ):
        assert f"\n{comment}" in text


def test_the_kept_comments_of_an_earlier_run_are_not_overwritten(wards: Wards) -> None:
    node = wards("router")
    with node.changed("failoverd.toml", "", "# nothing\n"), node.changed(f"{_CONFIG}.orig", "", "# earlier\n"):
        done = node.box.run([FAILOVERCTL, "init"])
        assert node.box.path(f"{_CONFIG}.orig").read_text() == "# earlier\n"
        assert node.box.path(_CONFIG).read_text() == "# nothing\n"
    assert done.returncode == os.EX_CANTCREAT
