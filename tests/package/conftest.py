"""The package, built once for all tests here, and a Debian of each release to install it in."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import chroot

_HERE = Path(__file__).parent
_NEIGHBOURS = ["keepalived", "bird2", "frr", "drbd-utils", "xen-utils-common", "ifupdown", "network-manager", "procps"]
ROOT = _HERE.parents[1]
#: The one instance of a machine that boots, which elects itself.
KEEPALIVED_CONF = """
global_defs {
    script_user root
    vrrp_version 3
    vrrp_notify_fifo /run/failoverd/keepalived.fifo
}
vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    advert_int 0.1
    virtual_ipaddress {
        192.0.2.1/32
    }
}
"""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "package: builds the Debian package and installs it in chroots; needs root")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.package)
            item.add_marker(pytest.mark.timeout(600))  # a Debian has to be fetched when there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A .deb, and what dpkg-deb says of it."""

    deb: Path

    def field(self, name: str) -> str:
        return self._dpkg_deb("--field", self.deb, name).strip()

    def control(self, file: str) -> str:
        return self._dpkg_deb("--info", self.deb, file)

    def contents(self) -> dict[str, tuple[str, str]]:
        """Each path with its mode, as ls writes it, and its owner."""
        lines = (line.split(maxsplit=5) for line in self._dpkg_deb("--contents", self.deb).splitlines())
        return {path.removeprefix(".").rstrip("/"): (mode, owner) for mode, owner, _, _, _, path in lines}

    def depends(self) -> list[str]:
        """The packages that it depends on; of alternatives the first."""
        return [
            alternatives.split("|")[0].split()[0].split(":")[0] for alternatives in self.field("Depends").split(",")
        ]

    def newer(self, work: Path) -> "Package":
        """The same as version 9.9.9, which its code says too."""
        subprocess.run(["dpkg-deb", "--raw-extract", self.deb, work], check=True, timeout=60)
        for file, pattern, line in (
            ("DEBIAN/control", r"^Version: .*$", "Version: 9.9.9"),
            (
                "usr/lib/python3/dist-packages/failoverd/__init__.py",
                r'^__version__ = ".*"$',
                '__version__ = "9.9.9"',
            ),
        ):
            text = (work / file).read_text()
            changed = re.sub(pattern, line, text, flags=re.MULTILINE)
            assert changed != text, file
            (work / file).write_text(changed)
        deb = work.parent / "failoverd_9.9.9_all.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", work, deb], check=True, timeout=60)
        return Package(deb=deb)

    def _dpkg_deb(self, *argv: str | Path) -> str:
        return subprocess.run(["dpkg-deb", *argv], check=True, timeout=60, capture_output=True, text=True).stdout


def build(source: Path, work: Path, **environment: str) -> Package:
    """The package, built from the tree at `source`; CalledProcessError when it cannot be built."""
    subprocess.run(
        ["sh", source / "packaging" / "build.sh", work / "build", work / "out"],
        check=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "HOME": str(work), **environment},
    )
    (deb,) = (work / "out").glob("*.deb")
    return Package(deb=deb)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return build(ROOT, tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def newer(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Package:
    return package.newer(tmp_path_factory.mktemp("newer") / "tree")


@pytest.fixture(scope="session", params=["bookworm", "trixie"])
def debian(request: pytest.FixtureRequest, package: Package) -> Path:
    """A Debian with what the package depends on, and all whose units it is ordered with."""
    return chroot.base(request.param, [*package.depends(), *_NEIGHBOURS])


@pytest.fixture
def machine(debian: Path) -> Iterator[chroot.Chroot]:
    """A Debian without failoverd."""
    with chroot.machine(debian) as new:
        yield new


@pytest.fixture
def installed(machine: chroot.Chroot, package: Package) -> chroot.Chroot:
    """A Debian with failoverd just installed."""
    machine.install(package.deb)
    return machine


@pytest.fixture(scope="module")
def settled(debian: Path, package: Package) -> Iterator[chroot.Chroot]:
    """The same for tests that only look: one for all of them."""
    with chroot.machine(debian) as new:
        new.install(package.deb)
        yield new
