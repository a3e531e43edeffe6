"""Prometheus metrics: read from the engine's own counters when scraped; nothing is kept twice."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.engine.desk import Desk
from controller.model.groups import Phase
from controller.model.health import HealthState
from controller.web.census import Census


class ControllerCollector(Collector):
    """One collector over a snapshot. No per-target series: a label a target would block the scrape."""

    def __init__(self, desk: Desk, census: Census) -> None:
        self._desk = desk
        self._census = census

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        desk, counters = self._desk, self._desk.counters
        snapshot, now = desk.snapshot, desk.clock.now()
        state = snapshot.state
        for name, text, value in (
            ("events", "Events folded", counters.events),
            ("commits", "Journal commits", counters.commits),
            ("facts", "Facts recorded", counters.facts),
            ("commands", "Commands dispatched", counters.commands),
            ("events_dropped", "Health changes dropped while the journal was unavailable", counters.dropped),
            ("journal_failures", "Journal commits that failed", counters.journal_failures),
        ):
            yield CounterMetricFamily(f"thirdring_{name}", text, value)
        leader = state.lease_deadline is not None and now.mono < state.lease_deadline
        for name, text, number in (
            ("leader", "1 when this node holds the lease", float(leader)),
            ("events_waiting", "Events not folded yet", float(desk.waiting)),
            ("journal_available", "1 when the journal can be written", float(not desk.journal_failing)),
            ("commit_seconds", "Duration of the last journal commit", counters.last_commit_seconds),
            ("fold_longest_seconds", "Longest fold of one batch since start", counters.longest_fold),
            ("journal_sequence", "Sequence of the newest journal entry", float(snapshot.sequence)),
        ):
            yield GaugeMetricFamily(f"thirdring_{name}", text, number)
        health = GaugeMetricFamily("thirdring_components", "Components by health", labels=["health"])
        counted = {**dict.fromkeys((state.value for state in HealthState), 0), **self._census.counts()}
        for key, count in counted.items():
            health.add_metric([key], count)
        yield health
        incidents = GaugeMetricFamily(
            "thirdring_incidents_open", "Open incidents", labels=["severity", "drill"]
        )
        opened: dict[tuple[str, str], int] = {}
        for incident in state.incidents.values():
            if incident.open:
                labels = (incident.severity.name, str(incident.drill).lower())
                opened[labels] = opened.get(labels, 0) + 1
        for labels, count in opened.items():
            incidents.add_metric(list(labels), count)
        yield incidents
        lag = GaugeMetricFamily(
            "thirdring_prober_lag_seconds", "Worst loop lag in the last beat", labels=["vantage"]
        )
        live = GaugeMetricFamily("thirdring_vantage_live", "1 when the vantage beats", labels=["vantage"])
        for vantage in state.vantages.values():
            lag.add_metric([vantage.name], vantage.lag)
            live.add_metric([vantage.name], float(vantage.live))
        yield lag
        yield live
        active = GaugeMetricFamily("thirdring_side_active", "1 for the active side", labels=["group", "side"])
        armed = GaugeMetricFamily(
            "thirdring_group_armed", "1 when the group may act by itself", labels=["group"]
        )
        epoch = GaugeMetricFamily("thirdring_group_epoch", "Fencing token", labels=["group"])
        busy = GaugeMetricFamily(
            "thirdring_group_switching", "1 while a switch is under way", labels=["group"]
        )
        for group in state.groups.values():
            policy = snapshot.policy.groups.get(group.name)
            for side in policy.sides if policy is not None else ():
                active.add_metric([group.name, side.name], float(side.name == group.active))
            armed.add_metric([group.name], float(group.armed is not None))
            epoch.add_metric([group.name], group.epoch)
            busy.add_metric([group.name], float(group.phase is not Phase.IDLE))
        yield from (active, armed, epoch, busy)
