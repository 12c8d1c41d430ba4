"""What a hypervisor says of its DRBD devices: the same words, whichever DRBD it has."""

import importlib.util
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[2]
_RECORDINGS = _TESTS / "recordings" / "drbd"

_spec = importlib.util.spec_from_file_location("sampler", _TESTS / "vmlab" / "site" / "sampler.py")
assert _spec is not None
assert _spec.loader is not None
sampler = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sampler)


def test_drbd_8_tells_of_each_minor() -> None:
    page = (_RECORDINGS / "drbd-8.4/primary-on-left/left.proc-drbd.txt").read_text()
    assert sampler.of_page(page) == {key: ["Connected", "Primary", "UpToDate"] for key in ("0", "1")}


def test_drbd_9_tells_of_each_minor_and_of_all_connections() -> None:
    status = (_RECORDINGS / "drbd-9.2/primary-on-left/left.status.json").read_bytes()
    assert sampler.of_status(status)["0"] == ["Connected,Connected", "Primary", "UpToDate"]


@pytest.mark.parametrize("said", [b"", b"[\n]\n"])
def test_drbd_9_without_a_resource_has_no_device(said: bytes) -> None:
    assert sampler.of_status(said) == {}


@pytest.mark.parametrize("path", sorted(_RECORDINGS.glob("*/*/*.status.json")), ids=lambda path: path.parent.name)
def test_every_status_is_understood(path: Path) -> None:
    for connections, role, disk in sampler.of_status(path.read_bytes()).values():
        assert role in ("Primary", "Secondary")
        assert disk
        assert connections is not None
