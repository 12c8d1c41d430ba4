"""A machine for a configuration management to work on: with a package `failoverd` in its apt, and a systemctl that
writes down what it was told.

The package is a stand-in with what the role and the manifest rely on: the real failoverctl and hook, the group, the
directory of the configuration.
"""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from .sandbox import EXAMPLES, REPOSITORY, Sandbox

CONFIG = "/etc/failoverd/failoverd.toml"
KEEPALIVED = "/etc/keepalived/keepalived.conf"
OPERATOR = "alice"

_HERE = Path(__file__).parent
#: keepalived 2.3 refuses a track_file without its directory.
_POSTINST = """#!/bin/sh
set -e
groupadd --force --system failoverd
mkdir -p /run/failoverd/track
"""
_CONTROL = """Package: failoverd
Version: 0
Architecture: all
Maintainer: nobody <nobody@example.net>
Description: stands for the real package
"""


class Machine:
    """The load balancer `left`, with certbot's timer enabled and running, before anything was done to it."""

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        box.do(["hostname", "left"])
        box.interface("eth0", "203.0.113.11/24")
        box.do(["install", "-m", "755", str(_HERE / "systemctl.sh"), "/usr/bin/systemctl"])
        box.do(["useradd", OPERATOR])
        self._make_repository()
        for file in ("failoverd.toml", "keepalived.conf"):
            box.write(f"/srv/site/files/{file}", (EXAMPLES / "loadbalancer" / file).read_text())
        box.do(["systemctl", "enable", "certbot.timer"])
        box.do(["systemctl", "start", "certbot.timer"])
        self.told()

    def told(self) -> list[str]:
        """What systemctl was told since this was asked last."""
        log = self.box.path("/var/lib/units/log")
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def change_both_files(self) -> None:
        """Change the site's files to others that are good."""
        self._edit("failoverd.toml", 'interface = "eth0"', 'interface = "eth0"\nvip_timeout = "4s"')
        self._edit("keepalived.conf", "advert_int 0.5", "advert_int 2")

    def spoil(self) -> Iterator[tuple[str, str, str]]:
        """Make the site's files bad, one after the other: its name, where it is installed, and what is to be said."""
        self._edit("keepalived.conf", "advert_int", "advertint")
        yield "keepalived.conf", KEEPALIVED, "Unknown keyword 'advertint'"
        self._edit("failoverd.toml", 'driver = "unit"', 'driver = "unite"')
        yield "failoverd.toml", CONFIG, "did you mean"

    def has_the_files_of_the_site(self) -> bool:
        return all(self._same(file, at) for file, at in (("failoverd.toml", CONFIG), ("keepalived.conf", KEEPALIVED)))

    def may_act(self) -> bool:
        return "failoverd" in self.box.do(["id", "--name", "--groups", OPERATOR]).split()

    def _edit(self, file: str, old: str, new: str) -> None:
        path = self.box.path(f"/srv/site/files/{file}")
        before = path.read_text()
        assert old in before
        path.write_text(before.replace(old, new))

    def _same(self, file: str, at: str) -> bool:
        return self.box.path(f"/srv/site/files/{file}").read_text() == self.box.path(at).read_text()

    def _make_repository(self) -> None:
        box, tree, repository = self.box, "/srv/package", "/srv/apt"
        failoverctl = Path(sys.executable).parent / "failoverctl"
        box.write(f"{tree}/usr/bin/failoverctl", f'#!/bin/sh\nexec "{failoverctl}" "$@"\n', mode=0o755)
        box.write(f"{tree}/usr/libexec/failoverd/notify", (REPOSITORY / "hooks/notify").read_text(), mode=0o755)
        box.write(f"{tree}/etc/failoverd/conf.d/.keep", "")
        box.write(f"{tree}/DEBIAN/control", _CONTROL)
        box.write(f"{tree}/DEBIAN/postinst", _POSTINST, mode=0o755)
        box.path(repository).mkdir()
        box.do(["dpkg-deb", "--build", "-Znone", tree, f"{repository}/failoverd.deb"])
        deb = box.path(f"{repository}/failoverd.deb").read_bytes()
        entry = f"{_CONTROL}Filename: ./failoverd.deb\nSize: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n"
        box.write(f"{repository}/Packages", entry)
        # apt is to know this repository only, and to have looked at none for long.
        lists = "/var/lib/apt/lists"
        stamp = "/var/lib/apt/periodic/update-success-stamp"
        box.do(["sh", "-c", f"rm -rf /etc/apt/sources.list.d/* {lists}/* {stamp}; touch --date=@0 {lists}"])
        box.write("/etc/apt/sources.list", f"deb [trusted=yes] file:{repository} ./\n")
