"""Run a command in the sandbox of a unit, on a machine without systemd: ``python3 confined.py UNIT COMMAND…``.

Of systemd.exec(5) it does what makes system calls fail: CapabilityBoundingSet=, NoNewPrivileges=, SystemCallFilter=,
RestrictAddressFamilies= and RestrictNamespaces=.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EQUAL, _MASKED = 4, 7
_FAMILIES = 46
_NAMESPACES = {
    "cgroup": 0x02000000,
    "ipc": 0x08000000,
    "mnt": 0x00020000,
    "net": 0x40000000,
    "pid": 0x20000000,
    "user": 0x10000000,
    "uts": 0x04000000,
}

_libc = ctypes.CDLL(None, use_errno=True)
_seccomp = ctypes.CDLL("libseccomp.so.2")
_seccomp.seccomp_init.restype = ctypes.c_void_p


class _Comparison(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


class Filter:
    """One of seccomp's, which does `default` where no rule says otherwise."""

    def __init__(self, default: int) -> None:
        self._context = ctypes.c_void_p(_seccomp.seccomp_init(ctypes.c_uint32(default)))

    def rule(self, action: int, call: str, *when: tuple[int, int, int, int]) -> None:
        number = _seccomp.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:
            comparisons = (_Comparison * len(when))(*(_Comparison(*each) for each in when))
            add = _seccomp.seccomp_rule_add_array
            assert add(self._context, ctypes.c_uint32(action), number, len(when), comparisons) == 0, call

    def load(self) -> None:
        assert _seccomp.seccomp_load(self._context) == 0


def directives(unit: Path) -> Iterator[tuple[str, list[str]]]:
    """Each line of it that sets something, in order."""
    for line in unit.read_text(encoding="utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            yield key, value.split()


def given(unit: Path, key: str) -> list[str]:
    """All words that `key` has."""
    return [word for name, words in directives(unit) if name == key for word in words]


def confine(unit: Path) -> None:
    """Be in its sandbox from now on."""
    _calls(unit).load()
    _families(given(unit, "RestrictAddressFamilies")).load()
    _namespaces(given(unit, "RestrictNamespaces")).load()
    for number in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii")) + 1):
        if _capability(number) not in given(unit, "CapabilityBoundingSet"):
            assert _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0
    if given(unit, "NoNewPrivileges") == ["yes"]:
        assert _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0


def _calls(unit: Path) -> Filter:
    allowed: set[str] = set()
    for key, words in directives(unit):
        if key == "SystemCallFilter":
            names = {name for word in words for name in _expanded(word.removeprefix("~"))}
            allowed = allowed - names if words[0].startswith("~") else allowed | names
    filter = Filter(_ERRNO | errno.EPERM)
    for name in sorted(allowed | set(_expanded("@default"))):
        filter.rule(_ALLOW, name)
    for name in ("seccomp", "prctl", "execve"):  # which are needed to get there
        filter.rule(_ALLOW, name)
    return filter


def _expanded(name: str) -> Iterator[str]:
    if not name.startswith("@"):
        yield name
        return
    argv = ["systemd-analyze", "--no-pager", "syscall-filter", name]
    for line in subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[1:]:
        if (word := line.strip()) and not word.startswith("#"):
            yield from _expanded(word)


def _families(names: list[str]) -> Filter:
    allowed = {int(getattr(socket, name)) for name in names}
    filter = Filter(_ALLOW)
    for family in range(_FAMILIES):
        if family not in allowed:
            filter.rule(_ERRNO | errno.EAFNOSUPPORT, "socket", (0, _EQUAL, family, 0))
    return filter


def _namespaces(names: list[str]) -> Filter:
    filter = Filter(_ALLOW)
    filter.rule(_ERRNO | errno.ENOSYS, "clone3")
    filter.rule(_ERRNO | errno.EPERM, "setns", (1, _EQUAL, 0, 0))
    for name, flag in _NAMESPACES.items():
        if name not in names:
            for call, argument in (("unshare", 0), ("clone", 0), ("setns", 1)):
                filter.rule(_ERRNO | errno.EPERM, call, (argument, _MASKED, flag, flag))
    return filter


def _capability(number: int) -> str:
    """The name of one, from capabilities(7), whose numbers libcap knows."""
    libcap = ctypes.CDLL("libcap.so.2")
    libcap.cap_to_name.restype = ctypes.c_char_p
    return str(libcap.cap_to_name(number).decode()).upper()


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606
