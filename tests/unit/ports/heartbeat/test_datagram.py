"""The bytes of a datagram: what was written is read, and nothing else is."""

from __future__ import annotations

import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.ports.heartbeat import datagram
from failoverd.ports.heartbeat.datagram import Datagram, Place, Unusable

KEY = b"k" * 44
NUMBER = st.integers(0, 2**64 - 1)
NAME = st.text(max_size=20)
ORDERED = st.tuples(NUMBER, NUMBER, NUMBER).map(sorted)
WORDS = st.lists(st.tuples(NAME, st.one_of(st.none(), st.binary(min_size=1, max_size=60))), max_size=5).map(tuple)


@st.composite
def datagrams(draw: st.DrawFn) -> Datagram:
    after, upto, revision = draw(ORDERED)
    return Datagram(
        sender=draw(NAME),
        receiver=draw(NAME),
        place=Place(session=draw(NUMBER), sequence=draw(NUMBER)),
        echo=Place(session=draw(NUMBER), sequence=draw(NUMBER)),
        revision=revision,
        have=draw(NUMBER),
        after=after,
        upto=upto,
        asks=draw(st.booleans()),
        words=draw(WORDS),
    )


@given(said=datagrams())
def test_what_was_written_is_read(said: Datagram) -> None:
    assert datagram.read(datagram.write(said, KEY), KEY) == said


@given(said=datagrams())
def test_its_size_is_what_was_counted(said: Datagram) -> None:
    counted = datagram.overhead(said.sender, said.receiver) + sum(datagram.size_of(*each) for each in said.words)
    assert len(datagram.write(said, KEY)) == counted


@given(said=datagrams())
def test_it_begins_as_all_of_its_session_do(said: Datagram) -> None:
    assert datagram.write(said, KEY).startswith(datagram.beginning(said.place.session))


@given(said=datagrams(), data=st.data())
def test_no_byte_may_change(said: Datagram, data: st.DataObject) -> None:
    written = bytearray(datagram.write(said, KEY))
    written[data.draw(st.integers(0, len(written) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Unusable):
        datagram.read(bytes(written), KEY)


@given(said=datagrams(), data=st.data())
def test_no_byte_may_be_missing(said: Datagram, data: st.DataObject) -> None:
    written = datagram.write(said, KEY)
    with pytest.raises(Unusable):
        datagram.read(written[: data.draw(st.integers(0, len(written) - 1))], KEY)


@given(data=st.binary(max_size=400))
def test_garbage_is_unusable(data: bytes) -> None:
    with pytest.raises(Unusable):
        datagram.read(data, KEY)


@given(said=st.binary(max_size=400))
def test_garbage_that_is_signed_is_unusable_or_well_formed(said: bytes) -> None:
    """A node with the key may have a fault."""
    data = datagram.MAGIC + said
    data += hmac.digest(KEY, data, "sha256")
    try:
        datagram.read(data, KEY)
    except Unusable:
        return
    assert datagram.write(datagram.read(data, KEY), KEY)


def one(**fields: Any) -> Datagram:
    return Datagram(sender="left", receiver="right", place=Place(session=1, sequence=1), **fields)


def test_another_key_is_named() -> None:
    with pytest.raises(Unusable, match="signed with another key"):
        datagram.read(datagram.write(one(), b"another" * 8), KEY)


def test_another_version_is_named() -> None:
    data = bytearray(datagram.write(one(), KEY))
    data[3] = 9
    with pytest.raises(Unusable, match="the format 9, and this failoverd has the format 1"):
        datagram.read(bytes(data), KEY)


def test_a_huge_one_is_not_read() -> None:
    word = b"x" * (datagram.MAX_BYTES - datagram.overhead("left", "right") - 3)
    assert datagram.read(datagram.write(one(words=(("", word),)), KEY), KEY).words == (("", word),)
    with pytest.raises(Unusable, match="no heartbeat"):
        datagram.read(datagram.write(one(words=(("", word + b"x"),)), KEY), KEY)


def test_revisions_that_contradict_each_other_are_malformed() -> None:
    with pytest.raises(Unusable, match="malformed"):
        datagram.read(datagram.write(one(after=3, upto=2, revision=3), KEY), KEY)
