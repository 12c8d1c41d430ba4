"""The files of one example agree with each other, and name only what is there."""

import ipaddress
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from failoverd.drivers.drbd import Options
from failoverd.ports.drbd import wire
from tests.lab import configs
from tests.lab.demo import GUEST, HANDOVER, introduction
from tests.lab.profiles import HOSTING, METRIC

from . import uses
from .sandbox import EXAMPLES, REPOSITORY

_DOCUMENTATION = [
    ipaddress.ip_network(network) for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]
_OTHERS = {"127.0.0.1"}
#: Of Debian's package certbot, which would ask a real authority from whoever runs these tests.
_NOT_HERE = {"certbot.timer"}


@pytest.mark.parametrize("use", uses.USES)
def test_failoverd_follows_what_keepalived_has_with_the_same_vips_on_the_same_interfaces(use: str) -> None:
    told = uses.keepalived(use)
    for name, instance in uses.instances(use).items():
        vips = [vip if " dev " in vip else f"{vip} dev {instance['interface']}" for vip in instance["vips"]]
        assert sorted(vips) == sorted(told[name].vips)
        assert vips


def test_the_router_has_six_vips_in_one_group() -> None:
    group = uses.keepalived("router")["ROUTER"]
    assert group.kind == "GROUP"
    assert len(set(group.vips)) == 6


def test_the_router_begins_at_the_standby_cost_of_every_interface_that_has_a_vip() -> None:
    (ospf,) = uses.resources("router")
    frr = uses.text("router/frr.conf")
    costs = dict(re.findall(r"^interface (\S+)\n ip ospf cost (\d+)$", frr, re.MULTILINE))
    assert costs == dict.fromkeys(ospf["interfaces"], str(ospf["standby"]))
    assert set(costs) == {vip.split(" dev ")[1] for vip in uses.keepalived("router")["ROUTER"].vips}


def test_the_laboratory_has_the_routers_timers() -> None:
    """But for BFD, which two busy cores do not keep up with; and there no node is the designated router."""
    frr = configs.frr(METRIC, "left")
    for line in re.findall(r"^ (ip ospf .*|timers .*)$", uses.text("router/frr.conf"), re.MULTILINE):
        assert f" {line}\n" in frr


@pytest.mark.parametrize("use", uses.USES)
def test_every_instance_of_keepalived_is_followed_by_itself_or_with_its_group(use: str) -> None:
    told = uses.keepalived(use)
    followed = {vip for name in uses.instances(use) for vip in told[name].vips}
    assert followed == {vip for each in told.values() for vip in each.vips}


def test_haproxy_listens_at_the_vip_and_where_keepalived_asks_it() -> None:
    """At the VIP on both nodes, also before it has the address; and keepalived asks within its interval."""
    haproxy, keepalived = uses.text("loadbalancer/haproxy.cfg"), uses.text("loadbalancer/keepalived.conf")
    ((vip, _, _),) = [uses.keepalived("loadbalancer")["VI_WEB"].vips[0].partition("/")]
    assert f"    bind {vip}:80\n" in haproxy
    assert "net.ipv4.ip_nonlocal_bind = 1\n" in uses.text("loadbalancer/sysctl.conf")
    asked = re.search(r"--max-time \d http://(\S+:\d+)(/\S+)\"$", keepalived, re.MULTILINE)
    assert asked is not None
    assert f"    bind {asked[1]}\n    monitor-uri {asked[2]}\n" in haproxy


def test_the_demo_is_the_site_of_the_hosting_example_without_its_disks() -> None:
    """A unit stands for the guest, and the VIP is on eth0. bird.conf is made from the example's own."""
    (demo,) = tomllib.loads(configs.failoverd(HOSTING) + GUEST)["instance"].values()
    (site,) = uses.instances("hosting").values()
    assert demo["resource"]["prefix"] == site["resource"]["prefix"] | {"include": "/etc/bird/failoverd.conf"}
    assert demo["resource"]["vpn"] == {"driver": "unit", "unit": "vpn.service"}
    assert [vip.split()[0] for vip in demo["vips"]] == site["vips"]
    theirs = uses.text("hosting/keepalived.conf")
    ours = configs.keepalived(HOSTING, "left", repository=REPOSITORY, agent="none", sources=(), advert=1, track=False)
    for line in ("vrrp_instance VI_1 {", "    state BACKUP", "    nopreempt", "    virtual_router_id 51"):
        assert f"\n{line}\n" in theirs
        assert f"\n{line}\n" in ours


