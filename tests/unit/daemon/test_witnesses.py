"""The witnesses are asked all at once, and each answer becomes an event; a lease goes when nothing needs it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from failoverd.core import strays
from failoverd.core.effects import AskWitnesses
from failoverd.core.events import LeaseAnswered, WitnessAnswered
from failoverd.core.model import InstanceState, State
from failoverd.core.spec import Config, InstanceSpec, Quorum
from failoverd.core.words import Standing
from failoverd.daemon.witnesses import Witnesses
from failoverd.ports import witness
from failoverd.ports.witness import Answer
from tests.unit.core.world import resource

ROUTER, LEASE = "icmp://192.0.2.254", "etcd://192.0.2.9:2379"
QUORUM = Quorum(witnesses=(ROUTER,), leases=(LEASE,), need=1)


@dataclass
class Scripted:
    """Both kinds of witness. It answers what is in `answers`, in order; each call is in `calls`."""

    answers: list[Answer] = field(default_factory=list)
    calls: list[tuple[object, ...]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def _answer(self, *call: object) -> Answer:
        self.calls.append(call)
        await self.gate.wait()
        return self.answers.pop(0)

    async def ask(self, timeout: float) -> Answer:
        return await self._answer("ask", timeout)

    async def hold(self, instance: str, ttl: float, timeout: float, *, take: bool) -> Answer:
        return await self._answer("hold" if take else "renew", instance, ttl, timeout)

    async def look(self, instance: str, timeout: float) -> Answer:
        return await self._answer("look", instance, timeout)

    async def release(self, instance: str, timeout: float) -> None:
        assert timeout > 0
        self.calls.append(("release", instance))
        await self.gate.wait()

    async def close(self) -> None:
        self.calls.append(("close",))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, Scripted]:
    """Each witness by its URL."""
    found: dict[str, Scripted] = {}
    monkeypatch.setattr(witness, "make", lambda url: found.setdefault(url, Scripted()))
    monkeypatch.setattr(witness, "lease", lambda url, node: found.setdefault(f"{url} {node}", Scripted()))
    return found


def asking(told: list[object]) -> Witnesses:
    asked = Witnesses(told.append)
    asked.configure(QUORUM, "left")
    return asked


def effect(hold: dict[str, float], *look: str, renew: dict[str, float] | None = None) -> AskWitnesses:
    return AskWitnesses(asked=7.0, timeout=1.0, hold=hold, renew=renew or {}, look=look)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_all_are_asked_at_once_and_each_answer_is_told(made: dict[str, Scripted]) -> None:
    told: list[object] = []
    asked = asking(told)
    router, lease = made[ROUTER], made[f"{LEASE} left"]
    asked.perform(effect({"VI_1": 30.0}, "VI_2", renew={"VI_3": 40.0}))
    await turns()
    assert router.calls == [("ask", 1.0)]
    assert lease.calls == [("hold", "VI_1", 30.0, 1.0), ("renew", "VI_3", 40.0, 1.0), ("look", "VI_2", 1.0)]
    assert told == []
    router.answers.append(Answer(granted=None, said="no answer within 1 s"))
    lease.answers += [Answer(granted=True, said=said) for said in ("granted", "renewed", "answered")]
    router.gate.set()
    lease.gate.set()
    await turns()
    assert told == [
        WitnessAnswered(witness=ROUTER, granted=None, said="no answer within 1 s", asked=7.0),
        LeaseAnswered(instance="VI_1", witness=LEASE, granted=True, said="granted", asked=7.0, held=True),
        LeaseAnswered(instance="VI_3", witness=LEASE, granted=True, said="renewed", asked=7.0, held=True),
        LeaseAnswered(instance="VI_2", witness=LEASE, granted=True, said="answered", asked=7.0, held=False),
    ]
    await asked.close()


async def test_a_lease_is_given_up_when_the_instance_needs_it_no_more(made: dict[str, Scripted]) -> None:
    asked = asking([])
    lease = made[f"{LEASE} left"]
    asked.perform(effect({"VI_1": 30.0}))
    spec = InstanceSpec(name="VI_1")
    instance = InstanceState(spec=spec, since=0.0, next_check=0.0, vips={}, resources={}, standing=Standing.PRESENT)
    state = State(config=Config(instances={"VI_1": spec}, quorum=QUORUM), instances={"VI_1": instance})
    asked.change(state)
    await turns()
    assert ("release", "VI_1") not in lease.calls
    asked.change(replace(state, instances={"VI_1": replace(instance, standing=Standing.IDLE)}))
    asked.change(replace(state, instances={}))
    await turns()
    assert lease.calls.count(("release", "VI_1")) == 1
    lease.answers.append(Answer(granted=True, said="granted"))
    lease.gate.set()
    made[ROUTER].answers.append(Answer(granted=True, said="answered"))
    made[ROUTER].gate.set()
    await asked.close()


async def test_a_lease_is_not_given_up_while_a_stray_may_be_active(made: dict[str, Scripted]) -> None:
    asked = asking([])
    lease = made[f"{LEASE} left"]
    asked.perform(effect({}, renew={"VI_1": 30.0}))
    stray = strays.left([(resource("guest"), frozenset())], 0.0)
    state = State(config=Config(quorum=QUORUM), instances={}, strays=stray)
    asked.change(state)
    await turns()
    assert ("release", "VI_1") not in lease.calls
    asked.change(replace(state, strays={}))
    await turns()
    assert lease.calls.count(("release", "VI_1")) == 1
    lease.answers.append(Answer(granted=True, said="renewed"))
    lease.gate.set()
    made[ROUTER].answers.append(Answer(granted=True, said="answered"))
    made[ROUTER].gate.set()
    await asked.close()


async def test_the_same_witnesses_are_kept_over_a_reload(made: dict[str, Scripted]) -> None:
    asked = asking([])
    before = dict(made)
    made.clear()
    asked.configure(QUORUM, "left")
    assert made == {}
    asked.configure(None, "left")
    await turns()
    assert ("close",) in before[f"{LEASE} left"].calls
    asked.perform(effect({}))
    await turns()
    assert before[ROUTER].calls == []
    await asked.close()


async def test_a_witness_that_hangs_does_not_keep_the_daemon(
    made: dict[str, Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("failoverd.daemon.witnesses._RELEASE_TIMEOUT_S", 0.01)
    asked = asking([])
    asked.perform(effect({}))
    await turns()
    assert made[ROUTER].calls
    await asked.close()
