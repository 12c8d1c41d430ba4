"""Keys against the metadata that real agents have printed."""

from __future__ import annotations

import pytest

from failoverd.ports.fence import metadata
from tests.unit.fence_agents import RECORDINGS

IPMILAN = {"ip": "192.0.2.11", "username": "failoverd"}


def problems(agent: str, options: dict[str, str], secrets: tuple[str, ...] = ()) -> list[str]:
    known = metadata.parse((RECORDINGS / f"{agent}.xml").read_text())
    return metadata.problems(known, options, dict.fromkeys(secrets, "a-credential"))


@pytest.mark.parametrize(
    ("agent", "options", "secrets"),
    [
        ("fence_ipmilan", IPMILAN | {"lanplus": "1", "method": "onoff", "power_timeout": "40"}, ("password",)),
        ("fence_ipmilan", {**IPMILAN, "ipport": "6230", "privlvl": "operator"}, ()),
        ("fence_apc", {**IPMILAN, "plug": "7"}, ("password",)),
        ("fence_dummy", {}, ()),
    ],
)
def test_keys_that_the_agent_takes(agent: str, options: dict[str, str], secrets: tuple[str, ...]) -> None:
    assert problems(agent, options, secrets) == []


@pytest.mark.parametrize(
    ("agent", "options", "secrets", "said"),
    [
        ("fence_ipmilan", {**IPMILAN, "lanpls": "1"}, (), "has no key `lanpls`, and would ignore it; did you mean "),
        ("fence_ipmilan", IPMILAN, ("passwrd",), 'has no key `passwrd`, and would ignore it; did you mean "password"?'),
        ("fence_ipmilan", {"ipaddr": "192.0.2.11"}, (), "`ipaddr` is obsolete; use `ip`"),
        ("fence_ipmilan", IPMILAN, ("passwd",), "`passwd` is obsolete; use `password`"),
        ("fence_ipmilan", {**IPMILAN, "lanplus": "plus"}, (), "`lanplus` expects true or false, found plus"),
        ("fence_ipmilan", {**IPMILAN, "power_timeout": "40s"}, (), "`power_timeout` expects an integer, found 40s"),
        ("fence_ipmilan", {**IPMILAN, "auth": "md6"}, (), "`auth` expects one of: md5, password, none, found md6"),
        ("fence_apc", IPMILAN, (), "the agent needs the key `plug`"),
        ("fence_ipmilan", {**IPMILAN, "port": "6230"}, (), "use `plug`, or `ipport` for the port of the switch's own"),
        ("fence_sbd", {"plug": "left", "devices": "/dev/sdb"}, (), "fence_sbd cannot prove that a machine is off: its"),
        ("fence_scsi", {"plug": "left"}, (), "it cuts a machine off from its storage or network"),
    ],
)
def test_keys_that_it_would_ignore_or_misses(
    agent: str, options: dict[str, str], secrets: tuple[str, ...], said: str
) -> None:
    found = problems(agent, options, secrets)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize("text", ["", "usage: fence_x", "<a/>", "<resource-agent/>", "<resource-agent><parameters>"])
def test_what_is_no_metadata(text: str) -> None:
    with pytest.raises(ValueError, match="its metadata is"):
        metadata.parse(text)
