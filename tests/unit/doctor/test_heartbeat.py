"""What the doctor finds of the heartbeat."""

import os
import socket
from pathlib import Path

import pytest

from failoverd.daemon import config
from failoverd.doctor import heartbeat
from failoverd.doctor.site import Keepalived, Site


@pytest.fixture
def key(tmp_path: Path) -> Path:
    made = tmp_path / "heartbeat.key"
    made.write_text("k" * 44)
    made.chmod(0o600)
    return made


def site(tmp_path: Path, key: Path, own: str = "127.0.0.2", *, table: bool = True) -> Site:
    file = tmp_path / "failoverd.toml"
    other = "127.0.0.3" if own.startswith("127.") else "192.0.2.2"
    addresses = f'addresses = {{ left = "{own}", right = "{other}" }}'
    file.write_text(f'[heartbeat]\n{addresses}\nkey_file = "{key}"\n' if table else "")
    return Site(configuration=config.load(file, "left"), keepalived=Keepalived(), runtime_dir=tmp_path)


async def test_nothing_is_wrong_with_a_key_and_an_address(tmp_path: Path, key: Path) -> None:
    assert await heartbeat.look(site(tmp_path, key)) == []


async def test_without_a_heartbeat_nothing_is_examined(tmp_path: Path) -> None:
    assert await heartbeat.look(site(tmp_path, tmp_path / "none", table=False)) == []


async def test_a_key_that_others_may_read_is_found_with_its_remedy(tmp_path: Path, key: Path) -> None:
    key.chmod(0o644)
    (finding,) = await heartbeat.look(site(tmp_path, key))
    assert (finding.code, finding.fix) == ("heartbeat-key", f"chmod 600 {key}")
    assert f"others may use the key {key}" in finding.wrong


async def test_a_key_that_is_missing_is_found_with_the_command_that_makes_one(tmp_path: Path, key: Path) -> None:
    key.unlink()
    (finding,) = await heartbeat.look(site(tmp_path, key))
    assert finding.code == "heartbeat-key"
    assert finding.fix == f"(umask 077; head -c 32 /dev/urandom | base64 > {key})"


async def test_an_address_of_another_machine_is_found(tmp_path: Path, key: Path) -> None:
    (finding,) = await heartbeat.look(site(tmp_path, key, "192.0.2.1"))
    assert (finding.code, finding.where) == ("heartbeat-address", str(tmp_path / "failoverd.toml"))
    assert finding.wrong == "192.0.2.1, the address of left in [heartbeat], is not on this node"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root finds who has the port")
@pytest.mark.parametrize(("shares", "codes"), [(False, ["heartbeat-port"]), (True, [])])
async def test_a_port_that_another_program_has_is_found(
    tmp_path: Path, key: Path, *, shares: bool, codes: list[str]
) -> None:
    """One that failoverd itself has, which shares it, is not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
        other.bind(("127.0.0.2", 0))
        port = other.getsockname()[1]
        found = await heartbeat.look(site(tmp_path, key, f"127.0.0.2:{port}"))
    assert [each.code for each in found] == codes