def test_the_readme_shows_the_demo() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    assert introduction(HOSTING) in readme
    assert "failoverd: activate vpn: done in" in readme
    assert f"{HANDOVER}\n\nright# failoverctl handover VI_1 --to left\n" in readme


def test_the_laboratorys_bird_is_the_examples() -> None:
    site, demo = uses.text("hosting/bird.conf").splitlines(), configs.node_bird("left").splitlines()
    changed = ("router id", "    interface", "    local as", "    neighbor", "    connect", "    error wait")
    assert [line for line in site if not line.startswith(changed)] == [
        line for line in demo if not line.startswith((*changed, "    local 10"))
    ]


@pytest.mark.parametrize("conf", ["bird.conf", "bird-1.6.conf"])
def test_no_dead_host_draws_the_traffic_for_long(conf: str) -> None:
    text = uses.text(f"hosting/{conf}")
    assert re.search(r"^protocol bfd \{", text, re.MULTILINE)
    session = text[text.index("protocol bgp upstream {") :]
    assert "\n    bfd on;\n" in session
    assert int(re.findall(r"^    hold time (\d+);", session, re.MULTILINE)[0]) <= 15


@pytest.mark.parametrize("conf", ["bird.conf", "bird-1.6.conf"])
def test_bird_uses_every_symbol_in_a_filter_after_the_include(conf: str) -> None:
    text = re.sub(r"#.*", "", uses.text(f"hosting/{conf}"))
    include = re.search(r'^include "/etc/bird/failoverd\.conf";$', text, re.MULTILINE)
    assert include is not None
    symbols = [resource["symbol"] for resource in uses.resources("hosting") if resource["driver"] == "bird"]
    assert symbols
    for symbol in symbols:
        assert re.search(rf"\bfilter\b[^}}]*\b{symbol}\b", text[include.end() :])


def test_every_guest_stands_on_its_replica_and_nothing_else_starts_it() -> None:
    by_name = {name: each for i in uses.instances("hosting").values() for name, each in i["resource"].items()}
    for guest in (each for each in by_name.values() if each["driver"] == "xen"):
        name = Path(guest["config"]).stem
        (disk,) = guest["needs"]
        assert by_name[disk]["resource"] == name
        assert by_name[disk].get("nodes") == guest.get("nodes")
        device = re.search(r"^    device (/dev/drbd\d+);$", uses.text(f"hosting/{name}.res"), re.MULTILINE)
        assert device is not None
        assert f'name = "{name}"\n' in uses.text(f"hosting/{name}.cfg")
        assert f'disk = ["phy:{device[1]},xvda,w"]' in uses.text(f"hosting/{name}.cfg")


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.res")), ids=lambda file: file.name)
def test_nothing_but_failoverd_promotes_a_replica_as_the_manual_asks(file: Path) -> None:
    asked = re.search(r"give it `(.+?)`", Options.__dataclass_fields__["resource"].metadata["doc"])
    assert asked is not None
    (options,) = re.findall(r"^    options \{$(.*?)^    \}$", file.read_text(), re.MULTILINE | re.DOTALL)
    assert re.search(rf"^        {asked[1]};", options, re.MULTILINE)


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.res")), ids=lambda file: file.name)
def test_a_replica_with_a_quorum_gives_errors_without_it_and_rejoins_by_itself(file: Path) -> None:
    text = file.read_text()
    assert ("quorum majority;" in text) is ("on-no-quorum io-error;" in text)
    assert "force-secondary" not in text


