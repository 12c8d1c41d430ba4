"""One broken line of an example, one finding; none on a correct node."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from failoverd import doctor
from failoverd.doctor import watchdog
from failoverd.ports import hardware_watchdog
from tests.lab.waiting import wait_for
from tests.unit.examples import uses

from .ward import FAILOVERCTL, Ward, ward

Wards = Callable[[str], Ward]

_HOOK = '    notify "/usr/libexec/failoverd/notify"'


class Broken(NamedTuple):
    """`old`, replaced by `new` in one file of an example, gives one finding, whose line to change begins with `fix`."""

    use: str
    file: str
    old: str
    new: str
    code: str
    fix: str


BROKEN = [
    Broken(
        "loadbalancer",
        "failoverd.toml",
        "[instance.VI_WEB",
        "[instance.VI_WEBB",
        "keepalived-no-instance",
        "[instance.VI_WEB]",
    ),
    Broken(
        "loadbalancer",
        "failoverd.toml",
        "203.0.113.10/24",
        "203.0.113.11/24",
        "keepalived-vips",
        'vips = ["203.0.113.10/24 dev eth0"]',
    ),
    Broken(
        "loadbalancer",
        "keepalived.conf",
        "203.0.113.10/24",
        "203.0.113.10/24 dev lo",
        "keepalived-vips",
        'vips = ["203.0.113.10/24 dev lo"]',
    ),
    Broken(
        "loadbalancer",
        "keepalived.conf",
        "interface eth0",
        "interface eth0\n    use_vmac",
        "keepalived-vips",
        'vips = ["203.0.113.10/24 dev vrrp.80"]',
    ),
    Broken("router", "failoverd.toml", '"VLAN50", ', "", "keepalived-members", 'members = ["VLAN10", "VLAN20", '),
    Broken(
        "loadbalancer",
        "keepalived.conf",
        "state BACKUP",
        "state MASTER",
        "keepalived-nopreempt-master",
        "    state BACKUP",
    ),
    Broken("loadbalancer", "keepalived.conf", "    nopreempt\n", "", "keepalived-preempts", "    nopreempt"),
    Broken("loadbalancer", "keepalived.conf", _HOOK, "", "keepalived-no-report", _HOOK),
    Broken("loadbalancer", "keepalived.conf", "    notify ", "    notify_master ", "keepalived-no-report", _HOOK),
    Broken("loadbalancer", "keepalived.conf", "libexec/failoverd", "libexec/failoverd/no", "keepalived-hook", _HOOK),
    Broken(
        "loadbalancer",
        "keepalived.conf",
        "script_user root",
        "script_user nobody",
        "keepalived-script-user",
        "    script_user root",
    ),
    Broken(
        "hosting",
        "keepalived.conf",
        "vrrp_notify_fifo /run/failoverd/keepalived.fifo",
        "",
        "keepalived-no-report",
        _HOOK,
    ),
    Broken(
        "router",
        "keepalived.conf",
        "keepalived.fifo",
        "fifo",
        "keepalived-fifo-path",
        "    vrrp_notify_fifo /run/failoverd/keepalived.fifo",
    ),
    Broken(
        "hosting",
        "keepalived.conf",
        "    enable_dbus",
        "    enable_dbus\n    vrrp_notify_fifo_script /bin/cat",
        "keepalived-fifo-reader",
        "remove the line `vrrp_notify_fifo_script /bin/cat`",
    ),
    Broken("hosting", "keepalived.conf", "    enable_dbus", "", "keepalived-enable-dbus", "    enable_dbus"),
    Broken(
        "hosting",
        "keepalived.conf",
        "    reload_check_config",
        "",
        "keepalived-reload-check-config",
        "    reload_check_config",
    ),
    Broken(
        "hosting",
        "keepalived.conf",
        "    file /run/failoverd/track/VI_1",
        "    file /run/failoverd/track/VI_2",
        "keepalived-track-path",
        "    file /run/failoverd/track/VI_1",
    ),
    Broken("hosting", "keepalived.conf", "    weight 0\n", "", "keepalived-track-weight", "    weight 0"),
    Broken(
        "hosting",
        "keepalived.conf",
        "    track_file {\n        VI_1\n    }\n",
        "",
        "keepalived-no-track-file",
        "    track_file {\n        VI_1\n    }",
    ),
    Broken(
        "hosting",
        "keepalived.conf",
        "advert_int 1",
        "advertint 1",
        "keepalived-rejects",
        "keepalived --config-test --use-file /etc/keepalived/keepalived.conf",
    ),
    Broken(
        "hosting",
        "keepalived.conf",
        "advert_int 1",
        "~SEQ(x, 1, 2) advert_int 1",
        "keepalived-unreadable",
        "write the lines out",
    ),
    Broken("loadbalancer", "certbot.timer", "=disabled", "=enabled", "unit-enabled", "systemctl disable certbot.timer"),
    Broken("loadbalancer", "certbot.timer", "=loaded", "=masked", "unit-not-loaded", "systemctl unmask certbot.timer"),
    Broken(
        "loadbalancer", "certbot.timer", "Type=simple", "Type=oneshot", "unit-oneshot", "[Service]\nRemainAfterExit=yes"
    ),
    Broken(
        "loadbalancer",
        "certbot.timer",
        "StartLimitAction=none",
        "StartLimitAction=reboot",
        "unit-action",
        "[Unit]\nStartLimitAction=none",
    ),
    Broken(
        "loadbalancer",
        "certbot.timer",
        "TriggeredBy=",
        "TriggeredBy=keepalived.service",
        "unit-triggered",
        "systemctl disable --now keepalived.service",
    ),
    Broken(
        "loadbalancer",
        "failoverd.service",
        "=enabled",
        "=disabled",
        "failoverd-not-enabled",
        "systemctl enable failoverd.service",
    ),
    Broken(
        "loadbalancer",
        "keepalived.service",
        "=enabled",
        "=disabled",
        "keepalived-not-enabled",
        "systemctl enable keepalived.service",
    ),
    Broken(
        "hosting",
        "vpn.res",
        "        auto-promote no; ",
        "",
        "drbd-auto-promote",
        "    options {\n        auto-promote no;\n    }",
    ),
    Broken(
        "hosting",
        "vpn.res",
        "        quorum majority; ",
        "",
        "drbd-quorum",
        "    options {\n        quorum majority;\n",
    ),
    Broken(
        "hosting",
        "vpn.res",
        "on-no-quorum io-error;",
        "",
        "drbd-no-quorum",
        "    options {\n        on-no-quorum io-error;",
    ),
    Broken(
        "hosting",
        "failoverd.toml",
        '[quorum]\nwitnesses = ["icmp://198.51.100.1"]',
        "",
        "drbd-no-witness",
        "    # in failoverd.toml;",
    ),
    Broken(
        "hosting",
        "web.res",
        "ping-timeout 10",
        "ping-timeout 30",
        "drbd-ping-timeout",
        "    net {\n        ping-timeout 10;",
    ),
    Broken("hosting", "web.res", "ping-int 1;", "ping-int 20;", "drbd-ping-int", "    net {\n        ping-int 1;"),
    Broken(
        "hosting", "web.res", "protocol C;", "protocol C; allow-two-primaries;", "drbd-two-primaries", "    net {\n"
    ),
    Broken(
        "hosting", "drbd@web.target", "=enabled", "=disabled", "drbd-not-at-boot", "systemctl enable drbd@web.target"
    ),
    Broken("hosting", "web.res", "on left {", "on leftt {", "drbd-no-resource", "    on left { … }"),
    Broken("hosting", "vpn.res", "resource vpn {", "resource {", "drbd-rejects", "drbdadm dump"),
    Broken(
        "hosting", "web.cfg", 'on_crash = "destroy"', 'on_crash = "restart"', "xen-file", 'write on_crash = "destroy"'
    ),
    Broken("hosting", "web.cfg", "memory = ", "memory ", "xen-file", "xl -N create /etc/xen/web.cfg"),
    Broken(
        "hosting",
        "failoverd.toml",
        '"/etc/xen/web.cfg"',
        '"/etc/xen/webb.cfg"',
        "xen-file",
        "put the domain's configuration there",
    ),
    Broken("hosting", "/etc/xen/auto/web.cfg", "", "anything", "xen-auto", "rm /etc/xen/auto/web.cfg"),
    Broken("hosting", "web.cfg", "/dev/drbd1", "/dev/drbd0", "xen-needs", 'needs = ["vpn-disk", "web-disk"]'),
    Broken(
        "hosting",
        "bird.conf",
        'include "/etc/bird/failoverd.conf";',
        "define failover_metric = 1;",
        "bird-no-include",
        'include "/etc/bird/failoverd.conf";',
    ),
    Broken(
        "hosting",
        "/etc/bird/failoverd.conf",
        "define failover_metric = 300;",
        "",
        "bird-undefined",
        "echo 'define failover_metric = 300;' >>/etc/bird/failoverd.conf",
    ),
    Broken(
        "hosting",
        "bird.conf",
        "bgp_med = failover_metric",
        "bgp_med = 100",
        "bird-unused",
        "    bgp_med = failover_metric;",
    ),
    Broken(
        "hosting",
        "bird.conf",
        "    hold time 12;",
        "    hold time failover_metric;",
        "bird-no-filter",
        "    bgp_med = failover_metric;",
    ),
    Broken(
        "hosting",
        "bird.conf",
        "export filter announced",
        "export all",
        "bird-filter-unused",
        "        export filter announced;",
    ),
    Broken("hosting", "bird.conf", "protocol bfd", "protocol bfdd", "bird-rejects", "bird -p -c /etc/bird/bird.conf"),
    Broken("hosting", "/run/bird/state", "", "start", "bird-session", "birdc"),
    Broken(
        "hosting",
        "failoverd.toml",
        'symbol = "failover_metric"',
        'symbol = "failover_metric"\nsocket = "/run/bird/other.ctl"',
        "bird-not-running",
        "systemctl start bird",
    ),
    Broken("router", "frr.service", "=enabled", "=disabled", "frr-not-enabled", "systemctl enable frr.service"),
    Broken("router", "daemons", "ospfd=yes", "ospfd=no", "frr-daemon", "ospfd=yes"),
    Broken(
        "router",
        "frr.conf",
        "interface eth0.30\n ip ospf cost 100",
        "interface eth0.30\n ip ospf cost 10",
        "frr-saved",
        "interface eth0.30\n ip ospf cost 100\nexit",
    ),
    Broken(
        "hosting",
        "drbd-xen.conf",
        "options drbd disable_sendpage=1",
        "",
        "xen-sendpage",
        "options drbd disable_sendpage=1",
    ),
    Broken(
        "loadbalancer",
        "keepalived.conf",
        "    enable_script_security\n",
        "",
        "keepalived-enable-script-security",
        "    enable_script_security",
    ),
    Broken(
        "loadbalancer",
        "keepalived.conf",
        "    script_user root\n",
        "",
        "keepalived-script-user",
        "    script_user root",
    ),
]


@pytest.mark.parametrize(("use", "node"), uses.NODES_OF_USES)
def test_a_correct_node_has_none(use: str, node: str) -> None:
    with ward(use, node) as correct:
        assert correct.findings() == []
        assert correct.box.do([FAILOVERCTL, "doctor"]) == ""


def test_every_finding_has_its_broken_node() -> None:
    folder = Path(doctor.__path__[0])
    codes = {code for file in folder.glob("*.py") for code in re.findall(r'code="([a-z-]+)"', file.read_text())}
    tested = Path(__file__).read_text()
    assert {code for code in codes if code not in tested} == set()
    assert len(codes) > len(uses.USES)


def test_with_findings_it_exits_with_1(wards: Wards) -> None:
    node = wards("loadbalancer")
    with node.changed("keepalived.conf", "    enable_dbus\n", ""):
        done = node.box.run([FAILOVERCTL, "doctor"])
        as_json = node.box.run([FAILOVERCTL, "doctor", "--json"])
        assert (done.returncode, as_json.returncode) == (1, 1)
        assert json.loads(as_json.stdout) == {"findings": node.findings()}
    assert done.stdout == (
        "! keepalived: keepalived.conf has no `enable_dbus`\n"
        "  A failoverd that was restarted cannot ask for the state, and waits for the next change.\n"
        "  in /etc/keepalived/keepalived.conf:3:\n"
        "          enable_dbus\n"
    )


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: f"{broken.code}-{broken.use}")
def test_one_broken_line_is_one_finding(wards: Wards, broken: Broken) -> None:
    node = wards(broken.use)
    with node.changed(broken.file, broken.old, broken.new):
        found = node.findings()
    assert [each["code"] for each in found] == [broken.code], found
    assert found[0]["fix"].startswith(broken.fix)
    assert all(found[0][key] for key in ("about", "wrong", "why"))


def test_a_wait_for_the_peers_without_end_counts_where_drbds_service_waits(wards: Wards) -> None:
    node = wards("hosting")
    with node.changed("web.res", "        wfc-timeout 20;", ""):
        assert node.findings() == []
        with node.changed("drbd.service", "=disabled", "=enabled"):
            (found,) = node.findings()
    assert (found["code"], found["about"]) == ("drbd-wfc-timeout", "VI_1.web-disk")
    assert found["fix"] == "    startup {\n        wfc-timeout 20;\n    }"
    assert found["where"] == "/etc/drbd.d/web.res:4"


def test_networkd_counts_where_it_manages_the_interface_of_a_vip(wards: Wards) -> None:
    node, network = wards("loadbalancer"), "/etc/systemd/network/eth0.network"
    with node.changed("/var/lib/units/systemd-networkd.service", "", "ActiveState=active\n"):
        assert node.findings() == []
        with node.changed(network, "", "[Match]\nName=eth0\n\n[Network]\nDNS=192.0.2.1\nDNS=192.0.2.2\n"):
            (found,) = node.findings()
            with node.changed(found["where"], "", found["fix"]):
                assert node.findings() == []
        with node.changed(network, "", "[Match]\nName=eth0\n\n[Network]\nKeepConfiguration=yes\n"):
            assert node.findings() == []
    assert (found["code"], found["about"]) == ("network-networkd", "VI_WEB")


def test_networkmanager_counts_where_it_manages_the_interface_of_a_vip(wards: Wards) -> None:
    node, state = wards("loadbalancer"), "/var/lib/nm/eth0"
    with node.changed(state, "", "100 (connected)\n"):
        assert node.findings() == []
        with node.changed("/var/lib/units/NetworkManager.service", "", "ActiveState=active\n"):
            (found,) = node.findings()
            with node.changed(state, "100 (connected)", "10 (unmanaged)"):
                assert node.findings() == []
    with node.changed("/var/lib/units/NetworkManager.service", "", "ActiveState=active\n"):
        assert node.findings() == [], "there is no such interface"
    assert (found["code"], found["about"]) == ("network-networkmanager", "VI_WEB")
    assert found["fix"].endswith("[keyfile]\nunmanaged-devices=interface-name:eth0")


def test_a_witness_whose_program_is_not_here_is_a_finding(wards: Wards) -> None:
    node, toml = wards("loadbalancer"), uses.text("loadbalancer/failoverd.toml")
    with node.changed("failoverd.toml", "", toml + '[quorum]\nwitnesses = ["exec:///usr/sbin/witness"]\n'):
        (found,) = node.findings()
        assert (found["code"], found["about"]) == ("witness-program", "quorum")
        assert "/usr/sbin/witness: not found" in found["wrong"]
        node.box.write("/usr/sbin/witness", "#!/bin/sh\n", mode=0o755)
        assert node.findings() == []


#: A fence agent that takes the key `plug`, and says what /var/lib/power has.
_AGENT = """#!/bin/sh
case $(cat) in
*action=metadata*) echo '<resource-agent name="x"><parameters><parameter name="plug"/></parameters><actions>
<action name="off"/><action name="status"/><action name="reboot"/></actions></resource-agent>' ;;
*plug=left*) exit 0 ;;
*) exit $(cat /var/lib/power) ;;
esac
"""
_FENCES = """
[heartbeat]
addresses = { left = "198.51.100.201", right = "198.51.100.202" }
key_file = "/etc/failoverd/heartbeat.key"
[fence.left]
agent = "fence_test"
options = { plug = "left" }
[fence.right]
agent = "fence_test"
options = { plug = "right" }
"""


def _fenced(node: Ward, power: str) -> Ward:
    """A node with the agent, which says `power`, and with the key and the address of the heartbeat."""
    node.box.write("/usr/sbin/fence_test", _AGENT, mode=0o755)
    node.box.write("/var/lib/power", power)
    node.box.write("/etc/failoverd/heartbeat.key", "k" * 44, mode=0o600)
    node.box.do(["ip", "address", "replace", "198.51.100.201/32", "dev", "lo"])
    return node


def test_a_heartbeat_has_its_key_and_its_address(wards: Wards) -> None:
    node = _fenced(wards("loadbalancer"), "0")
    elsewhere = _FENCES.replace('"198.51.100.201"', '"192.0.2.11"').replace("heartbeat.key", "absent.key")
    with node.changed("failoverd.toml", "", uses.text("loadbalancer/failoverd.toml") + elsewhere):
        assert {found["code"] for found in node.findings()} == {"heartbeat-key", "heartbeat-address"}


_TAKES_THE_PORT = """
import socket, sys
taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taken.bind(("198.51.100.201", 5409))
print("taken", flush=True)
sys.stdin.read()
"""


def test_a_port_of_the_heartbeat_that_another_program_has_is_found(wards: Wards) -> None:
    node = _fenced(wards("loadbalancer"), "0")
    argv = node.box.command([sys.executable, "-c", _TAKES_THE_PORT])
    with (
        node.changed("failoverd.toml", "", uses.text("loadbalancer/failoverd.toml") + _FENCES),
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
    ):
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        codes = [found["code"] for found in node.findings()]
        other.communicate()
    assert "heartbeat-port" in codes


@pytest.mark.parametrize(
    ("power", "change", "code", "wrong"),
    [
        ("0", ("plug = ", "plg = "), "fence-keys", "the agent has no key `plg`, and would ignore it; did you mean"),
        ("0", ("fence_test", "fence_absent"), "fence-keys", "/usr/sbin/fence_absent: not found; install it"),
        ("1", ("", ""), "fence-status", "/usr/sbin/fence_test cannot say whether right is on: `status`: exit status 1"),
        ("2", ("", ""), "fence-off", "/usr/sbin/fence_test says that right is off"),
    ],
)
def test_an_agent_is_here_and_takes_its_keys_and_knows_its_machine(
    wards: Wards, power: str, change: tuple[str, str], code: str, wrong: str
) -> None:
    node = _fenced(wards("loadbalancer"), "0")
    toml = uses.text("loadbalancer/failoverd.toml")
    left, _, right = _FENCES.partition("[fence.right]")
    with node.changed("failoverd.toml", "", toml + _FENCES):
        assert node.findings() == []
    node.box.write("/var/lib/power", power)
    with node.changed("failoverd.toml", "", f"{toml}{left}[fence.right]{right.replace(*change)}"):
        (found,) = node.findings()
    assert (found["code"], found["about"], found["where"]) == (code, "fence.right", "/etc/failoverd/failoverd.toml")
    assert wrong in found["wrong"]
    assert found["fix"].startswith("    [fence.right]")


def test_an_agent_that_takes_this_machine_for_another_is_found_out(wards: Wards) -> None:
    node = _fenced(wards("loadbalancer"), "2")
    swapped = _FENCES.partition("[fence.right]")[0].replace('"left"', '"right"')
    with node.changed("failoverd.toml", "", uses.text("loadbalancer/failoverd.toml") + swapped):
        (found,) = (each for each in node.findings() if each["code"] != "fence-absent")
    assert (found["code"], found["wrong"]) == (
        "fence-off",
        "/usr/sbin/fence_test says that left is off, and this is it",
    )


def test_a_node_without_a_power_switch_beside_one_that_has_one_is_found(wards: Wards) -> None:
    node = _fenced(wards("loadbalancer"), "0")
    one = _FENCES.partition("[fence.left]")[0] + "[fence.right]" + _FENCES.partition("[fence.right]")[2]
    with node.changed("failoverd.toml", "", uses.text("loadbalancer/failoverd.toml") + one):
        (found,) = node.findings()
    assert (found["code"], found["about"]) == ("fence-absent", "fence.left")
    assert found["wrong"].startswith("left carries ")
    assert found["fix"].startswith("    [fence.left]")


_CREDENTIALS = "/var/lib/units/credentials"
_ASK = "(umask 077; systemd-ask-password right-bmc: >{}) && systemctl restart failoverd"
_ENCRYPT = (
    "systemd-ask-password -n right-bmc: | systemd-creds encrypt --name=right-bmc - /etc/credstore.encrypted/right-bmc"
    " && systemctl restart failoverd"
)


def _given(plain: str = "", encrypted: str = "") -> str:
    """What busctl says of the sources of the credential right-bmc, if it has one."""
    lists = [[["right-bmc", source]] if source else [] for source in (plain, encrypted)]
    return "".join(json.dumps({"type": "a(ss)", "data": each}) + "\n" for each in lists)


@pytest.mark.parametrize(
    ("given", "code", "fix"),
    [
        (
            _given(),
            "credential-missing",
            [
                "mkdir -p /etc/systemd/system/failoverd.service.d",
                r"printf '[Service]\nLoadCredential=right-bmc\n' >>/etc/systemd/system/failoverd.service.d/fence.conf",
                "systemctl daemon-reload",
                "install -d -m 700 /etc/credstore",
                _ASK.format("/etc/credstore/right-bmc"),
            ],
        ),
        (
            _given("right-bmc"),
            "credential-missing",
            ["install -d -m 700 /etc/credstore", _ASK.format("/etc/credstore/right-bmc")],
        ),
        (
            _given(encrypted="right-bmc"),
            "credential-missing",
            [
                "install -d -m 700 /etc/credstore.encrypted",
                _ENCRYPT,
            ],
        ),
        (_given("/etc/here"), "credential-missing", ["systemctl restart failoverd"]),
        (_given("/etc/absent"), "credential-file", [_ASK.format("/etc/absent")]),
    ],
    ids=["nothing", "store", "encrypted", "restart", "file"],
)
def test_of_a_secret_that_is_missing_the_steps_that_are_left_are_told(
    wards: Wards, given: str, code: str, fix: list[str]
) -> None:
    node = _fenced(wards("loadbalancer"), "0")
    secret = f'{_FENCES}\nsecrets = {{ password = "right-bmc" }}\n'
    agent = _AGENT.replace('name="plug"/>', 'name="plug"/><parameter name="password"/>')
    node.box.write("/usr/sbin/fence_test", agent, mode=0o755)
    node.box.write("/etc/here", "secret\n", mode=0o600)
    with (
        node.changed("failoverd.toml", "", uses.text("loadbalancer/failoverd.toml") + secret),
        node.changed(_CREDENTIALS, "", given),
    ):
        (found,) = node.findings()
    assert (found["code"], found["fix"].splitlines()) == (code, fix)
    assert found["about"] == ("failoverd.service" if code == "credential-file" else "fence.right")
    assert "/etc/absent is missing, which LoadCredential=" in found["wrong"] or "right-bmc is missing" in found["wrong"]


def test_a_node_needs_no_secret_of_its_own(wards: Wards) -> None:
    node = _fenced(wards("loadbalancer"), "0")
    node.box.write(
        "/usr/sbin/fence_test", _AGENT.replace('name="plug"/>', 'name="plug"/><parameter name="password"/>'), mode=0o755
    )
    own = _FENCES.replace('plug = "left" }', 'plug = "left" }\nsecrets = { password = "left-bmc" }')
    with node.changed("failoverd.toml", "", uses.text("loadbalancer/failoverd.toml") + own):
        assert node.findings() == []


def test_a_secret_that_others_may_read_is_told(wards: Wards) -> None:
    node = wards("loadbalancer")
    node.box.write("/etc/secret", "secret\n", mode=0o640)
    with node.changed(_CREDENTIALS, "", _given("/etc/secret")):
        (found,) = node.findings()
        assert (found["code"], found["fix"]) == ("credential-open", "chmod 600 /etc/secret")
        node.box.do(["sh", "-c", found["fix"]])
        assert node.findings() == []


def test_with_fencing_drbd_waits_for_failoverds_answer(wards: Wards) -> None:
    node = _fenced(wards("hosting"), "0")
    toml, web = (uses.text(f"hosting/{name}") for name in ("failoverd.toml", "web.res"))
    with node.changed("failoverd.toml", "", toml + _FENCES):
        (found,) = node.findings()
        assert (found["code"], found["about"]) == ("drbd-fencing", "VI_1.web-disk")
        waits = web.replace("protocol C;", "protocol C; fencing resource-and-stonith;")
        with node.changed("web.res", "", waits):
            (found,) = node.findings()
            assert found["code"] == "drbd-fence-peer"
        with node.changed("web.res", "", waits.replace("    startup {", f"{found['fix']}\n    startup {{")):
            assert node.findings() == []
        other = found["fix"].replace("/usr/libexec/failoverd/fence-peer", "/usr/lib/drbd/crm-fence-peer.9.sh")
        with node.changed("web.res", "", waits.replace("    startup {", f"{other}\n    startup {{")):
            (found,) = node.findings()
            assert (found["code"], "crm-fence-peer.9.sh" in found["wrong"]) == ("drbd-fence-peer", True)


def test_with_quorum_false_nobody_answers_drbd_that_a_peer_is_fenced(wards: Wards) -> None:
    node = _fenced(wards("hosting"), "0")
    toml, web = (uses.text(f"hosting/{name}") for name in ("failoverd.toml", "web.res"))
    alone = re.sub(r"(?m)^\[instance\.VI_1\].*$", "[instance.VI_1]\nquorum = false", toml)
    assert alone != toml
    handler = "handlers { fence-peer /usr/libexec/failoverd/fence-peer; }"
    with node.changed("failoverd.toml", "", alone + _FENCES):
        assert node.findings() == []
        waits = web.replace("protocol C;", "protocol C; fencing resource-and-stonith;")
        waits = waits.replace("    startup {", f"{handler}\n    startup {{")
        with node.changed("web.res", "", waits):
            (found,) = node.findings()
            assert (found["code"], found["fix"]) == ("drbd-never-fenced", "fencing dont-care;")
        with node.changed("web.res", "", waits.replace("resource-and-stonith", "resource-only")):
            assert node.findings() == []


def test_without_keepalived_conf_the_command_that_makes_one_is_shown(wards: Wards) -> None:
    absent = "/etc/keepalived/absent.conf"
    done = wards("loadbalancer").box.run([FAILOVERCTL, "doctor", "--json", "--keepalived", absent])
    (found,) = json.loads(done.stdout)["findings"]
    assert (found["code"], found["about"]) == ("keepalived-no-conf", "keepalived")
    assert found["fix"].startswith(f"failoverctl keepalived-config >{absent}")


def test_another_keepalived_conf_may_be_named(wards: Wards) -> None:
    node, other = wards("loadbalancer"), "/etc/keepalived/other.conf"
    with node.changed(other, "", uses.text("loadbalancer/keepalived.conf").replace("    enable_dbus\n", "")):
        found = json.loads(node.box.run([FAILOVERCTL, "doctor", "--json", "--keepalived", other]).stdout)["findings"]
    assert [(each["code"], each["where"]) for each in found] == [("keepalived-enable-dbus", f"{other}:3")]


@pytest.mark.parametrize("names", ["", "process_names", "process_name router\n    vrrp_process_name speaker"])
def test_the_running_keepalived_says_which_file_it_has_read_and_whether_as_it_is_now(names: str) -> None:
    other, log, pid = "/etc/keepalived/other.conf", "/run/keepalived.log", "/run/pid"
    text = uses.text("loadbalancer/keepalived.conf").replace("    enable_dbus\n", f"    enable_dbus\n    {names}\n")
    with ward("loadbalancer", "right") as node:
        node.box.write(other, text)
        node.box.write("/etc/keepalived/keepalived.conf", "nobody reads this")
        node.box.do(
            ["sh", "-c", f"keepalived -n --use-file={other} -i left --log-console >{log} 2>&1 & echo $! >{pid}"]
        )
        wait_for("it is up", lambda: "Startup complete" in node.box.path(log).read_text(), within=20)
        assert node.findings() == []
        node.box.write(other, text.replace("@left  priority 150", "@left  priority 151"))
        (found,) = node.findings()
        assert (found["code"], found["fix"]) == ("keepalived-not-loaded", "systemctl reload keepalived")
        node.box.do(["sh", "-c", f"kill -HUP $(cat {pid})"])
        wait_for("it has reloaded", lambda: node.findings() == [], within=20)
        node.box.write(other, text.replace("150", "151").replace("@right priority 140", "@right priority 141"))
        assert node.findings() == []  # that line is not for this node


def test_a_configuration_of_comments_follows_nothing(wards: Wards) -> None:
    node = wards("loadbalancer")
    with node.changed("failoverd.toml", "", "# [instance.VI_1]\n"):
        (found,) = node.findings()
    assert (found["code"], found["fix"]) == ("nothing-followed", "failoverctl init")


def test_a_plain_keepalived_conf_gets_whole_blocks_to_paste(wards: Wards) -> None:
    node = wards("loadbalancer")
    plain = """\
