"""The directories in which ``xl create`` writes: without room there, it fails, or the guest runs without its xl."""

from __future__ import annotations

from failoverd.osutil import room, threads

#: The guest's configuration and pygrub's copy of its kernel; the logs of xl and QEMU; xl's lock; QEMU's sockets.
DIRECTORIES = ("/var/lib/xen", "/var/log/xen", "/var/lock", "/run")

#: Bytes of one file there. It is several times a guest's configuration, and no kernel.
ROOM_BYTES = 65536

#: Seconds for all of these disks.
DISK_TIMEOUT_S = 2.0


async def obstacle() -> str:
    """The reason why ``xl create`` could not write one of its files now; empty if it could."""
    try:
        return await _all.run(DISK_TIMEOUT_S)
    except TimeoutError:
        return f"{', '.join(DIRECTORIES)}: one of these disks does not answer within {DISK_TIMEOUT_S:.3g} s"
    except OSError:  # no thread is left: nothing is known of the disks
        return ""


def _check() -> str:
    for directory in DIRECTORIES:
        try:
            room.check(directory, ROOM_BYTES)
        except OSError as error:
            return f"{directory}: xl cannot write: {error.strerror}; {room.remedy(directory, error)}"
    return ""


_all = threads.Single(_check)
