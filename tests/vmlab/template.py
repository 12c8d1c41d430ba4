"""The machine that the three hypervisors begin as: configured once, switched off, and kept.

It is booted without Xen, which takes a quarter of the time. With DRBD 8 its disks are copied with it, metadata
included: so each node has the same data and knows it, and nothing has to be synchronised. DRBD 9's metadata say which
node they are of: there, they are made when all nodes run for the first time.
"""

import io
import tarfile
from collections.abc import Collection, Mapping
from pathlib import Path

from . import hosting, kept, qemu
from .hosting import Guest
from .lab import VmLab
from .machine import Hardware, Machine
from .service import package

_MEGABYTES = 16
_GENERATION = "generation"
_SITE = Path(__file__).with_name("site")
_SECONDS = 180.0
_KEEPALIVED = "keepalived"
_ENABLED = frozenset({"failoverd.service", _KEEPALIVED, "bird", "drbd", "vmlab-bridge", "vmlab-sampler"})

_PACK_GUEST = """set -e
cd /srv/guest
mkdir own
mv init own/
(cd own && find . | cpio --quiet -o -H newc) >own.img
cat base.img own.img >initrd.img
rm -r own own.img
"""

# All disks are zeros, and so the same: they have one identifier, and none of a node that went on without its peer.
_MAKE_DISKS = """set -e
modprobe drbd
for resource; do
    drbdadm create-md --force $resource
    identifier=$(od -An -N7 -tx8 /dev/urandom | tr -d ' ')
    drbdmeta --force $(drbdadm sh-minor $resource) v08 $(drbdadm sh-md-dev $resource) internal \\
        set-gi ${identifier#?}0:0:0:0:1:1:0:0:0:0:0
done
"""

_MAKE_OWN_METADATA = """set -e
modprobe drbd
for resource in $(drbdadm sh-resources); do drbdadm create-md --force $resource; done
drbdadm adjust all
"""

_BEGIN_WITH_ZEROS = """set -e
drbdadm wait-connect "$1"
# Nothing is out of sync: all disks are empty.
drbdadm new-current-uuid --clear-bitmap "$1/0"
"""


def disks(guests: Collection[Guest]) -> dict[str, int]:
    """The disks of a machine that may have these guests."""
    return {guest.name: _MEGABYTES for guest in guests}


def hardware(guests: Collection[Guest]) -> Hardware:
    """What it is made of."""
    return Hardware(networks=hosting.networks("left"), processors=2, disks=disks(guests))


def made(guests: Collection[Guest]) -> tuple[Path, int]:
    """Where the machine is kept that the three begin as, and the generation of DRBD; made at the first call."""
    place = kept.place("model")
    with kept.alone("model"):
        if not place.is_dir():
            _make(place, guests)
    return place / "machine", int((place / _GENERATION).read_text(encoding="ascii"))


def _make(place: Path, guests: Collection[Guest]) -> None:
    with VmLab({"left": hardware(guests)}) as lab, kept.new(place) as new:
        lab.boot()
        machine = lab.machines["left"]
        generation = configure(machine, guests)
        machine.shut_down()
        machine.keep(new / "machine")
        (new / _GENERATION).write_text(f"{generation}\n", encoding="ascii")


def configure(machine: Machine, guests: Collection[Guest]) -> int:
    """Install and configure all, and return the generation of DRBD."""
    generation = 9 if machine.sh("modprobe drbd && modinfo -F version drbd").startswith("9.") else 8
    deb = package()
    files = {path: (text.encode(), 0o644) for path, text in hosting.files(generation, guests).items()}
    files["/usr/local/sbin/vmlab-bridge"] = hosting.BRIDGE_SCRIPT.encode(), 0o755
    for name in ("sampler.py", "xen-block", "xen-vif"):
        files[f"/usr/local/lib/vmlab/{name}"] = (_SITE / name).read_bytes(), 0o755
    files["/srv/guest/init"] = (_SITE / "guest-init").read_bytes(), 0o755
    files["/root/.ssh/id_ed25519"] = qemu.image().key.read_bytes(), 0o600
    files["/srv/failoverd.deb"] = deb.read_bytes(), 0o644
    # Nothing is started by its installation: this machine is configured, and that is all.
    files["/usr/sbin/policy-rc.d"] = b"#!/bin/sh\nexit 101\n", 0o755
    machine.run(["tar", "-C", "/", "-xf", "-"], given=_archive(files))
    for script in (_PACK_GUEST, "dpkg -i --force-confold /srv/failoverd.deb && rm /usr/sbin/policy-rc.d"):
        machine.sh(script, within=_SECONDS)
    if generation == 8:
        machine.run(["sh", "-c", _MAKE_DISKS, "sh", *(guest.name for guest in guests)], within=_SECONDS)
    enabled = _ENABLED if generation == 8 else _ENABLED - {_KEEPALIVED}
    machine.sh(f"systemctl enable --quiet {' '.join(sorted(enabled))}", within=_SECONDS)
    return generation


def make_disks(machines: Mapping[str, Machine], guests: Collection[Guest]) -> None:
    """Make DRBD 9's disks on the machines, by their names, and let keepalived run there from now on."""
    for machine in machines.values():
        machine.sh(_MAKE_OWN_METADATA, within=_SECONDS)
    for guest in guests:
        machines[guest.nodes[9][0]].run(["sh", "-c", _BEGIN_WITH_ZEROS, "sh", guest.name], within=_SECONDS)
    for machine in machines.values():
        machine.run(["systemctl", "enable", "--quiet", "--now", _KEEPALIVED], within=_SECONDS)


def _archive(files: dict[str, tuple[bytes, int]]) -> bytes:
    """A tar archive of files: by path, the content and the mode."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for path, (content, mode) in files.items():
            member = tarfile.TarInfo(path.removeprefix("/"))
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return whole.getvalue()
