"""A platform in virtual time, seen by a prober: what is real is declared, what is observed follows, decisions come out.

Results are folded by the prober's own `core.health.fold`; the shipped rules, domains and severity rows decide.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from immutables import Map

from controller import registry
from controller.configuration.conditions import compile_condition
from controller.configuration.kinds import Kinds
from controller.configuration.variables import Offer
from controller.core.diagnosis import faults, verdicts
from controller.core.health import fold
from controller.core.response import incidents
from controller.engine.recovery import restore
from controller.model.commands import RunLadder
from controller.model.encoding import decode_aggregate, encode_aggregate
from controller.model.events import (
    Event,
    HealthChanged,
    LadderFinished,
    LeaseChanged,
    Measured,
    RunWanted,
    Started,
    SwitchEnded,
    TimerFired,
    VantageBeat,
)
from controller.model.facts import Aggregate, Fact, FactKind, aggregate_key, retired
from controller.model.faults import EvidenceKind, FaultKind, Impact, Severity, Urgency
from controller.model.groups import Arming, Group, Phase, Switch, SwitchOutcome, SwitchVerb
from controller.model.health import Hysteresis, Outcome, ProbeResult, RungHealth, RungKey
from controller.model.incidents import Incident
from controller.model.moments import Moment
from controller.model.policy import (
    BusinessHours,
    Component,
    ComponentKind,
    DomainRow,
    FaultRule,
    GroupPolicy,
    Policy,
    Role,
    RungPolicy,
    SeverityRow,
    Side,
    Term,
)
from controller.model.runbooks import Text
from controller.model.state import State

SHIPPED = Path(__file__).parents[2] / "config"
GROUP = "calls"
STAGES = (verdicts, faults, incidents)
ROOM = "room"
NOON = 1_700_020_800.0  # Wednesday 2023-11-15, 12:00 in Shanghai
NIGHT = NOON + 14 * 3600.0


def variables() -> dict[str, str]:
    kinds = Kinds(names={"probe": registry.PROBES}, load=registry.load)
    return Offer((), kinds).declared()


@functools.cache
def shipped_rules() -> tuple[FaultRule, ...]:
    declared = variables()
    rows = yaml.safe_load((SHIPPED / "rules.yaml").read_text())["rules"]
    return tuple(
        FaultRule(
            name=row["name"],
            fault=FaultKind(row["fault"]),
            kinds=frozenset(ComponentKind(kind) for kind in row["kinds"]),
            terms=tuple(_term(item, declared) for item in row["terms"]),
            title=Text(**row["title"]),
            actionable=row.get("actionable", True),
            side_only=row.get("side_only", False),
        )
        for row in rows
    )


def _term(row: dict[str, Any], declared: dict[str, str]) -> Term:
    probe = row.get("probe")
    return Term(
        name=row["name"],
        evidence=EvidenceKind(row["evidence"]),
        when=compile_condition(row["when"], declared),
        fresh=row.get("fresh", 0.0),
        probe=None if probe is None else (Role(probe["role"]), probe["rung"]),
    )


@functools.cache
def shipped_domains() -> dict[FaultKind, DomainRow]:
    rows = yaml.safe_load((SHIPPED / "domains.yaml").read_text())["domains"]
    return {FaultKind(row["fault"]): DomainRow(**{**row, "fault": FaultKind(row["fault"])}) for row in rows}


@functools.cache
def shipped_severity() -> tuple[tuple[SeverityRow, ...], dict[tuple[Impact, Urgency], Severity]]:
    from controller.model.variables import SEVERITY

    table = yaml.safe_load((SHIPPED / "severity.yaml").read_text())["severity"]
    rows = tuple(
        SeverityRow(
            name=row["name"],
            when=compile_condition(row["when"], SEVERITY),
            impact=Impact[row["impact"]],
            urgency=Urgency[row["urgency"]],
            because=Text(**row["because"]),
        )
        for row in table["rows"]
    )
    matrix = {
        (Impact[impact], Urgency[urgency]): Severity[severity]
        for impact, cells in table["matrix"].items()
        for urgency, severity in cells.items()
    }
    return rows, matrix


FAST = {"interval": 0.1, "timeout": 0.12, "hysteresis": Hysteresis(fall=2, rise=3)}


def _rung(name: str, probe: str, **settings: Any) -> RungPolicy:
    return RungPolicy(name=name, probe=probe, parameters=None, **{**FAST, **settings})


def _call(**settings: Any) -> RungPolicy:
    return _rung(
        "call",
        "sip_call",
        **{
            "interval": 0.5,
            "timeout": 0.4,
            "reports_values": True,
            "evidence": EvidenceKind.CALL,
            **settings,
        },
    )


def _component(name: str, kind: ComponentKind, *ladder: RungPolicy, **settings: Any) -> Component:
    return Component(name=name, kind=kind, title=Text(zh=name, en=name), ladder=ladder, **settings)


def build_policy(*, phones: int = 3, room_probed: bool = True, vantages: int = 1, **changes: Any) -> Policy:
    """Two sides, two edges, a test destination, two trunks, a room's switch with phones, and the rest of the house."""
    edge = _rung("edge", "kamailio", reports_values=True, evidence=EvidenceKind.EDGE)
    slow = {"interval": 1.0, "timeout": 0.5, "hysteresis": Hysteresis(fall=2, rise=2)}
    host, sip = _rung("host", "icmp"), _rung("sip", "sip_options", failover_relevant=True)
    components = [
        _component(
            "primary", ComponentKind.PLATFORM, host, sip, _call(), group=GROUP, side="primary", lines=100
        ),
        _component(
            "backup", ComponentKind.PLATFORM, host, sip, _call(), group=GROUP, side="backup", lines=100
        ),
        _component("edge1", ComponentKind.EDGE, edge),
        _component("edge2", ComponentKind.EDGE, edge),
        _component("echo", ComponentKind.ECHO, _call()),
        _component("trunk1", ComponentKind.TRUNK, _rung("sip", "sip_options", **slow), redundancy="trunks"),
        _component("trunk2", ComponentKind.TRUNK, _rung("sip", "sip_options", **slow), redundancy="trunks"),
        _component(ROOM, ComponentKind.SWITCH, *((_rung("host", "icmp", **slow),) if room_probed else ())),
        _component("certificate", ComponentKind.CERTIFICATE, _rung("certificate", "certificate", **slow)),
        _component("nightly", ComponentKind.BACKUP, _rung("backup", "file_age", **slow)),
        _component("audit", ComponentKind.SECURITY, _rung("audit", "http", **slow)),
        *(
            _component(
                f"phone{number}",
                ComponentKind.PHONE,
                _rung("sip", "sip_options", **slow),
                depends_on=(ROOM,),
                lines=1,
                vip_line=number == 0,
            )
            for number in range(phones)
        ),
    ]
    group = GroupPolicy(
        name=GROUP,
        title=Text(zh="呼叫", en="Calls"),
        sides=(
            Side(name="primary", component="primary", destination="sip:10.0.0.1:5060"),
            Side(name="backup", component="backup", destination="sip:10.0.0.2:5060"),
        ),
        preferred="primary",
        driver="fake",
        driver_parameters=None,
        edges=("edge1", "edge2"),
        echo="echo",
        vantages=vantages,
    )
    rows, matrix = shipped_severity()
    settings: dict[str, Any] = {
        "name": "test",
        "revision": "0" * 64,
        "components": Map({component.name: component for component in components}),
        "groups": Map({GROUP: group}),
        "rules": shipped_rules(),
        "domains": MappingProxyType(shipped_domains()),
        "severities": rows,
        "matrix": MappingProxyType(matrix),
        "hours": BusinessHours(opens=8 * 60, closes=20 * 60),
        "children": {ROOM: tuple(f"phone{number}" for number in range(phones))},
        "beat_timeout": 1.0,
        "resolve_after": 10.0,
    }
    return Policy(**{**settings, **changes})