vrrp_instance VI_WEB {
    state BACKUP
    nopreempt
    interface eth0
    virtual_router_id 80
    priority 100
    virtual_ipaddress {
        203.0.113.10/24
    }
}
"""
    with node.changed("keepalived.conf", "", plain):
        fixes = {each["code"]: each["fix"] for each in node.findings()}
    before, inside = fixes["keepalived-no-track-file"].split("# and inside VI_WEB:\n")
    pasted = plain.replace("    state", f"{inside}\n{fixes['keepalived-no-report']}\n    state")
    blocks = f"{fixes['keepalived-no-globals']}\n{before}"
    with node.changed("keepalived.conf", "", f"{blocks}\n{pasted}"):
        assert node.findings() == []


@pytest.mark.parametrize(
    ("spoiled", "fix"),
    [
        ("chmod 777 /usr/libexec/failoverd/notify", "chmod go-w /usr/libexec/failoverd/notify"),
        ("chmod 644 /usr/libexec/failoverd/notify", "chmod a+x /usr/libexec/failoverd/notify"),
        ("chown nobody /usr/libexec/failoverd", "chown root: /usr/libexec/failoverd"),
    ],
)
def test_a_hook_that_keepalived_would_leave_out_is_mended_by_the_command(wards: Wards, spoiled: str, fix: str) -> None:
    node = wards("loadbalancer")
    node.box.do(spoiled.split())
    try:
        (found,) = node.findings()
        assert (found["code"], found["where"], found["fix"]) == ("keepalived-hook", "", fix)
        node.box.do(found["fix"].split())
        assert node.findings() == []
    finally:
        node.box.install_hook()


def test_a_disk_that_failoverd_does_not_promote(wards: Wards) -> None:
    node = wards("hosting")
    other = uses.text("hosting/web.res").replace("web", "other").replace("drbd1", "drbd2").replace(":7789", ":7790")
    with (
        node.changed("/etc/drbd.d/other.res", "", other),
        node.changed("web.cfg", '"phy:/dev/drbd1,xvda,w"', '"phy:/dev/drbd1,xvda,w", "phy:/dev/drbd2,xvdb,w"'),
    ):
        (found,) = node.findings()
        assert (found["code"], found["about"]) == ("xen-disk", "VI_1.web")
        text = uses.text("hosting/failoverd.toml").replace('needs = ["web-disk"]', 'needs = ["web-disk", "other-disk"]')
        nodes = 'nodes = ["left", "right"]'
        with (
            node.changed("failoverd.toml", "", f"{text}\n{found['fix']}\n{nodes}\n"),
            node.changed("/var/lib/units/drbd@other.target", "", "LoadState=loaded\nUnitFileState=enabled\n"),
        ):
            assert node.findings() == []


def test_a_cost_that_is_neither_of_the_two(wards: Wards) -> None:
    node, vtysh = wards("router"), "/usr/bin/vtysh"
    names = ["eth0.10", "eth0.20", "eth0.30", "eth0.40", "eth0.50", "eth0.60"]
    answer = "".join(f"{name} is up\\n  Network Type BROADCAST, Cost: 7\\n" for name in names)
    node.box.do(["mv", vtysh, f"{vtysh}.real"])
    try:
        node.box.write(vtysh, f"#!/bin/sh\nprintf '{answer}'\n", mode=0o755)
        (found,) = node.findings()
    finally:
        node.box.do(["mv", f"{vtysh}.real", vtysh])
    assert (found["code"], found["about"]) == ("frr-metric", "ROUTER.ospf")
    assert "neither active (10) nor standby (100)" in found["wrong"]


def test_a_bird_that_failoverd_starts_need_not_run_on_a_standby(wards: Wards) -> None:
    node = wards("hosting")
    symbol = 'symbol = "failover_metric"'
    text = uses.text("hosting/failoverd.toml").replace(symbol, f'{symbol}\nsocket = "/run/bird/other.ctl"')
    unit = '[instance.VI_1.resource.bird]\ndriver = "unit"\nunit = "bird.service"\n'
    with node.changed("/var/lib/units/bird.service", "", "LoadState=loaded\nUnitFileState=disabled\n"):
        with node.changed("failoverd.toml", "", text):
            assert [each["code"] for each in node.findings()] == ["bird-not-running"]
        with node.changed("failoverd.toml", "", f"{text}\n{unit}"):
            assert node.findings() == []


_WITNESS = 'witnesses = ["icmp://198.51.100.1"]'


def test_a_watchdog_is_here_and_nobody_else_has_it(wards: Wards) -> None:
    node, file = wards("hosting"), "failoverd.toml"
    node.box.write("/var/lib/units/watchdog", "0\n")
    with node.changed(file, _WITNESS, f'{_WITNESS}\nwatchdog = "/dev/watchdog9"'):
        (found,) = node.findings()
    assert (found["code"], found["about"], found["wrong"]) == (
        "watchdog-missing",
        "watchdog",
        "there is no device /dev/watchdog9",
    )
    assert "modprobe softdog" in found["fix"]
    with node.changed(file, _WITNESS, f'{_WITNESS}\nwatchdog = "/dev/null"'):  # a device, and it is not opened
        assert node.findings() == []
        node.box.write("/var/lib/units/watchdog", "30s\n")
        (found,) = node.findings()
    assert (found["code"], found["wrong"]) == (
        "watchdog-systemd",
        "systemd has the watchdog itself (RuntimeWatchdogSec=30s)",
    )
    assert (found["where"], found["fix"]) == (
        "/etc/systemd/system.conf.d/failoverd.conf",
        "[Manager]\nRuntimeWatchdogSec=off",
    )


@pytest.mark.parametrize(
    ("shown", "codes"),
    [
        ({"identity": "Software Watchdog", "nowayout": "0"}, ["watchdog-softdog"]),
        ({"identity": "i6300ESB timer", "nowayout": "1"}, ["watchdog-nowayout"]),
        ({"identity": "i6300ESB timer", "nowayout": "0"}, []),
        ({}, []),
    ],
)
def test_what_the_kernel_shows_of_a_watchdog(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shown: dict[str, str], codes: list[str]
) -> None:
    monkeypatch.setattr(watchdog, "_LOADED", tmp_path)
    monkeypatch.setattr(hardware_watchdog, "shown", lambda _: shown)
    assert [each.code for each in watchdog._device("/dev/null")] == codes
    (tmp_path / "softdog.conf").write_text("softdog\n")
    assert [each.code for each in watchdog._device("/dev/null")] == [each for each in codes if "softdog" not in each]


def test_data_is_not_taken_for_stale_because_of_the_wait_for_a_lease(wards: Wards) -> None:
    node, file = wards("hosting"), "failoverd.toml"
    with node.changed(file, _WITNESS, 'witnesses = ["etcd://198.51.100.1:2379"]'):
        found = {each["code"]: each for each in node.findings()}
        stale = found["drbd-stale-after"]
        assert stale["about"] == "VI_1.web-disk"
        assert stale["fix"].startswith("    [instance.VI_1.resource.web-disk]\n    stale_after = ")
        with node.changed(file, 'resource = "web"', f'resource = "web"\n{stale["fix"].splitlines()[1]}'):
            assert "drbd-stale-after" not in {each["code"] for each in node.findings()}
