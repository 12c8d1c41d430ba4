"""What the kernel says of addresses, byte for byte; test_vip.py asks the real one."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from failoverd.ports import netlink
from failoverd.ports.netlink import Address

DONE = struct.pack("=LHHLLi", 20, 3, 2, 1, 0, 0)


class Kernel:
    """Gives these answers to one question."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)

    def send(self, question: bytes) -> None:
        assert question[4:6] == struct.pack("=H", 22)

    def recv(self, _: int) -> bytes:
        return self._answers.pop(0)

    def addresses(self) -> list[Address]:
        return netlink.addresses(self)  # type: ignore[arg-type]


def message(*attributes: tuple[int, bytes], flags: int = 0x80, index: int = 2, header: int = 2) -> bytes:
    """RTM_NEWADDR."""
    body = struct.pack("=BBBBL", socket.AF_INET, 32, flags, 0, index)
    for kind, value in attributes:
        body += struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
    return struct.pack("=LHHLL", 16 + len(body), 20, header, 1, 0) + body


ONE, TWO = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])


def test_addresses_in_several_answers() -> None:
    kernel = Kernel(message((1, ONE), (2, ONE)) + message((1, TWO), index=7), message((1, bytes(16))), DONE)
    assert kernel.addresses() == [Address(ONE, 2, 0x80), Address(TWO, 7, 0x80), Address(bytes(16), 2, 0x80)]


def test_the_local_end_of_a_point_to_point_link_counts() -> None:
    assert Kernel(message((1, TWO), (2, ONE)) + DONE).addresses() == [Address(ONE, 2, 0x80)]


def test_names_and_other_attributes_are_skipped() -> None:
    assert Kernel(message((3, b"eth0\0"), (1, ONE), (99, b"x")) + DONE).addresses() == [Address(ONE, 2, 0x80)]


def test_flags_of_new_kernels_go_before_those_of_the_header() -> None:
    told = Kernel(message((1, ONE), (8, struct.pack("=L", 0x340))) + message((1, TWO), flags=0x08) + DONE).addresses()
    assert [address.flags for address in told] == [0x340, 0x08]


def test_what_has_no_address_is_none() -> None:
    assert Kernel(message((3, b"eth0\0")) + DONE).addresses() == []


def test_a_change_while_it_is_told_is_asked_for_again_when_all_was_read() -> None:
    kernel = Kernel(message((1, ONE), header=0x12), message((1, TWO)) + DONE)
    with pytest.raises(netlink.Interrupted):
        kernel.addresses()
    assert kernel._answers == []


def test_an_error_is_said() -> None:
    with pytest.raises(OSError, match="Operation not permitted") as caught:
        Kernel(struct.pack("=LHHLLi", 20, 2, 0, 1, 0, -errno.EPERM)).addresses()
    assert caught.value.errno == errno.EPERM


@pytest.mark.parametrize("broken", [bytes(16), bytes(3)])
def test_what_is_no_message_does_not_loop(broken: bytes) -> None:
    with pytest.raises((OSError, struct.error)):
        Kernel(broken).addresses()


def removal(value: bytes, port: int) -> bytes:
    """RTM_DELADDR, asked for by the owner of `port`."""
    added = message((2, value))
    return added[:4] + struct.pack("=H", 21) + added[6:12] + struct.pack("=L", port) + added[16:]


def test_of_the_notifications_the_removals_are_kept() -> None:
    here, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, kernel:
        here.setblocking(False)
        kernel.send(message((2, ONE)) + removal(ONE, 4711))
        kernel.send(removal(TWO, 0))
        removed = [netlink.Removal(ONE, 2, 4711), netlink.Removal(TWO, 2, 0)]
        assert netlink.drain(here) == (True, removed)