@dataclass(frozen=True)
class Answer:
    """What a probe of one rung really meets. `seconds` from send to verdict."""

    outcome: Outcome
    up: bool | None
    code: int = 0
    seconds: float = 0.002
    values: tuple[tuple[str, Any], ...] = ()


_CALL = (("answered", True), ("one_way", ""), ("mos", 4.4), ("code", 200), ("side", ""))
ANSWERS: dict[str, Answer] = {
    "up": Answer(Outcome.UP, True, 200),
    "silent": Answer(Outcome.NO_REPLY, False, 0, -1.0, (("answered", False), ("code", 0))),
    "refused": Answer(Outcome.TRANSPORT, False, 0, 0.001, (("answered", False), ("code", 0))),
    "503": Answer(Outcome.REFUSING, False, 503, 0.003, (("answered", False), ("code", 503))),
    "486": Answer(Outcome.ERROR, False, 486, 0.003, (("answered", False), ("code", 486))),
    "bad": Answer(Outcome.FAILED, False, 0),
    "one way": Answer(
        Outcome.FAILED, False, 200, 0.2, (("answered", True), ("one_way", "in"), ("mos", 1.0), ("code", 200))
    ),
    "void": Answer(Outcome.VOID, None, 0, 0.01),
}
"""By the words of the golden files. `silent` lasts until the rung's timeout."""


