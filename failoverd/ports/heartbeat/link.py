"""What is said to one other node and heard from it, without a socket and without a clock.

A daemon numbers what it sends within a random session, and echoes the newest datagram that it has received. A word
counts from the time at which the datagram that it echoes was sent here: the other node said it after that. So a replay
proves nothing new, also after a reboot of either node, and no clocks are compared.

Each word has a revision. A node says the words that the other one does not have yet; after that, a datagram without
words confirms them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from failoverd.ports.heartbeat import datagram
from failoverd.ports.heartbeat.datagram import Datagram, Place, Unusable, Word

#: Seconds for which a datagram can be echoed, and how many are remembered.
_ECHO_S = 60.0
_ECHO_MAX = 4096
#: Sessions that have ended are remembered, so that a replay cannot bring one back.
_ENDED_MAX = 64
#: Datagrams that are sent at once; the other words follow when these have arrived.
_BURST = 24
#: Words of one node that are kept. More are a fault in it.
_WORDS_MAX = 10_000


class Words:
    """The words that this node has to say, by instance. `revision` counts their changes."""

    def __init__(self) -> None:
        self.revision = 0
        self._words: dict[str, tuple[int, Word]] = {}  # the newest last

    def put(self, name: str, word: Word) -> bool:
        """Say `word` of the instance from now on. Returns whether that is a change."""
        before = self._words.get(name)
        if before is not None and before[1] == word:
            return False
        self.revision += 1
        self._words.pop(name, None)
        self._words[name] = (self.revision, word)
        return True

    def names(self) -> set[str]:
        """The instances of which there is something to say."""
        return {name for name, (_, word) in self._words.items() if word is not None}

    def after(self, revision: int) -> list[tuple[str, int, Word]]:
        """The words that are newer, the oldest first, each with its revision."""
        found: list[tuple[str, int, Word]] = []
        for name in reversed(self._words):
            number, word = self._words[name]
            if number <= revision:
                break
            found.append((name, number, word))
        return found[::-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one datagram has brought.

    `at`: it was sent after that time; None: it may be a replay, and proves nothing. `words`: those in it; None: the
    instance is not configured there any more. `whole`: with these, every word of the node is known. `asks`: it wants
    an answer now.
    """

    at: float | None = None
    words: tuple[tuple[str, Word], ...] = ()
    whole: bool = False
    asks: bool = False