@pytest.mark.parametrize("use", ["router", "loadbalancer"])
def test_a_debian_package_has_every_unit(use: str) -> None:
    units = uses.units(use)
    assert units
    for unit in units:
        if unit in _NOT_HERE:
            continue
        file = re.sub(r"@.*\.", "@.", unit)
        subprocess.run(["dpkg-query", "--search", f"*/systemd/system/{file}"], check=True, capture_output=True)


@pytest.mark.parametrize("use", ["router", "loadbalancer"])
def test_the_readme_disables_every_unit_that_failoverd_starts(use: str) -> None:
    disabled = re.findall(r"^ +systemctl disable (.*)$", uses.text(f"{use}/README.md"), re.MULTILINE)
    assert set(" ".join(disabled).split()) == uses.units(use)


@pytest.mark.parametrize(("use", "unit"), [("hosting", "bird"), ("router", "frr"), ("loadbalancer", "haproxy")])
def test_what_a_package_has_started_is_told_of_the_new_files(use: str, unit: str) -> None:
    steps = re.findall(r"^    ((?:systemctl|failoverctl) [^#\n]*\S)", uses.text(f"{use}/README.md"), re.MULTILINE)
    assert not [step for step in steps if "--now" in step and "drbd@" not in step]  # it does nothing to what runs
    (restart,) = [step for step in steps if step.startswith("systemctl restart") and unit in step.split()]
    (keepalived,) = [step for step in steps if step.startswith("systemctl restart") and "keepalived" in step.split()]
    (plan,) = [step for step in steps if step.startswith("failoverctl plan")]
    check, reload = steps.index("failoverctl config check"), steps.index("systemctl reload failoverd")
    assert check < reload < steps.index(keepalived) < steps.index(plan)
    assert check < steps.index(restart) <= steps.index(keepalived)


def test_the_readme_brings_up_every_replica_by_a_unit_of_its_own() -> None:
    (line,) = re.findall(r"^ +systemctl enable --now (drbd@.*)$", uses.text("hosting/README.md"), re.MULTILINE)
    replicas = [each["resource"] for each in uses.resources("hosting") if each["driver"] == "drbd"]
    assert line.split() == [f"drbd@{name}.target" for name in replicas]


@pytest.mark.parametrize("name", ["vpn", "web"])
def test_no_replica_lets_the_boot_wait_for_ever(name: str) -> None:
    waits = dict(
        re.findall(r"^ +((?:degr-|outdated-)?wfc-timeout) (\d+);$", uses.text(f"hosting/{name}.res"), re.MULTILINE)
    )
    assert set(waits) == {"wfc-timeout", "degr-wfc-timeout", "outdated-wfc-timeout"}
    assert all(int(seconds) > 0 for seconds in waits.values())  # 0 is for ever


def test_every_address_is_one_for_documentation() -> None:
    strangers = {}
    for file in EXAMPLES.rglob("*"):
        if file.is_file():
            found = {a for a in re.findall(r"\b(?:\d{1,3}\.){3}\d{1,3}\b", file.read_text()) if a not in _OTHERS}
            bad = {a for a in found if not any(ipaddress.ip_address(a) in network for network in _DOCUMENTATION)}
            if bad:
                strangers[file.name] = bad
    assert strangers == {}


def test_every_folder_is_in_the_table_of_the_readme() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert set(re.findall(r"^\|.*?\]\((\w+)/", uses.text("README.md"), re.MULTILINE)) == folders


def test_the_module_has_the_option_that_failoverd_asks_for() -> None:
    lines = [line for line in uses.text("hosting/drbd-xen.conf").splitlines() if not line.startswith("#")]
    assert lines == [wire.MODPROBE_OPTION]
    assert f"# {wire.MODPROBE_FILE}," in uses.text("hosting/drbd-xen.conf")
    for text in ("examples/hosting/README.md", "docs/man/failoverd.8.scd", "README.md"):
        assert f"echo 1 >{wire.DISABLE_SENDPAGE}" in (REPOSITORY / text).read_text()