@dataclass
class World:
    """`live`: what the sides do with live calls (answer, refuse, ignore). `rerouting`: the edges' own failure_route."""

    policy: Policy
    calls_per_second: float = 100.0
    rerouting: bool = True
    edge_timer: float = 0.1
    wall: float = NOON
    vantages: tuple[str, ...] = ("node-a",)
    state: State = field(init=False)
    facts: list[Fact] = field(default_factory=list)
    wanted: list[RunWanted] = field(default_factory=list)
    ladders: list[RunLadder] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = 1000.0
        self.start = self.now
        self.reality: dict[RungKey, str] = {}
        self.live = {"primary": "answer", "backup": "answer"}
        self.read_as: Callable[[str], bool] = lambda edge: True
        self.lost_to: dict[str, set[str]] = {}  # vantage -> components it can't reach
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._health: dict[tuple[str, RungKey], RungHealth] = {}
        self._last_good: dict[tuple[str, RungKey], float] = {}
        self._first_bad: dict[tuple[str, RungKey], float] = {}
        self._carry: dict[str, float] = {}
        self._ignored: deque[tuple[float, str, str, int]] = deque()
        self._read_at: dict[tuple[str, str], float] = {}
        self.beating = True
        self.durable: dict[str, str] = {}
        group = Group(name=GROUP, active="primary", epoch=1, armed=Arming(by="li", wall=self.wall))
        self.state = replace(restore("node-a", [group], self.policy, self.at()), started_at=self.now)
        self.durable[aggregate_key(group)] = encode_aggregate(group)
        self.send(Started(at=self.at(), node="node-a", recovered=False))
        self.send(LeaseChanged(at=self.at(), deadline=self.now + 1e9))

    # time

    def at(self) -> Moment:
        return Moment(self.now, self.wall + self.now - self.start)

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), act))

    def watch(self, *names: str, seed: int = 0) -> None:
        """Probe these components (all that have rungs when none is named), from every vantage, in seeded phases."""
        phases = random.Random(seed)
        chosen = names or tuple(sorted(self.policy.components))
        for vantage in self.vantages:
            self._beat(vantage)
            for name in chosen:
                for rung in self.policy.components[name].ladder:
                    if not rung.on_demand:
                        key = RungKey(name, rung.name)
                        self.later(phases.uniform(0, rung.interval), self._probing(vantage, key, rung))

    def run(self, seconds: float) -> None:
        """Let time pass: probes, reads of the edges, beats, ladders and the core's own deadlines."""
        end = self.now + seconds
        while True:
            due = self._queue[0][0] if self._queue else end
            wake = self.wake()
            if wake is not None and wake <= min(due, end):
                self.now = max(self.now, wake)
                self.send(TimerFired(at=self.at()))
                after = self.wake()
                assert after is None or after > self.now, "a deadline in the past would spin the engine"
                continue
            if due > end or not self._queue:
                break
            moment, _, act = heapq.heappop(self._queue)
            self.now = max(self.now, moment)
            act()
        self.now = end

    def wake(self) -> float | None:
        deadlines = [due for stage in STAGES if (due := stage.wake_at(self.state, self.policy)) is not None]
        return min(deadlines, default=None)

    # reality

    def set(self, **changes: Any) -> None:
        """component={rung: word} or component={"live": what it does with calls}."""
        for name, rungs in changes.items():
            for rung, word in rungs.items():
                if rung == "live":
                    self.live[name] = word
                else:
                    self.reality[RungKey(name, rung)] = word

    def answer(self, key: RungKey, vantage: str = "node-a") -> Answer:
        rung = self.policy.components[key.component].rung(key.rung)
        assert rung is not None
        word = self.reality.get(key, "up")
        if key.component in self.lost_to.get(vantage, ()):
            word = "silent"
        found = ANSWERS[word]
        if rung.name == "call" and word == "up":
            found = replace(found, seconds=0.2, values=_CALL)
        return replace(found, seconds=rung.timeout) if found.seconds < 0 else found

    # the failover stage, as far as diagnosis reads it

    def fence(self, side: str) -> None:
        """A switch away from this side is under way, and the fence of the side was commanded."""
        group = self.state.groups[GROUP]
        other = "backup" if side == "primary" else "primary"
        switch = Switch(
            id="SW-1", verb=SwitchVerb.FAILOVER, origin=side, target=other, epoch=2, automatic=True
        )
        fenced = (*group.fenced, side)
        self._group(replace(group, phase=Phase.FENCING, switch=switch, epoch=2, fenced=fenced))

    def switched(self) -> None:
        """It ended well."""
        group = self.state.groups[GROUP]
        assert group.switch is not None
        switch = group.switch
        self._group(replace(group, phase=Phase.IDLE, switch=None, active=switch.target))
        self.send(
            SwitchEnded(
                at=self.at(),
                group=GROUP,
                switch=switch.id,
                run=switch.run,
                step="",
                outcome=SwitchOutcome.VERIFIED,
            )
        )

    def _group(self, group: Group) -> None:
        self.state = replace(self.state, groups=self.state.groups.set(GROUP, group))
        self._keep(group)

    # the prober

    def _beat(self, vantage: str) -> None:
        if self.beating:
            self.send(VantageBeat(at=self.at(), vantage=vantage, probes=0, late=0, lag=0.0))
        self.later(0.1, lambda: self._beat(vantage))

    def _probing(self, vantage: str, key: RungKey, rung: RungPolicy) -> Callable[[], None]:
        def probe() -> None:
            self.later(rung.interval, probe)
            found = self.answer(key, vantage)
            sent = self.now
            self.later(found.seconds, lambda: self._take(vantage, rung, self._result(key, sent, found)))

        return probe

    def _result(self, key: RungKey, sent: float, found: Answer) -> ProbeResult:
        values = found.values
        if key.rung == "edge" and found.up:
            values = (("reached", True), ("epoch", 1), *self._counters(key.component))
        return ProbeResult(
            key, sent, self.now, found.outcome, found.up, self.now - sent, found.code, 1, "", values
        )

    def _take(self, vantage: str, rung: RungPolicy, result: ProbeResult) -> None:
        if result.up is None:
            return
        seat = (vantage, result.key)
        previous = self._health.get(seat, RungHealth())
        if result.up:
            self._last_good[seat], self._first_bad[seat] = result.finished_at, 0.0
        elif not self._first_bad.get(seat):
            self._first_bad[seat] = result.sent_at
        health = self._health[seat] = fold(previous, result, rung.hysteresis)
        if (health.state, health.outcome, health.flapping) != (
            previous.state,
            previous.outcome,
            previous.flapping,
        ):
            self.send(
                HealthChanged(
                    at=self.at(),
                    vantage=vantage,
                    key=result.key,
                    previous=previous.state,
                    current=health.state,
                    outcome=health.outcome,
                    code=health.code,
                    failures=health.failures,
                    flapping=health.flapping,
                    last_good=self._last_good.get(seat, 0.0),
                    first_bad=self._first_bad.get(seat, 0.0),
                    values=result.values,
                )
            )
        if rung.reports_values:
            self.send(
                Measured(
                    at=self.at(),
                    vantage=vantage,
                    key=result.key,
                    outcome=result.outcome,
                    up=result.up,
                    values=result.values,
                )
            )

    def _counters(self, edge: str) -> list[tuple[str, int]]:
        """What this edge counted since it was last read: final answers by side, and INVITEs nobody answered."""
        since = self._read_at.get((edge, ""), self.now)
        self._read_at[edge, ""] = self.now
        counts = {side: [0, 0, 0] for side in self.live}
        group = self.state.groups[GROUP]
        other = "backup" if group.active == "primary" else "primary"
        due = self._carry.get(edge, 0.0) + (self.now - since) * self.calls_per_second / 2
        calls = int(due)
        self._carry[edge] = due - calls
        self._offer(edge, counts, group.active, other, calls)
        while self._ignored and self._ignored[0][0] <= self.now:
            if self._ignored[0][1] != edge:
                break
            _, _, side, ignored = self._ignored.popleft()
            counts[side][0] += ignored
            counts[side][2] += ignored
            if self.rerouting and side == group.active:
                self._offer(edge, counts, other, "", ignored)
        return [
            (f"{side}.{name}", number)
            for side, numbers in counts.items()
            for name, number in zip(("invites", "failures", "timeouts"), numbers, strict=True)
        ]

    def _offer(self, edge: str, counts: dict[str, list[int]], side: str, other: str, calls: int) -> None:
        match self.live[side]:
            case "answer":
                counts[side][0] += calls
            case "refuse":
                counts[side][0] += calls
                counts[side][1] += calls
                if self.rerouting and other:
                    self._offer(edge, counts, other, "", calls)
            case _:
                if calls:
                    self._ignored.append((self.now + self.edge_timer, edge, side, calls))

    # the core

    def send(self, event: Event) -> None:
        """Fold one event through the three stages and whatever they hand to each other."""
        queue: deque[Event] = deque([event])
        while queue:
            current = queue.popleft()
            for stage in STAGES[:2] if self.state.following else STAGES:
                decision = stage.advance(self.state, current, self.policy)
                self.state = decision.state
                self._record(decision.facts)
                for command in decision.commands:
                    assert isinstance(command, RunLadder)
                    self.ladders.append(command)
                    self._run(command)
                for handed in decision.events:
                    queue.append(handed)
                    if isinstance(handed, RunWanted):
                        self.wanted.append(handed)

    def _run(self, command: RunLadder) -> None:
        sent = self.now
        found = [(key, self.answer(key)) for key in command.keys]

        def finish() -> None:
            results = []
            for key, answer in found:
                rung = self.policy.components[key.component].rung(key.rung)
                assert rung is not None
                result = self._result(key, sent, answer)._replace(finished_at=sent + answer.seconds)
                results.append(result)
            for result in results:
                rung = self.policy.components[result.key.component].rung(result.key.rung)
                assert rung is not None
                self._take(self.vantages[0], rung, result)
            self.send(LadderFinished(at=self.at(), command=command.id, results=tuple(results)))

        self.later(min(command.timeout, max(answer.seconds for _, answer in found)), finish)

    def _record(self, recorded: Iterable[Fact]) -> None:
        for fact in recorded:
            self.facts.append(fact)
            for aggregate in fact.changed:
                self._keep(aggregate)

    def _keep(self, aggregate: Aggregate) -> None:
        if retired(aggregate):
            self.durable.pop(aggregate_key(aggregate), None)
        else:
            self.durable[aggregate_key(aggregate)] = encode_aggregate(aggregate)

    def undurable(self) -> list[str]:
        """Live aggregates that the recorded facts do not give, and the other way round (I11)."""
        live: dict[str, str] = {}
        for aggregate in (
            *self.state.faults.values(),
            *self.state.incidents.values(),
            *self.state.groups.values(),
            self.state.counters,
        ):
            live[aggregate_key(aggregate)] = encode_aggregate(aggregate)
        if not self.state.counters.numbers:
            live.pop("counters")
        names = set(live) | set(self.durable)
        return sorted(name for name in names if live.get(name) != self.durable.get(name))

    def crash(self) -> None:
        """Power cut: what was recorded comes back, what was in flight does not."""
        aggregates = [
            found for text in self.durable.values() if (found := decode_aggregate(text)) is not None
        ]
        self.state = restore("node-a", aggregates, self.policy, self.at())
        self._health.clear()
        self.send(Started(at=self.at(), node="node-a", recovered=True))
        self.send(LeaseChanged(at=self.at(), deadline=self.now + 1e9))

    # what to look at

    def faults(self) -> set[str]:
        return {str(key) for key, fault in self.state.faults.items() if not fault.suppressed_by}

    def open_incidents(self) -> list[Incident]:
        return [incident for incident in self.state.incidents.values() if incident.open]

    def count(self, kind: FactKind) -> int:
        return sum(fact.kind is kind for fact in self.facts)

    def raised(self) -> list[str]:
        """Every fault that was ever raised, in order."""
        return [
            f"{fact.get('kind')}:{fact.subject}" for fact in self.facts if fact.kind is FactKind.FAULT_RAISED
        ]
