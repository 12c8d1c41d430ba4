"""The tables [fence.NODE]: what they become, and what is wrong in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from failoverd.core.spec import Fence
from failoverd.daemon import config
from failoverd.daemon.config import ConfigError

INSTANCE = '[instance.VI_1]\nvips = ["192.0.2.1/32"]\ninterface = "eth0"\n'
BEAT = '[heartbeat]\naddresses = { left = "192.0.2.2", right = "192.0.2.3" }\nkey_file = "/key"\n'


def read(tmp_path: Path, text: str) -> Mapping[str, Fence]:
    file = tmp_path / "failoverd.toml"
    file.write_text(f"{INSTANCE}\n{BEAT}\n{text}\n")
    return config.load(file, "left").core.fences


def test_without_a_table_nobody_is_fenced(tmp_path: Path) -> None:
    assert read(tmp_path, "") == {}


def test_a_table_for_each_node(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
        [fence.left]
        agent = "fence_ipmilan"
        options = { ip = "192.0.2.11", username = "failoverd", lanplus = true, power_timeout = 40 }
        secrets = { password = "left-bmc" }
        [fence.right]
        agent = "/opt/fence_plug"
        timeout = "20s"
        delay = "10s"
        """,
    )
    assert found == {
        "left": Fence(
            agent="/usr/sbin/fence_ipmilan",
            options={
                "ip": "192.0.2.11",
                "username": "failoverd",
                "lanplus": "1",
                "power_timeout": "40",
            },
            secrets={"password": "left-bmc"},
        ),
        "right": Fence(agent="/opt/fence_plug", timeout=20.0, delay=10.0),
    }


def test_the_longest_delay(tmp_path: Path) -> None:
    assert read(tmp_path, '[fence.left]\nagent = "fence_x"\ndelay = "5m"')["left"].delay == 300.0


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("", "fence.left.agent: missing; expected"),
        ('agent = "ipmilan"', "fence.left.agent: expected a string: the fence agent: its name in /usr/sbin"),
        ('agent = "fence_x"\noption = 1', 'fence.left.option: unknown key; did you mean "options"?'),
        ('agent = "fence_x"\ntimeout = 1', "fence.left.timeout: expected a duration"),
        ('agent = "fence_x"\ndelay = "1h"', 'like 90, "90s" or "5m", 300 s at most: how long the others wait'),
        ('agent = "fence_x"\ndelay = 301', "fence.left.delay: expected a duration"),
        ('agent = "fence_x"\noptions = "ip"', "fence.left.options: expected a table"),
        ('agent = "fence_x"\noptions.action = "reboot"', "fence.left.options.action: must not be set: failoverd sets"),
        ('agent = "fence_x"\noptions.method = "cycle"', 'fence.left.options.method: expected "onoff": after a power'),
        ('agent = "fence_x"\noptions.help = true', "fence.left.options.help: must not be set: the agent would print"),
        ('agent = "fence_x"\noptions.delay = 9', "fence.left.options.delay: must not be set: failoverd waits itself"),
        ('agent = "fence_x"\noptions.debug-file = "/x"', "fence.left.options.debug-file: must not be set: the agent"),
        ('agent = "fence_x"\noptions.password = "x"', "fence.left.options.password: is a secret, and everybody may"),
        ('agent = "fence_x"\noptions.passwd = "x"', "fence.left.options.passwd: is a secret, and everybody may"),
        (
            'agent = "fence_x"\noptions.secret_key = "x"',
            "fence.left.options.secret_key: is a secret, and everybody",
        ),
        ('agent = "fence_x"\noptions.apikey = "x"', "fence.left.options.apikey: is a secret, and everybody may"),
        ('agent = "fence_x"\noptions.token = "x"', "fence.left.options.token: is a secret, and everybody may"),
        ('agent = "fence_x"\noptions.community = "x"', "fence.left.options.community: is a secret, and everybody may"),
        (
            'agent = "fence_x"\nip = "x"',
            "fence.left.ip: is no key of this table; if it is the agent's, ex",
        ),
        ('agent = "fence_x"\npassword = "x"', "fence.left.password: is no key of this table; if it is the agent's, ex"),
        ('agent = "fence_x"\noptions.ip = 1.5', "fence.left.options.ip: expected a string, an integer, or true or"),
        ('agent = "fence_x"\noptions.ip = ["x"]', "fence.left.options.ip: expected a string, an integer, or true or"),
        ('agent = "fence_x"\noptions.ip = "x\\naction=on"', "fence.left.options.ip: expected printable characters"),
        ('agent = "fence_x"\noptions."a=b" = "x"', 'fence.left.options."a=b": no agent has such a key'),
        ('agent = "fence_x"\nsecrets.action = "x"', "fence.left.secrets.action: must not be set: failoverd sets it"),
        ('agent = "fence_x"\nsecrets.password = "../x"', "fence.left.secrets.password: expected the name of a cred"),
        ('agent = "fence_x"\nsecrets.password = 1', "fence.left.secrets.password: expected the name of a cred"),
        ('agent = "fence_x"\noptions.ip = "x"\nsecrets.ip = "x"', "fence.left.secrets.ip: is also in `options`"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(tmp_path: Path, table: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"[fence.left]\n{table}")
    assert len(caught.value.problems) == 1
    assert problem in caught.value.problems[0]


def test_a_table_without_a_node_is_told_where_the_node_belongs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, '[fence]\nagent = "fence_x"')
    (problem,) = caught.value.problems
    assert "fence.agent: expected a table for each node, such as [fence.left], and this key in it" in problem


def test_a_script_that_prints_the_password_is_no_secret(tmp_path: Path) -> None:
    found = read(
        tmp_path, '[fence.left]\nagent = "fence_x"\noptions = {password_script = "/root/x", token_file = "/x"}'
    )
    assert found["left"].options == {"password_script": "/root/x", "token_file": "/x"}


SAME = 'agent = "fence_apc"\noptions = { ip = "192.0.2.9", plug = 1 }\nsecrets = { password = "pdu" }\n'


@pytest.mark.parametrize(
    "other",
    [
        SAME,
        f'{SAME}delay = "10s"\ntimeout = "20s"',
        SAME.replace("fence_apc", "/usr/sbin/fence_apc").replace("plug = 1", 'plug = "1"'),
        'secrets = { password = "pdu" }\noptions = { plug = 1, ip = "192.0.2.9" }\nagent = "fence_apc"',
    ],
)
def test_two_nodes_are_not_one_machine(tmp_path: Path, other: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"[fence.left]\n{SAME}\n[fence.right]\n{other}")
    (problem,) = caught.value.problems
    assert problem.endswith(
        "fence.right: has the same agent, `options` and `secrets` as [fence.left], so both name one machine; expected "
        "other options here, those that name right to the agent, such as `plug` or `ip`"
    )


@pytest.mark.parametrize("change", [("plug = 1", "plug = 2"), ("192.0.2.9", "192.0.2.8"), ("fence_apc", "fence_x")])
def test_two_nodes_may_share_a_power_switch(tmp_path: Path, change: tuple[str, str]) -> None:
    assert len(read(tmp_path, f"[fence.left]\n{SAME}\n[fence.right]\n{SAME.replace(*change)}")) == 2
