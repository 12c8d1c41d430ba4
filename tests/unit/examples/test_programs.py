"""Every configuration in examples/ is taken by the program it is for, without a word of complaint."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import uses
from .sandbox import EXAMPLES, REPOSITORY, Sandbox

_BINARIES = Path(sys.executable).parent
_BIRDS = [
    ("bird.conf", "/usr/sbin/bird"),
    ("bird.conf", str(REPOSITORY / ".cache/birds/3/run")),
    ("bird-1.6.conf", str(REPOSITORY / ".cache/birds/1.6/run")),
]
_FIRST_INCLUDE = re.compile(r"^ +(echo 'define .*' >/etc/bird/failoverd\.conf)$", re.MULTILINE)


@pytest.mark.parametrize(("use", "node"), uses.NODES_OF_USES)
def test_keepalived_takes_it(box: Sandbox, use: str, node: str) -> None:
    for number, name in enumerate(sorted(uses.interfaces(use)), start=1):
        box.interface(name, f"198.51.100.{number}/32")
    box.do(["mkdir", "-p", "/run/failoverd/track"])  # as the package does; keepalived 2.3 refuses a file without it
    assert box.do(["keepalived", "-t", "-i", node, "-f", str(EXAMPLES / use / "keepalived.conf")]) == ""


@pytest.mark.parametrize(("conf", "bird"), _BIRDS, ids=["2", "3", "1.6"])
def test_bird_takes_it_with_the_include_that_the_readme_makes(box: Sandbox, conf: str, bird: str) -> None:
    check = [bird, "-p", "-c", str(EXAMPLES / "hosting" / conf)]
    assert box.run(check).returncode != 0  # it looks for the include
    assert box.do(["sh", "-c", first_include()]) == ""
    assert box.do(check) == ""


def test_the_include_that_the_readme_makes_is_what_failoverd_writes_for_standby() -> None:
    (prefix,) = [resource for resource in uses.resources("hosting") if resource["driver"] == "bird"]
    assert f"'define {prefix['symbol']} = {prefix['standby']};'" in first_include()


def first_include() -> str:
    """The command with which hosting/README.md makes bird's include."""
    command = _FIRST_INCLUDE.search(uses.text("hosting/README.md"))
    assert command is not None
    return command[1]


@pytest.mark.parametrize("node", uses.NODES["hosting"])
@pytest.mark.parametrize("name", ["vpn", "web"])
def test_drbdadm_takes_it(box: Sandbox, name: str, node: str) -> None:
    file = EXAMPLES / "hosting" / f"{name}.res"
    told = box.do(["unshare", "--uts", "sh", "-c", f"hostname {node}; drbdadm --config-file {file} sh-resources"])
    said = [line for line in told.splitlines() if not line.startswith("modinfo: ")]  # this kernel has no DRBD
    carriers = {each["resource"]: each.get("nodes") for each in uses.resources("hosting") if each["driver"] == "drbd"}
    assert " ".join(said).split() == ([name] if node in (carriers[name] or uses.NODES["hosting"]) else [])


@pytest.mark.parametrize("name", ["vpn", "web"])
def test_drbdadm_of_8_takes_it_without_what_the_comment_says(box: Sandbox, name: str) -> None:
    text = uses.text(f"hosting/{name}.res")
    assert "With DRBD 8.4" in text
    for block in ("    options", "    connection-mesh", "    on center"):
        text = re.sub(rf"^{block} \{{$.*?^    \}}$", "", text, flags=re.MULTILINE | re.DOTALL)
    box.write("/etc/drbd.d/example.res", re.sub(r"^ +node-id .*;$", "", text, flags=re.MULTILINE))
    read = "hostname left; /usr/lib/drbd/drbdadm-84 --config-file /etc/drbd.d/example.res sh-resources"
    told = box.do(["unshare", "--uts", "sh", "-c", read])
    assert told.split() == [name]


def test_frr_takes_it(box: Sandbox) -> None:
    assert box.do(["vtysh", "--dryrun", "--inputfile", str(EXAMPLES / "router/frr.conf")]) == ""


def test_frr_starts_the_daemons_that_its_configuration_needs(box: Sandbox) -> None:
    box.write("/etc/frr/daemons", uses.text("router/daemons"))
    told = box.do(["bash", "-c", ". /usr/lib/frr/frrcommon.sh; daemon_list these; echo $these"])
    assert set(told.split()) - {"mgmtd"} == {"zebra", "staticd", "ospfd", "bfdd"}  # mgmtd: always, from FRR 9 on


def test_haproxy_takes_it(box: Sandbox) -> None:
    told = box.do(["haproxy", "-c", "-f", str(EXAMPLES / "loadbalancer/haproxy.cfg")])
    assert told.strip() in {"", "Configuration file is valid"}


@pytest.mark.parametrize(
    ("file", "node"),
    [(file, node) for use, node in uses.NODES_OF_USES for file in sorted((EXAMPLES / use).glob("failoverd*.toml"))],
    ids=lambda value: str(value).removeprefix(f"{EXAMPLES}/"),
)
def test_failoverd_takes_it(file: Path, node: str) -> None:
    told = _told([_BINARIES / "failoverd", "--config", file, "--node", node, "--check"])
    assert re.fullmatch(
        rf"\S+: ok \(1 instance, [1-9]\d* of [1-9]\d* resources? on {node}\)\n(\S+: without \[quorum\], .*\n)?", told
    )


@pytest.mark.parametrize("use", uses.USES)
def test_failoverctl_takes_it(use: str) -> None:
    file = EXAMPLES / use / "failoverd.toml"
    assert f"{file}: ok " in _told([_BINARIES / "failoverctl", "config", "check", str(file)])


def _told(argv: list[str | Path]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout
