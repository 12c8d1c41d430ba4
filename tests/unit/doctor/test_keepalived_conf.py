"""The lines in effect, as a real keepalived has them."""

import re
import subprocess
from pathlib import Path

import pytest

from failoverd.doctor import keepalived_conf, keepalived_instances
from tests.lab.waiting import wait_for
from tests.unit.examples.sandbox import Sandbox, sandbox

#: With each construct of keepalived.conf(5) that the reader knows.
_ODD = """
global_defs
{
    script_user root ! a comment, # and another
    enable_script_security
}
$WHERE=eth1
$HERE=@left
$TWO=nopreempt \\
    garp_master_delay 3
include parts/*.conf
vrrp_instance "VI one" {
    state BACKUP
    interface eth0
    $HERE priority 60
    @left virtual_router_id 10
    @^left virtual_router_id 12
    $TWO
    virtual_ipaddress { 192.0.2.1/32
        192.0.2.2 dev ${WHERE} label "eth1:x#y"
    }
    virtual_ipaddress_excluded {
        192.0.2.3/24
    }
}
vrrp_sync_group G { group { "VI one"
  second } }
"""
_PART = """
vrrp_instance second {
    state MASTER
    interface $WHERE
    virtual_router_id 11
    @left priority 90
    @right priority 80
    virtual_ipaddress {
        2001:db8::1
    }
}
"""


def _read(tmp_path: Path, text: str, config_id: str = "left") -> keepalived_conf.Statement:
    (tmp_path / "keepalived.conf").write_text(text)
    (tmp_path / "parts").mkdir(exist_ok=True)
    (tmp_path / "parts/second.conf").write_text(_PART)
    return keepalived_conf.read(tmp_path / "keepalived.conf", config_id)[0]


def _dumped(box: Sandbox) -> str:
    """keepalived's own dump of the odd file."""
    box.write("/etc/keepalived/keepalived.conf", _ODD)
    box.write("/etc/keepalived/parts/second.conf", _PART)
    for name, address in (("eth0", "198.51.100.1/24"), ("eth1", "203.0.113.1/24")):
        box.interface(name, address)
    data = box.path("/tmp/keepalived.data")
    started = ["keepalived", "--dont-fork", "--log-console", "--config-id", "left"]
    with subprocess.Popen(
        box.command(started), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        try:
            assert running.stdout is not None
            next(line for line in running.stdout if "Entering BACKUP STATE" in line)
            box.do(["pkill", "-USR1", "-o", "-x", "keepalived"])
            return wait_for(
                "keepalived has dumped", lambda: data.read_text() if data.exists() else "", within=20, until=_whole
            )
        finally:
            running.kill()


def _whole(text: str) -> bool:
    return "VRRP Sync groups" in text


def test_it_reads_what_a_real_keepalived_reads(tmp_path: Path) -> None:
    with sandbox() as box:
        dumped = _dumped(box)
    top = _read(tmp_path, _ODD)
    found = keepalived_instances.instances(top)
    told = {}
    for name, block in re.findall(r"^ VRRP Instance = (.*)$((?:\n   .*)*)", dumped, re.MULTILINE):
        vips = re.findall(r"^     (\S+?)(?:/\d+)? dev (\S+)", block, re.MULTILINE)
        told[name] = (
            sorted(vips),
            "Preempt = disabled" in block,
            re.findall(r"^   Priority = (\d+)", block, re.MULTILINE),
        )
    assert told
    assert told == {
        name: (
            sorted(
                (vip.address.split("/")[0], vip.interface)
                for some in keepalived_instances.vips(top, each)
                for vip in some
            ),
            each.statement.last("nopreempt") is not None,
            [each.statement.last("priority").words[1]],  # type: ignore[union-attr]
        )
        for name, each in found.items()
        if not each.is_group
    }
    groups = dumped.partition("Sync groups")[2]
    assert [each.words[1] for each in found["G"].members] == re.findall(r"^ +(VI one|second)\b", groups, re.MULTILINE)[
        :2
    ]


def test_a_statement_knows_its_file_and_line(tmp_path: Path) -> None:
    found = keepalived_instances.instances(_read(tmp_path, _ODD))
    assert found["second"].statement.at == f"{tmp_path}/parts/second.conf:2"
    assert found["VI one"].statement.at == f"{tmp_path}/keepalived.conf:12"
    assert found["VI one"].statement.all("virtual_ipaddress")[0].block[1].at == f"{tmp_path}/keepalived.conf:20"


def test_a_line_of_another_node_is_not_in_effect(tmp_path: Path) -> None:
    ids = {}
    for node in ("left", "right"):
        found = keepalived_instances.instances(_read(tmp_path, _ODD, node))["VI one"].statement.last(
            "virtual_router_id"
        )
        assert found is not None
        ids[node] = found.words[1]
    assert ids == {"left": "10", "right": "12"}


def test_an_include_that_includes_itself_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(keepalived_conf.Unreadable, match="deep"):
        _read(tmp_path, "include keepalived.conf\n")