class Link:
    """One other node. `session`: random, of this link alone, and never 0.

    `words`: what this node has to say, to every node the same; `known`: the instances of which the other node has
    spoken before. All times are those of the caller's monotonic clock.
    """

    def __init__(
        self, me: str, peer: str, *, key: bytes, session: int, words: Words, known: Iterable[str] = ()
    ) -> None:
        self._me = me
        self._peer = peer
        self._key = key
        self._session = session
        self._words = words
        self._sequence = 0
        self._sent: dict[int, float] = {}
        self._newest = Place()  # the last datagram of the other node's session
        self._unproven = Place()  # one of another session, which may be a replay
        self._greeted = False
        self._ended: dict[int, None] = {}
        self._have = 0
        self._known: set[str] = set()
        self._before = set(known)  # in the session before
        self._acknowledged = 0
        self._told = 0

    # ------------------------------------------------------------ sending

    def beat(self, now: float, *, asks: bool = False) -> list[bytes]:
        """What is sent at the interval: all that the other node does not have, or that nothing has changed."""
        self._told = self._acknowledged
        return self.more(now, asks=asks) or [self._write(now, asks=asks)]

    def answer(self, now: float) -> list[bytes]:
        """What is sent when the other node asks: the words that were not sent yet, or that it was heard."""
        return self.more(now) or [self._write(now)]

    def more(self, now: float, *, asks: bool = False) -> list[bytes]:
        """The words that were not sent yet, in at most as many datagrams as may be sent at once. The last one asks."""
        if self._newest == Place():
            return []  # nobody has answered yet
        batches = list(self._batches())
        sent: list[bytes] = []
        for number, batch in enumerate(batches, 1):
            after, self._told = self._told, batch[-1][1]
            words = tuple((name, word) for name, _, word in batch)
            last = number == len(batches)
            sent.append(self._write(now, asks=asks or last, after=after, upto=self._told, words=words))
        return sent

    @property
    def goes_on(self) -> bool:
        """Whether there are words that were not sent yet, and all before them have arrived."""
        return self._acknowledged == self._told < self._words.revision

    @property
    def beginning(self) -> bytes:
        """The bytes with which all that the other node says begins, until it is started anew; empty: not known."""
        return datagram.beginning(self._newest.session) if self._newest != Place() else b""

    def _batches(self) -> Iterator[list[tuple[str, int, Word]]]:
        empty = room = datagram.FULL_BYTES - datagram.overhead(self._me, self._peer)
        batch: list[tuple[str, int, Word]] = []
        count = 0
        for name, revision, word in self._words.after(self._told):
            size = datagram.size_of(name, word)
            if batch and size > room:
                yield batch
                count += 1
                if count == _BURST:
                    return
                batch, room = [], empty
            batch.append((name, revision, word))
            room -= size
        if batch:
            yield batch

    def _write(
        self,
        now: float,
        *,
        asks: bool = False,
        after: int = 0,
        upto: int = 0,
        words: tuple[tuple[str, Word], ...] = (),
    ) -> bytes:
        self._sequence += 1
        self._sent[self._sequence] = now
        while len(self._sent) > _ECHO_MAX or next(iter(self._sent.values())) < now - _ECHO_S:
            del self._sent[next(iter(self._sent))]
        echo, have = self._newest, self._have
        # Another session is greeted with every second datagram without words at most, so that replays silence nobody.
        if self._unproven != Place() and not words and (self._newest == Place() or not self._greeted):
            echo, have, self._unproven, self._greeted = self._unproven, 0, Place(), True
        else:
            self._greeted = False
        said = Datagram(
            sender=self._me,
            receiver=self._peer,
            place=Place(session=self._session, sequence=self._sequence),
            echo=echo,
            revision=self._words.revision,
            have=have,
            after=after,
            upto=upto,
            asks=asks,
            words=words,
        )
        return datagram.write(said, self._key)

    # ------------------------------------------------------------ receiving

    def hear(self, data: bytes) -> Heard:
        """Take in one datagram that came from the other node's address. Unusable: it proves nothing, and why."""
        said = datagram.read(data, self._key)
        if said.sender != self._peer or said.receiver != self._me:
            raise Unusable(f"it is from {said.sender} to {said.receiver}")
        sent = self._sent.get(said.echo.sequence) if said.echo.session == self._session else None
        adopted = False
        if said.place.session != self._newest.session:
            if said.place.session in self._ended:
                raise Unusable("it is a replay of an earlier session")
            if sent is None:
                self._unproven = said.place
                return Heard(asks=True)
            self._adopt()
            adopted = True
        elif said.place.sequence <= self._newest.sequence:
            raise Unusable("it is a replay, or late")
        self._newest = said.place
        if sent is None:
            return Heard(asks=said.asks)
        if said.have <= self._words.revision:
            self._acknowledged = said.have
            self._told = max(self._told, said.have)
        heard = self._taken(said)
        return replace(heard, at=sent, asks=heard.asks or adopted)  # that it was heard is what the other one waits for

    def _adopt(self) -> None:
        """The other daemon was started anew, or is heard for the first time."""
        if self._newest != Place():
            self._ended[self._newest.session] = None
            if len(self._ended) > _ENDED_MAX:
                del self._ended[next(iter(self._ended))]
        self._unproven = Place()
        self._have = self._acknowledged = self._told = 0
        self._before |= self._known
        self._known = set()

    def _taken(self, said: Datagram) -> Heard:
        words = said.words
        if len(self._known) + len(words) > _WORDS_MAX:
            raise Unusable(f"it has more than {_WORDS_MAX} words")
        if said.after <= self._have:
            self._have = max(self._have, said.upto)
        self._known |= {name for name, word in words if word is not None}
        self._known -= {name for name, word in words if word is None}
        whole = self._have == said.revision
        if whole and self._before:
            words += tuple((name, None) for name in sorted(self._before - self._known))
            self._before = set()
        return Heard(words=words, whole=whole, asks=said.asks)
