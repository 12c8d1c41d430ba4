"""A small world for the core: what the resources really are, and what is in flight.

It answers the core's effects when the test says so, and checks the invariants of docs/invariants.md after every event.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from failoverd.core import clearance, guards, machine, peers, planner, self_fencing, strays, votes
from failoverd.core.agenda import urgency
from failoverd.core.effects import (
    Alarm,
    AskWitnesses,
    Effect,
    FencePeer,
    Observe,
    ProbeVips,
    QueryVrrpState,
    RunStep,
    TransitionEnded,
    TransitionStarted,
)
from failoverd.core.events import (
    Event,
    HearingChanged,
    KeepalivedSeen,
    LeaseAnswered,
    LowerPriorityAdvert,
    PeerFenced,
    PeerReported,
    PeerUnverified,
    Reloaded,
    ResourceObserved,
    StepEnded,
    Tick,
    VipElsewhere,
    VipsSeen,
    VrrpChanged,
    VrrpStateReported,
    WishesFound,
    WitnessAnswered,
)
from failoverd.core.knowledge import Hearing, Off, Peer
from failoverd.core.model import Agenda, InstanceState, Release, Rival, Standby, State
from failoverd.core.requests import (
    AsideEnded,
    AsideWanted,
    HandoverCancelled,
    HandoverConfirmed,
    OnlineWanted,
    PeerConfirmedOff,
    PeerUnfenced,
    Reset,
    StandbyWanted,
    Together,
)
from failoverd.core.resource import Observation
from failoverd.core.spec import Config, InstanceSpec, Quorum, ResourceSpec, Vip
from failoverd.core.words import (
    Clearance,
    Health,
    Keepalived,
    Level,
    OnRefused,
    Outcome,
    Phase,
    Standing,
    StateSource,
    Target,
    Verb,
    VrrpState,
)

VIP = Vip(address="192.0.2.1/32", interface="eth0")
MASTER = VrrpState.MASTER
Key = tuple[str, str]


def resource(name: str, *needs: str, **options: Any) -> ResourceSpec:
    options.setdefault("instance", "VI_1")
    return ResourceSpec(name=name, driver="exec", needs=frozenset(needs), **options)


def config(
    *resources: ResourceSpec,
    vips: tuple[Vip, ...] = (VIP,),
    parallel: int = 128,
    take_back_after: float = 0,
    health: Health = Health.REPORT,
    on_refused: OnRefused = OnRefused.HOLD,
    quorum: Quorum | None = None,
    check_interval: float = 30.0,
) -> Config:
    by_name = {r.name: r for r in resources}
    spec = InstanceSpec(
        name="VI_1",
        vips=vips,
        on_refused=on_refused,
        take_back_after=take_back_after,
        health=health,
        resources=by_name,
    )
    return Config(instances={"VI_1": spec}, parallel=parallel, quorum=quorum, check_interval=check_interval)


def concerning_everybody(state: State) -> State:
    """The same state, in which every instance wants a Tick: `advance` settles them all, whatever the event."""
    instances = state.instances.values()
    agenda = Agenda(
        due=dict.fromkeys(state.instances, -math.inf),
        next=-math.inf,
        running=sum(r.step is not None and not r.step.overdue for i in instances for r in i.resources.values()),
        waiting=tuple(sorted(urgency(instance) for instance in instances if instance.crowded)),
        phases={phase: sum(instance.phase is phase for instance in instances) for phase in Phase},
        voters=state.agenda.voters,
        doubtful=state.agenda.doubtful,
    )
    return replace(state, agenda=agenda)


def _went_on(instance: InstanceState) -> bool:
    """Whether it was being activated without asking anybody."""
    return instance.clearance is Clearance.IDLE and instance.direction is Target.ACTIVE


@dataclass
class World:
    """The node around the core. `told` is what the core was last told of a resource since its daemon started.

    `obstacles`: why a resource would refuse to be activated. `inactive_on`: where its driver sees it inactive.
    `released`: what keepalived's track files say, `tracks`: what was written into them. `dropped`: what the daemon that
    runs has followed, and is no longer configured, though it may be active. `in_flight`: the steps that ran at the last
    reload, which may be more than there is room for. `let_go`: when mastership was released that was not taken back
    since; a removal of the instance does not do that. `wishes`: what operators want, as it was recorded. `asked`: the
    open questions to witnesses; `granted`: what each answers, by name, or by instance and name for a lease; `yes_at`:
    the last question that it answered with yes, since the daemon's start; `yes_before`: the same, of earlier daemons;
    `alone_by`: when each instance misses them for too long, if none answers; `late`: where that came before
    keepalived's state was known. `permitted_at`: when it could be active last, or had nothing active. `words`: what is
    recorded of keepalived's last words; None: that no word binds. `off`: the nodes of whose end there is a proof, with
    its time; `fencings`: those that are asked for, each with its deadline; `unfenceable`: the nodes whose fencing
    fails; `deaf`: those that this node would not hear. `master_at`: when keepalived became MASTER, or this daemon
    learned it. `longest_stop`: how long an instance may take to stop, before any reload.
    """

    config: Config
    now: float = 1000.0
    state: State = field(init=False)
    actual: dict[Key, Level] = field(default_factory=dict)
    steps: dict[Key, RunStep] = field(default_factory=dict)
    looks: dict[Key, Observe] = field(default_factory=dict)
    stray_looks: dict[Key, Observe] = field(default_factory=dict)
    questions: list[QueryVrrpState] = field(default_factory=list)
    told: dict[Key, Level] = field(default_factory=dict)
    words: dict[str, VrrpState | None] = field(default_factory=dict)
    vips: dict[Vip, bool | None] = field(default_factory=dict)
    keepalived: dict[str, Keepalived] = field(default_factory=dict)
    dbus: bool = False
    obstacles: dict[Key, str] = field(default_factory=dict)
    inactive_on: dict[Key, frozenset[str] | None] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    tracks: list[bool] = field(default_factory=list)
    dropped: dict[Key, ResourceSpec] = field(default_factory=dict)
    in_flight: set[int] = field(default_factory=set)
    rivals: dict[str, tuple[Rival, ...]] = field(default_factory=dict)
    let_go: dict[str, float] = field(default_factory=dict)
    wishes: dict[str, Standby] = field(default_factory=dict)
    asked: list[AskWitnesses] = field(default_factory=list)
    granted: dict[str | Key, bool | None] = field(default_factory=dict)
    yes_at: dict[str | Key, float] = field(default_factory=dict)
    yes_before: dict[str | Key, float] = field(default_factory=dict)
    alone_by: dict[str, float] = field(default_factory=dict)
    late: set[str] = field(default_factory=set)
    off: dict[str, Off] = field(default_factory=dict)
    unbelieved: dict[str, float] = field(default_factory=dict)
    deaf: set[str] = field(default_factory=set)
    fencings: dict[FencePeer, float] = field(default_factory=dict)
    master_at: dict[str, float] = field(default_factory=dict)
    unfenceable: set[str] = field(default_factory=set)
    permitted_at: dict[str, float] = field(default_factory=dict)
    longest_stop: dict[str, float] = field(default_factory=dict)
    open: dict[int, str] = field(default_factory=dict)
    log: list[Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, spec in self.config.instances.items():
            for r in spec.resources:
                self.actual.setdefault((name, r), Level.STANDBY)
            for vip in spec.vips:
                self.vips.setdefault(vip, False)
        self.start()

    def start(self) -> None:
        """Start the daemon: everything that it knew is gone, everything that is in the world stays."""
        self.steps.clear()
        self.looks.clear()
        self.stray_looks.clear()
        self.questions.clear()
        self.told.clear()
        self.asked.clear()
        self.yes_before |= {name: max(at, self.yes_before.get(name, at)) for name, at in self.yes_at.items()}
        self.yes_at.clear()
        self.fencings.clear()
        self.master_at.clear()
        self.open.clear()
        if hasattr(self, "state"):  # a daemon that starts knows no instance that was removed before
            self.let_go = {name: at for name, at in self.let_go.items() if name in self.state.instances}
        left = strays.left(strays.possible(self.state), self.now) if hasattr(self, "state") else {}
        self.state = State(
            config=Config(),
            instances={},
            strays=left,
            released=self._releases(),
            rivals=self.rivals,
            maybe_active=self.maybe_active(),
            stop_by=self.stop_by(),
            lost_by=self.lost_by(),
            standby=self.wishes,
            maintenance=self.state.maintenance if hasattr(self, "state") else None,
            off=dict(self.off),
        )
        self.send(Reloaded(config=self.config))
        self.listen()
        self.dropped = {(s.spec.instance, s.spec.name): s.spec for s in self.state.strays.values()}
        for name, condition in self.keepalived.items():
            self.send(KeepalivedSeen(instances=frozenset((name,)), condition=condition))
        self.send(VipsSeen(present=dict(self.vips)))

    def listen(self) -> list[Effect]:
        """The heartbeat begins, where it works."""
        heartbeat, effects = self.config.heartbeat, list[Effect]()
        for peer in () if heartbeat is None else heartbeat.peers:
            if peers.deaf(self.state, peer) is not None:
                effects += self.send(HearingChanged(peer=peer, deaf="no key" if peer in self.deaf else None))
        return effects

    def hear(self, peer: str, *, deaf: bool) -> list[Effect]:
        """The heartbeat hears `peer` from now on, or does not."""
        (self.deaf.add if deaf else self.deaf.discard)(peer)
        return self.send(HearingChanged(peer=peer, deaf="no key" if deaf else None))

    def _releases(self) -> dict[str, Release]:
        """The same, of mastership that was given away."""
        instances = self.state.instances.items() if hasattr(self, "state") else ()
        left = {
            name: Release(why="its track file released mastership when failoverd started", at=self.now, times=1)
            for name, i in instances
            if i.handover is not None and not i.competes
        }
        told = {
            name: Release(why=i.released, at=i.released_at, times=i.releases, unfit=i.unfit) for name, i in instances
        }
        return told | {name: each for name, each in left.items() if not told[name].why}

    def maybe_active(self) -> frozenset[Key]:
        """What the daemon would leave to the next one."""
        if not hasattr(self, "state"):
            return frozenset()
        found = ((name, r, each) for name, i in self.state.instances.items() for r, each in i.resources.items())
        return frozenset((name, r) for name, r, each in found if each.maybe_active)

    def stop_by(self) -> float:
        """The same; a daemon that knew nothing active, or had no watchdog, leaves nothing."""
        until = self_fencing.fed_until(self.state, self.now) if hasattr(self, "state") else None
        return math.inf if until is None else until

    def lost_by(self) -> dict[str, float]:
        """The same, of each instance that may be active."""
        names = [*self.state.instances, *self.state.removed] if hasattr(self, "state") else []
        left = {name: votes.left_of(self.state, name) for name in names}
        return {name: at for name, at in left.items() if at is not None}

    def reload(self, config: Config) -> list[Effect]:
        """Read another configuration; what is not in it stays in the world, and what is new in it is told at once."""
        new = config.instances.keys() - self.config.instances.keys()
        if config.quorum != self.config.quorum:
            self.yes_before.clear()
            self.yes_at.clear()
        self.config = config
        self.in_flight = {step.step for step in self.steps.values()}
        effects = self.send(Reloaded(config=config)) + self.listen()
        self.dropped = {(s.spec.instance, s.spec.name): s.spec for s in self.state.strays.values()}
        for name in sorted(new & self.keepalived.keys()):
            effects += self.send(KeepalivedSeen(instances=frozenset((name,)), condition=self.keepalived[name]))
        return effects + self.send(VipsSeen(present=dict(self.vips)))

    @property
    def instance(self) -> InstanceState:
        return self.state.instances["VI_1"]

    def see_keepalived(self, condition: Keepalived, *names: str) -> list[Effect]:
        """The processes that speak for `names` (all, if none is given) change.

        A MASTER that died is forgotten by the intake as well.
        """
        concerned = frozenset(names or self.config.instances)
        self.keepalived |= dict.fromkeys(concerned, condition)
        if condition is Keepalived.GONE:
            dead = {name for name in concerned if self.words.get(name) is VrrpState.MASTER}
            self.words |= dict.fromkeys(dead)
        return self.send(KeepalivedSeen(instances=concerned, condition=condition))

    def send(self, event: Event) -> list[Effect]:
        self._remember(event)
        slow = machine.advance(concerning_everybody(self.state), event, self.now)
        before, stopping = self.state.instances, self.state.stopping
        self.state, effects = machine.advance(self.state, event, self.now)
        changed = {name for name, instance in self.state.instances.items() if instance is not before.get(name)}
        assert changed == set(self.state.agenda.touched)
        assert (self.state, effects) == slow, "I18: an instance was not settled that should have been"
        self.words |= {name: None for name, instance in self.state.instances.items() if instance.void}
        operator = HandoverConfirmed | HandoverCancelled | AsideWanted | AsideEnded
        operator |= Reset | StandbyWanted | OnlineWanted | Together | WishesFound | Reloaded
        operators = isinstance(event, operator)
        for name, instance in self.state.instances.items():
            if instance.competes is (name in self.released):
                let_be_elected = name in before and before[name].aside is not None and instance.aside is None
                assert operators or let_be_elected or self.state.maintenance is None, (
                    "I20: mastership moved in maintenance"
                )
                self.tracks.append(not instance.competes)
                (self.released.remove if instance.competes else self.released.add)(name)
        self.released &= self.state.instances.keys()
        self._let_go(before)
        self._check_clearance(before)
        probed = {effect.instance for effect in effects if isinstance(effect, ProbeVips)}
        masters = {name for each in (before, self.state.instances) for name, i in each.items() if i.vrrp is MASTER}
        assert probed <= (set() if stopping else masters), "a probe without MASTER, or while the daemon stops"
        known = {name: each.rivals for name, each in self.state.removed.items()}
        known |= {name: instance.rivals for name, instance in self.state.instances.items()}
        self.rivals = {name: rivals for name, rivals in known.items() if rivals}
        self.wishes = dict(self.state.standby)
        self.wishes |= {n: i.standby for n, i in self.state.instances.items() if i.standby is not None}
        for effect in effects:
            self._take(effect)
        self.check()
        return list(effects)

    def _let_go(self, before: Mapping[str, InstanceState]) -> None:
        for name, i in self.state.instances.items():
            if i.released:
                self.let_go[name] = i.released_at
            elif i.handover is not None and i.handover.given_at is not None:
                self.let_go[name] = i.handover.given_at
            elif name in before:
                self.let_go.pop(name, None)

    def _check_clearance(self, before: Mapping[str, InstanceState]) -> None:
        """I22: clearance is given with a reason only, and ends with mastership."""
        for name, i in self.state.instances.items():
            old = before.get(name)
            if i.vrrp is VrrpState.MASTER and (old is None or old.vrrp is not VrrpState.MASTER):
                self.master_at[name] = self.now
            if i.clearance is not Clearance.GIVEN:
                continue
            assert i.vrrp is VrrpState.MASTER, "I22: clearance without MASTER"
            assert i.alone_at is None, "I22: clearance of a node that is alone"
            assert i.handover is None, "I22: clearance of a node that hands over"
            if old is not None and (old.clearance is Clearance.GIVEN or (_went_on(old))):
                continue  # permitted before, or going on before a reload has brought other nodes
            levels = [self.told.get((name, r)) for r in i.resources]
            found = i.vrrp_source is not StateSource.EVENT and Level.ACTIVE in levels
            if not found and any(level is not Level.ACTIVE for level in levels):
                assert not self.uncleared(name), f"I22: {self.uncleared(name)} may serve"

    def _remember(self, event: Event) -> None:
        """Remember who is off, from the event alone."""
        gone: set[str] = set()
        match event:
            case PeerFenced(peer=peer, off=True) if peer in self.config.fences:
                self.off[peer] = Off(at=self.now, said=event.said)
            case PeerConfirmedOff(peer=peer) if self._speaks(peer) and peers.silent(self.state, peer, self.now):
                self.off[peer] = Off(at=self.now, said=event.by)
            case PeerUnfenced(peer=peer):
                gone = {peer}
            case PeerUnverified(peer=peer):
                gone = self._on_for_what_it_sends(peer)
            case PeerReported(peer=peer):
                known = self.state.peers.get(peer, Peer()).at
                gone = (
                    {peer}
                    if self._speaks(peer) and peer in self.off and event.at > max(self.off[peer].at, known)
                    else set()
                )
            case (
                LowerPriorityAdvert(instance=name, rival=True)
                | VipElsewhere(instance=name)
                | VrrpChanged(instance=name, state=VrrpState.BACKUP)
            ):
                gone = self._another_master(name, told=not isinstance(event, VrrpChanged))
            case VrrpChanged(state=VrrpState.MASTER) | VrrpStateReported(dbus=VrrpState.MASTER):
                gone = self._back_unheard(event)
            case ResourceObserved(seen=seen) | StepEnded(seen=seen):
                gone = {
                    peer for peer in seen.inactive_on or () if peer in self.off and self.now >= self.off[peer].at + 60
                }
            case Reloaded(config=new):
                gone = self.off.keys() - set(new.heartbeat.peers if new.heartbeat is not None else ())
        self.off = {peer: off for peer, off in self.off.items() if peer not in gone}

    def _another_master(self, name: str, *, told: bool) -> set[str]:
        """Who is not off any more; `told`: there is another MASTER, also where this node was none."""
        instance = self.state.instances.get(name)
        if instance is None or not (told or instance.vrrp is VrrpState.MASTER):
            return set()
        return set(instance.spec.others)

    def _back_unheard(self, event: VrrpChanged | VrrpStateReported) -> set[str]:
        """At a new MASTER: those that were off and may have been MASTER since, or whose words would not have come."""
        name, heartbeat = event.instance, self.config.heartbeat
        instance = self.state.instances.get(name)
        if instance is None or instance.vrrp is VrrpState.MASTER or heartbeat is None:
            return set()
        if isinstance(event, VrrpStateReported) and (instance.vrrp is None or event.words != instance.words):
            return set()
        masters = {
            peer
            for peer, known in self.state.peers.items()
            if name in known.words
            and known.words[name].vrrp is VrrpState.MASTER
            and max(known.at, known.words[name].at) >= self.now - 10.0
        }
        gone = set()
        for peer in self.off.keys() & set(instance.spec.others):
            at, heard = self.off[peer].at, self.state.listened.get(peer, Hearing()).since
            unheard = heard > at and self.now < heard + heartbeat.silence + heartbeat.interval
            away = self.now > max(instance.master_until, at) + 10.0
            if unheard or (away and not masters.intersection(instance.spec.others) - {peer}):
                gone.add(peer)
        return gone

    def _speaks(self, peer: str) -> bool:
        return self.config.heartbeat is not None and peer in self.config.heartbeat.peers

    def _on_for_what_it_sends(self, peer: str) -> set[str]:
        heartbeat = self.config.heartbeat
        if heartbeat is None or not self._speaks(peer):
            return set()
        self.unbelieved[peer] = self.now
        return {peer} if peer in self.off and self.now > self.off[peer].at + heartbeat.silence else set()

    def _take(self, effect: Effect) -> None:
        self.log.append(effect)
        match effect:
            case RunStep():
                self._check_step(effect)
                self.steps[effect.instance, effect.resource] = effect
            case Observe():
                looks = self.looks if self._follows(effect.spec) else self.stray_looks
                looks[effect.instance, effect.resource] = effect
            case QueryVrrpState():
                self.questions.append(effect)
            case AskWitnesses():
                self.asked.append(effect)
            case FencePeer():
                self._check_fencing(effect)
                self.fencings[effect] = self.state.fencings[effect.peer].deadline
            case TransitionStarted():
                assert effect.cause, "a transition has a cause"
                self.open[effect.transition] = effect.instance
            case TransitionEnded():
                del self.open[effect.transition]
            case Alarm():
                assert effect.text

    def _follows(self, spec: ResourceSpec) -> bool:
        instance = self.state.config.instances.get(spec.instance)
        return instance is not None and instance.resources.get(spec.name) == spec

    def _check_step(self, step: RunStep) -> None:
        key = (step.instance, step.resource)
        assert self.state.maintenance is None, "I20: a step in maintenance"
        assert key not in self.steps, "I1: two steps on one resource"
        spec = self.state.config.instances[step.instance].resources
        towards = Target.ACTIVE if step.verb is Verb.ACTIVATE else Target.STANDBY
        for other in planner.before(spec, towards)[step.resource]:
            assert self.told[step.instance, other] is planner.GOAL[towards], f"I2: {step.resource} before {other}"
            assert (step.instance, other) not in self.steps, f"I2: {step.resource} while {other} moves"
        if step.verb is Verb.ACTIVATE:
            assert not self.state.stopping, "I14: activation while the daemon stops"
            assert self.state.instances[step.instance].vrrp is VrrpState.MASTER, "I3: activation without MASTER"
            assert all(self.vips[v] for v in self.state.instances[step.instance].spec.vips), (
                "I11: activation without a VIP"
            )
            assert self.keepalived.get(step.instance) in (None, Keepalived.RUNNING), "I3: activation without keepalived"
            given = self.let_go.get(step.instance, -math.inf)
            assert self.now >= given + guards.MASTERSHIP_RELEASE_S, "I12: activation after mastership was released"
            assert self.state.instances[step.instance].handover is None, "I12: activation during a handover"
            assert self.agreed(step.instance), "I21: activation without the witnesses"
            permitted = self.state.instances[step.instance].clearance is Clearance.GIVEN
            assert permitted or not self._others(step.instance), "I22: activation without clearance"
        else:
            for key, dropped in self.dropped.items():
                on_top = dropped.instance == step.instance and step.resource in dropped.needs
                assert not (on_top and self.actual[key] is Level.ACTIVE), (
                    "I13: deactivation of what an active stray needs"
                )

    def check(self) -> None:
        """What holds after every event."""
        running = 0
        for name, instance in self.state.instances.items():
            owned = [t for t, owner in self.open.items() if owner == name]
            assert owned == ([] if instance.transition is None else [instance.transition])
            assert instance.phase.settled == (instance.transition is None)
            assert instance.reason, f"I5: {instance.phase} without a reason"
            for r, resource_state in instance.resources.items():
                assert (resource_state.step is not None) == ((name, r) in self.steps)
                running += (name, r) in self.steps and self.steps[name, r].step not in self.in_flight
        self._check_isolation()
        self._check_watchdog()
        assert running <= self.state.config.parallel or any(
            r.step and r.step.overdue for i in self.state.instances.values() for r in i.resources.values()
        )

    def _check_isolation(self) -> None:
        """I21: what misses the witnesses stops after `isolation_timeout`, however often failoverd is started."""
        quorum, state = self.state.config.quorum, self.state
        for name, instance in state.instances.items():
            assert not instance.lacks or instance.standing is not Standing.IDLE, "it needs no witness, and misses one"
            active = any(r.maybe_active for r in instance.resources.values())
            idle = state.stopping or state.maintenance is not None or instance.target is Target.STANDBY
            if quorum is None or not instance.spec.quorum or not active or idle or self.out(name):
                self.alone_by[name] = math.inf if quorum is None else self.now + quorum.isolation_timeout
                continue
            if instance.target is None:  # nobody is asked before keepalived's state is known
                if self.now >= self.alone_by.setdefault(name, self.now + quorum.isolation_timeout):
                    self.late.add(name)
                if name in self.late:
                    self.alone_by[name] = self.now + quorum.timeout + votes.GRACE_S
                continue
            self.late.discard(name)
            names: list[str | Key] = [*quorum.witnesses, *((name, lease) for lease in quorum.leases)]
            yes = [max(self.yes_at.get(each, -math.inf), self.yes_before.get(each, -math.inf)) for each in names]
            common = sorted(yes[: len(quorum.witnesses)], reverse=True)[quorum.need - 1 :][:1]
            answered = min([*common, *yes[len(quorum.witnesses) :]])
            self.alone_by[name] = max(self.alone_by[name], answered + quorum.isolation_timeout)
            if self.now >= self.alone_by[name]:
                assert instance.direction is Target.STANDBY, "I21: active without the witnesses for too long"

    def _check_watchdog(self) -> None:
        """I23: with a watchdog. A node that may be active is fed; one that must not be is not fed after its time."""
        quorum = self.state.config.quorum
        for name, instance in self.state.instances.items():
            until = self_fencing.until(self.state, instance, self.now)
            if quorum is None or quorum.watchdog is None or not instance.spec.quorum:
                assert until is None, "I23: fed without a watchdog"
                continue
            active = any(r.maybe_active for r in instance.resources.values())
            assert (until is not None) == active, "I23: fed for nothing, or nothing is watched"
            if self._may_be_active(name, instance):
                assert until is None or until > self.now, "I23: a node that may be active is not fed"
            free = (
                instance.target is None or self.state.maintenance is not None or self.out(name)
            )  # no rival counts on it
            if not active or free or self._may_be_active(name, instance):
                self.permitted_at[name] = self.now
            missing = instance.spec.vip_timeout if instance.vips else 0.0  # a VIP may be, while the witnesses answer
            latest = self.permitted_at.setdefault(name, self.now) + quorum.isolation_timeout + missing
            stop = self.longest_stop[name] = max(self.longest_stop.get(name, 0.0), votes.stop_time(instance.spec))
            if instance.target is not None:
                assert until is None or until <= latest + stop, "I23: fed for too long"

    def _may_be_active(self, name: str, instance: InstanceState) -> bool:
        """Whether nothing forbids it, as this world remembers it, and the answers that the core knows are recent."""
        agrees = instance.standing in (Standing.IDLE, Standing.PRESENT) and self.agreed(name)
        alive = self.keepalived.get(name) in (None, Keepalived.RUNNING)
        here = all(self.vips[vip] is not False for vip in instance.spec.vips)  # one that cannot be seen stops nothing
        return instance.vrrp is MASTER and agrees and alive and here and not instance.released

    # ------------------------------------------------------------ answers

    def say(self, word: VrrpState, name: str = "VI_1", *, vip: bool | None = None) -> list[Effect]:
        """keepalived changes the state; the VIP moves first, as it does in the kernel, unless told otherwise.

        Who speaks lives: the service looks for its processes before it believes a word.
        """
        if self.keepalived.get(name) is Keepalived.GONE:
            self.see_keepalived(Keepalived.RUNNING, name)
        present = (word is VrrpState.MASTER) if vip is None else vip
        for address in self.config.instances[name].vips:
            if self.vips[address] is not present:
                self.move_vip(address, present=present)
        self.words[name] = word
        return self.send(VrrpChanged(instance=name, state=word))

    def move_vip(self, vip: Vip, *, present: bool | None) -> None:
        self.vips[vip] = present
        self.send(VipsSeen(present={vip: present}))

    def end_step(
        self, key: Key, outcome: Outcome = Outcome.DONE, *, works: bool = True, seen: Level | None = None
    ) -> list[Effect]:
        step = self.steps.pop(key)
        if outcome is Outcome.DONE and step.verb is Verb.ACTIVATE and self.obstacles.get(key):
            outcome, works = Outcome.REFUSED, False
        if works:
            self.actual[key] = Level.ACTIVE if step.verb is Verb.ACTIVATE else Level.STANDBY
        level = seen or self.actual[key]
        self.told[key] = level
        reason = "" if outcome is Outcome.DONE else f"it {outcome.value}"
        return self.send(
            StepEnded(
                instance=key[0],
                resource=key[1],
                step=step.step,
                outcome=outcome,
                reason=reason,
                seen=self._observation(key, level),
            )
        )

    def end_look(self, key: Key, seen: Level | None = None) -> list[Effect]:
        look = self.looks.pop(key)
        level = seen or self.actual[key]
        instance = self.state.instances.get(key[0])
        resource = instance.resources.get(key[1]) if instance is not None else None
        if resource is not None and resource.look is not None and resource.look.id == look.look:
            self.told[key] = level
        return self.send(
            ResourceObserved(instance=key[0], resource=key[1], look=look.look, seen=self._observation(key, level))
        )

    def end_stray_look(self, key: Key, seen: Level | None = None) -> list[Effect]:
        look = self.stray_looks.pop(key)
        observation = Observation(level=seen or self.actual[key])
        if observation.level is Level.STANDBY and key not in self.steps:
            self.dropped.pop(key, None)
        return self.send(ResourceObserved(instance=key[0], resource=key[1], look=look.look, seen=observation))

    def _observation(self, key: Key, level: Level) -> Observation:
        return Observation(level=level, obstacle=self.obstacles.get(key, ""), inactive_on=self.inactive_on.get(key))

    def _others(self, name: str) -> list[str]:
        """The other nodes that must be cleared."""
        config = self.state.config
        spec, wait = config.instances[name], config.quorum is not None and config.quorum.takeover_after > 0
        if config.heartbeat is None or not spec.quorum:
            return []
        lease = config.quorum is not None and bool(config.quorum.leases)
        every = wait or (not lease and any(node in config.fences for node in (config.heartbeat.node, *spec.others)))
        return [peer for peer in spec.others if every or peer in config.fences]

    def uncleared(self, name: str) -> list[str]:
        """Those that may serve the instance, as this world remembers it."""
        quorum, since = self.state.config.quorum, self.master_at[name]
        waited = quorum is not None and 0 < quorum.takeover_after <= self.now - since
        leased = quorum is not None and bool(quorum.leases)
        unknown = {peer for peer in self._others(name) if self._in_maintenance(name, peer)}
        unknown |= set() if leased else self.deaf
        outwaited = set(self._others(name)) - unknown if waited else set()
        done = self.off.keys() | outwaited
        return [peer for peer in self._others(name) if peer not in done and not self._idle(name, peer, since)]

    def _in_maintenance(self, name: str, peer: str) -> bool:
        """Whether it was, when it spoke of the instance last."""
        word = self.state.peers.get(peer, Peer()).words.get(name)
        return word is not None and word.maintenance

    def _idle(self, name: str, peer: str, since: float) -> bool:
        """Whether it has said after `since` that it does not serve, or the resources show that."""
        known = self.state.peers.get(peer, Peer())
        word = known.words.get(name)
        if word is not None and max(word.at, known.at) > since and word.rests:
            heartbeat = self.state.config.heartbeat
            assert heartbeat is not None
            waits = word.clearance in (Clearance.AWAITED, Clearance.MISSING)
            up = word.clearance is Clearance.GIVEN or word.phase in (Phase.PROMOTING, Phase.ACTIVE)
            if (waits and heartbeat.node < peer) or not (waits or up):
                return True
        resources = self.state.instances[name].resources.values()
        return any(peer in (r.seen.inactive_on or ()) for r in resources)

    def _check_fencing(self, effect: FencePeer) -> None:
        """Only a MASTER that has its VIPs and the witnesses, and that no operator holds, powers another node off."""
        state = self.state
        assert effect.peer in state.config.fences, "I22: fencing without an agent"
        assert state.config.heartbeat is not None
        assert effect.peer != state.config.heartbeat.node, "I22: a node fences itself"
        assert effect.peer not in self.off, "I22: fencing of a node that is off"
        assert effect.peer not in self.deaf, "I22: fencing of a node that would not be heard"
        running = [each.peer for each, deadline in self.fencings.items() if self.now < deadline]
        assert effect.peer not in running, "I22: two fencings of one node"
        assert state.maintenance is None, "I22: fencing in maintenance"
        assert not state.stopping, "I22: fencing by a daemon that stops"
        fencing = state.fencings[effect.peer]
        name, instance = fencing.instance, state.instances[fencing.instance]
        assert instance.vrrp is VrrpState.MASTER, "I22: fencing without MASTER"
        assert not self._in_maintenance(name, effect.peer), "I22: fencing of a node in maintenance"
        assert all(self.vips[vip] for vip in instance.spec.vips), "I22: fencing without a VIP"
        assert self.keepalived.get(name) in (None, Keepalived.RUNNING), "I22: fencing without keepalived"
        assert instance.handover is None, "I22: fencing in a handover"
        assert instance.aside is None, "I22: fencing in a handover of another node"
        assert instance.standby is None, "I22: fencing in standby"
        assert self.agreed(name), "I22: fencing without the witnesses"
        assert instance.clearance is not Clearance.GIVEN, "I22: fencing beside an activation that was permitted"
        assert not all(r.rests_at(Level.ACTIVE) for r in instance.resources.values()), "I22: fencing for nothing"

    def end_fencing(self, effect: FencePeer, *, off: bool) -> list[Effect]:
        """The fence agent has ended, in time or not."""
        del self.fencings[effect]
        said = "status 2" if off else "no connection"
        return self.send(PeerFenced(peer=effect.peer, fencing=effect.fencing, off=off, said=said))

    def out(self, name: str) -> bool:
        """Whether every other node is off, or has promised to stay at standby."""
        state = self.state
        quorum, others = state.config.quorum, state.config.instances[name].others
        leases = quorum is not None and quorum.leases

        def promised(peer: str) -> bool:
            word, heartbeat = state.peers.get(peer, Peer()).words.get(name), state.config.heartbeat
            if word is None or heartbeat is None:
                return False
            if self.unbelieved.get(peer, -math.inf) > max(word.at, state.peers[peer].at) + heartbeat.silence:
                return False
            return word.standby and word.rests and word.vrrp is VrrpState.FAULT

        off = self.off.keys() - self.deaf
        return bool(others) and all(peer in off or (not leases and promised(peer)) for peer in others)

    def agreed(self, name: str) -> bool:
        """Whether enough witnesses have answered lately, as this world remembers it, or no other node can serve."""
        quorum = self.state.config.quorum
        if quorum is None or not self.state.config.instances[name].quorum or self.out(name):
            return True
        limit = self.now - quorum.isolation_timeout
        yes = sum(self.yes_at.get(witness, -math.inf) > limit for witness in quorum.witnesses)
        return yes >= quorum.need and all(self.yes_at.get((name, lease), -math.inf) > limit for lease in quorum.leases)

    def vote(self, asked: AskWitnesses | None = None) -> list[Effect]:
        """Every witness answers, the oldest question if none is named; one that is not in `granted` says yes."""
        asked = asked or self.asked[0]
        self.asked.remove(asked)
        quorum, effects = self.state.config.quorum, []
        for name in quorum.witnesses if quorum is not None else ():
            granted = self.granted.get(name, True)
            if granted:
                self.yes_at[name] = max(self.yes_at.get(name, -math.inf), asked.asked)
            said = "answered" if granted else "no answer"
            effects += self.send(WitnessAnswered(witness=name, granted=granted, said=said, asked=asked.asked))
        leased = dict.fromkeys((*asked.hold, *asked.renew), True) | dict.fromkeys(asked.look, False)
        for instance, held in leased.items():
            for name in quorum.leases if quorum is not None else ():
                granted = self.granted.get((instance, name), True)
                if granted and held:
                    self.yes_at[instance, name] = max(self.yes_at.get((instance, name), -math.inf), asked.asked)
                said = "answered" if granted else "held by right" if granted is False else "no answer"
                answer = LeaseAnswered(
                    instance=instance, witness=name, granted=granted, said=said, asked=asked.asked, held=held
                )
                effects += self.send(answer)
        return effects

    def answer(self, question: QueryVrrpState) -> list[Effect]:
        self.questions.remove(question)
        name = question.instance
        word = self.words.get(name)
        dbus = word if self.dbus else None
        void = name in self.words and word is None
        return self.send(VrrpStateReported(instance=name, words=question.words, dbus=dbus, stored=word, void=void))

    def tick(self) -> bool:
        """Let time pass to the next deadline; False when there is none."""
        at = machine.next_deadline(self.state)
        if at is None:
            return False
        assert at > self.now
        self.now = at
        self.send(Tick())
        return True

    def live(self, end: float) -> None:
        """Let time pass until `end`. Checks, questions and witnesses are answered at once, and no step ends."""
        while self.asked or self.looks or self.questions or self.state.agenda.next <= end:
            if self.asked:
                self.vote()
            elif self.looks:
                self.end_look(next(iter(self.looks)))
            elif self.questions:
                self.answer(self.questions[0])
            else:
                self.now = max(self.now, self.state.agenda.next)
                self.send(Tick())
        self.now = end

    def settle(self) -> None:
        """I5: answer everything honestly until every instance has settled; that takes bounded time."""
        for _ in range(2000):
            if self.looks:
                self.end_look(next(iter(self.looks)))
            elif self.stray_looks:
                self.end_stray_look(next(iter(self.stray_looks)))
            elif self.steps:
                self.end_step(next(iter(self.steps)))
            elif self.questions:
                self.answer(self.questions[0])
            elif self.asked:
                self.vote()
            elif self.fencings:
                self.end_fencing(running := next(iter(self.fencings)), off=running.peer not in self.unfenceable)
            elif (
                all(i.phase.settled or i.held_back for i in self.state.instances.values())
                and not self._waiting_for_vip()
                and not self._waiting_for_witnesses()
                and not self._waiting_for_peers()
            ):
                return
            else:
                assert self.tick(), "I5: not settled, and no deadline"
        raise AssertionError(f"I5: does not settle: {self.state}")

    def _waiting_for_peers(self) -> bool:
        """Whether the time, or a fencing that may succeed, will still clear another node."""
        state = self.state
        if any(clearance.due(state, instance, self.now) < math.inf for instance in state.instances.values()):
            return True
        return not self.unfenceable.issuperset(clearance.wanted(state, state.agenda.doubtful, self.now))

    def _waiting_for_witnesses(self) -> bool:
        """Whether an instance may soon be alone, or the witnesses will soon agree again."""

        def waits(name: str, instance: InstanceState) -> bool:
            if self.out(name):
                return False
            if instance.standing in (Standing.IDLE, Standing.PRESENT):
                return instance.standing is Standing.PRESENT and not self._agree(name)
            returns = self._agree(name) and self.state.maintenance is None
            return returns or self.now < votes.lost_at(instance, self.state) < math.inf

        return any(waits(name, instance) for name, instance in self.state.instances.items())

    def _agree(self, name: str) -> bool:
        """Whether the witnesses would agree if they were asked now."""
        quorum = self.state.config.quorum
        assert quorum is not None
        yes = sum(bool(self.granted.get(witness, True)) for witness in quorum.witnesses)
        return yes >= quorum.need and all(self.granted.get((name, lease), True) for lease in quorum.leases)

    def _waiting_for_vip(self) -> bool:
        return any(
            self.now < i.vip_deadline and i.target is Target.ACTIVE and False in i.vips.values()
            for i in self.state.instances.values()
        )
