"""Says again and again, from inside of a hypervisor, what runs there: its guests, and which DRBD devices are Primary.

    sampler.py CLIENT PORT VIP

One line by UDP each time: `sample` and a JSON object. A guest is there when Domain-0 serves it a disk: that is seen in
files of the kernel, without an `xl`, which would take most of an emulated machine's time. Standard library only.
"""

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

_PAUSE = 0.5
_MAJOR = 147
_DEVICE = re.compile(r"^ *(\d+): cs:(\S+) ro:(\w+)/\w+ ds:(\w+)/", re.MULTILINE)


def guests() -> list[str]:
    """The minor of the DRBD device that each guest has for its disk."""
    found = []
    for backend in Path("/sys/bus/xen-backend/devices").glob("vbd-*"):
        with contextlib.suppress(OSError, ValueError):
            major, minor = (backend / "physical_device").read_text(encoding="ascii").split(":")
            found.append(str(int(minor, 16)) if int(major, 16) == _MAJOR else f"{major}:{minor}")
    return found


def devices() -> dict[str, list[str]] | None:
    """Of each DRBD device, by minor: connections, role and disk state. None when DRBD is not there."""
    try:
        page = Path("/proc/drbd").read_text(encoding="ascii")
    except OSError:
        return None
    if page.startswith("version: 8."):
        return of_page(page)
    return of_status(subprocess.run(["drbdsetup", "status", "--json"], capture_output=True, check=False).stdout)


def of_page(page: str) -> dict[str, list[str]]:
    """The same, of DRBD 8's /proc/drbd."""
    return {minor: [cs, role, disk] for minor, cs, role, disk in _DEVICE.findall(page)}


def of_status(status: bytes) -> dict[str, list[str]]:
    """The same, of what DRBD 9's drbdsetup says; nothing when it says nothing."""
    found = {}
    for resource in json.loads(status or b"[]"):
        connections = ",".join(each["connection-state"] for each in resource["connections"])
        for device in resource["devices"]:
            found[str(device["minor"])] = [connections, resource["role"], device["disk-state"]]
    return found


def has(address: str) -> bool:
    """Whether the address is one of this machine's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        try:
            endpoint.bind((address, 0))
        except OSError:
            return False
    return True


def tell(client: str, port: int, vip: str) -> NoReturn:
    """For ever."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        while True:
            began = time.monotonic()
            seen = {
                "node": socket.gethostname(),
                "boot": boot,
                "vip": has(vip),
                "devices": devices(),
                "guests": guests(),
                "took": round(time.monotonic() - began, 3),
            }
            with contextlib.suppress(OSError):
                endpoint.sendto(b"sample " + json.dumps(seen).encode(), (client, port))
            time.sleep(_PAUSE)


if __name__ == "__main__":
    tell(sys.argv[1], int(sys.argv[2]), sys.argv[3])
