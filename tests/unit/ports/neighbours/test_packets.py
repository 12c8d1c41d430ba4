"""ARP messages and neighbour advertisements, byte for byte; test_neighbours.py asks real stations."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.ports.neighbours import arp, ndp

VIP4, VIP6, MAC = bytes([192, 0, 2, 1]), bytes.fromhex("20010db8" + "00" * 11 + "01"), bytes.fromhex("020000000002")


def message(operation: int = 2, sender: bytes = VIP4, kind: bytes = bytes([0, 1, 8, 0, 6, 4])) -> bytes:
    return kind + struct.pack("!H", operation) + MAC + sender + bytes(10)


def advertisement(*options: bytes, kind: int = 136) -> bytes:
    return struct.pack("!BBHI", kind, 0, 0, 0x60000000) + VIP6 + b"".join(options)


@pytest.mark.parametrize("operation", [1, 2])  # an announcement is a claim as well
def test_the_sender_claims_its_address(operation: int) -> None:
    assert arp.claim(message(operation)) == (VIP4, MAC)
    assert arp.claim(message(operation) + bytes(18)) == (VIP4, MAC)  # the padding of a frame


@pytest.mark.parametrize(
    "packet",
    [b"", message()[:-1], message(sender=bytes(4)), message(kind=bytes([0, 6, 8, 0, 6, 4]))],
)
def test_what_claims_nothing(packet: bytes) -> None:
    assert arp.claim(packet) is None


def test_the_target_is_claimed_by_the_mac_of_the_option() -> None:
    other = b"\x0e\x01" + bytes(6)
    assert ndp.claim(advertisement(b"\x02\x01" + MAC)) == (VIP6, MAC)
    assert ndp.claim(advertisement(other, b"\x02\x01" + MAC)) == (VIP6, MAC)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        advertisement(),
        advertisement(b"\x02\x00" + MAC),  # an option without a length has no end
        advertisement(b"\x01\x01" + MAC),
        advertisement(b"\x02\x01" + MAC, kind=135),
        advertisement(b"\x02\x01" + MAC)[:-1],
    ],
)
def test_what_advertises_no_mac(packet: bytes) -> None:
    assert ndp.claim(packet) is None


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_a_claim_or_none(packet: bytes, begun: bool) -> None:
    arp.claim(packet)
    ndp.claim(advertisement(packet) if begun else packet)
