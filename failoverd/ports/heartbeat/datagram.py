"""The format of a datagram, and its signature. What arrives is believed only after that, and its lengths never.

magic and version   4 bytes
session, sequence   8 bytes each: of the sender; the echo: of the newest datagram that it has from the receiver
revision            8 bytes: of the newest word that the sender has to say
have                8 bytes: the revision up to which it has every word of the echoed session
after, upto         8 bytes each: the datagram has every word with a revision after the one, up to the other
flags               1 byte
sender, receiver    a length in 1 byte, and a name in UTF-8
words               each: the length of the instance's name in 1 byte, its name, the length in 2 bytes, the word;
                    the length 0: the instance is not configured any more
signature           32 bytes: HMAC-SHA256 of all that is before it
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass, field

#: The version is the last byte. A datagram of another version is not understood, and said to be of one.
MAGIC = b"fo1\x01"

#: A datagram is filled up to this size, so that it is no larger than a packet of any link. One larger word goes alone.
FULL_BYTES = 1200
#: No datagram is larger.
MAX_BYTES = 8192

_HEADER = struct.Struct("!4s8QB")
_SIGNATURE_BYTES = 32
_WORD = struct.Struct("!H")
_ASKS = 1

#: A word, of which this port knows no more than that; None: the instance is not configured any more.
Word = bytes | None


class Unusable(Exception):
    """A datagram that proves nothing; the reason in a few words for a person."""


class Unverified(Unusable):
    """It is a heartbeat, of another key or format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A datagram of one daemon: its session and its number there. Zeros: none."""

    session: int = 0
    sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Datagram:
    """All of one datagram, except for its signature. `asks`: the sender wants an answer at once."""

    sender: str
    receiver: str
    place: Place
    echo: Place = Place()
    revision: int = 0
    have: int = 0
    after: int = 0
    upto: int = 0
    asks: bool = False
    words: tuple[tuple[str, Word], ...] = field(default=())


def size_of(name: str, word: Word) -> int:
    """The bytes that one word takes in a datagram."""
    return 1 + len(name.encode()) + _WORD.size + len(word or b"")


def overhead(sender: str, receiver: str) -> int:
    """The bytes of a datagram without words."""
    return _HEADER.size + 2 + len(sender.encode()) + len(receiver.encode()) + _SIGNATURE_BYTES


def beginning(session: int) -> bytes:
    """The bytes with which every datagram of a session begins. Who has not read one of them cannot know them."""
    return _HEADER.pack(MAGIC, session, 0, 0, 0, 0, 0, 0, 0, 0)[:12]


def write(datagram: Datagram, key: bytes) -> bytes:
    """The bytes of a datagram, signed."""
    one = datagram
    parts = [
        _HEADER.pack(
            MAGIC,
            one.place.session,
            one.place.sequence,
            one.echo.session,
            one.echo.sequence,
            one.revision,
            one.have,
            one.after,
            one.upto,
            _ASKS if one.asks else 0,
        ),
        _named(one.sender),
        _named(one.receiver),
    ]
    for name, word in one.words:
        parts += [_named(name), _WORD.pack(len(word or b"")), word or b""]
    said = b"".join(parts)
    return said + hmac.digest(key, said, "sha256")


def read(data: bytes, key: bytes) -> Datagram:
    """A datagram that was signed with the key. Unverified: it was not; Unusable: it is none."""
    if len(data) > MAX_BYTES or len(data) < _HEADER.size + _SIGNATURE_BYTES or data[:3] != MAGIC[:3]:
        raise Unusable("it is no heartbeat")
    if data[:4] != MAGIC:
        raise Unverified(f"it has the format {data[3]}, and this failoverd has the format {MAGIC[3]}")
    said, signature = data[:-_SIGNATURE_BYTES], data[-_SIGNATURE_BYTES:]
    if not hmac.compare_digest(hmac.digest(key, said, "sha256"), signature):
        raise Unverified("it was signed with another key")
    try:
        return _parsed(said)
    except (ValueError, struct.error, IndexError):
        raise Unusable("it is signed, and malformed") from None


def _parsed(said: bytes) -> Datagram:
    _, session, sequence, echo_session, echoed, revision, have, after, upto, flags = _HEADER.unpack_from(said)
    sender, at = _name(said, _HEADER.size)
    receiver, at = _name(said, at)
    words: list[tuple[str, Word]] = []
    while at < len(said):
        name, at = _name(said, at)
        (length,) = _WORD.unpack_from(said, at)
        word, at = _taken(said, at + _WORD.size, length)
        words.append((name, word or None))
    if not after <= upto <= revision:
        raise ValueError("revisions out of order")
    return Datagram(
        sender=sender,
        receiver=receiver,
        place=Place(session=session, sequence=sequence),
        echo=Place(session=echo_session, sequence=echoed),
        revision=revision,
        have=have,
        after=after,
        upto=upto,
        asks=bool(flags & _ASKS),
        words=tuple(words),
    )


def _named(name: str) -> bytes:
    encoded = name.encode()
    return bytes((len(encoded),)) + encoded


def _name(said: bytes, at: int) -> tuple[str, int]:
    name, end = _taken(said, at + 1, said[at])
    return name.decode(), end


def _taken(said: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(said):
        raise ValueError("shorter than it says")
    return said[at : at + length], at + length
