"""Many seeds over several processes, and one seed again with what it takes to understand it."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

from controller.core.invariants import Obeyed
from controller.core.timeline import lines
from tests.simulation import ablations
from tests.simulation.loop import WALL
from tests.simulation.plan import Plan, plan
from tests.simulation.policies import policy
from tests.simulation.world import Report, World

CHUNK = 20
"""Seeds a worker takes at a time."""


@dataclass
class Sweep:
    """What became of many seeds. `failed`: seed -> its violations, as sentences."""

    seeds: int = 0
    seconds: float = 0.0
    steps: int = 0
    virtual: float = 0.0
    fired: Counter[str] = field(default_factory=Counter)
    facts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    failed: dict[int, list[str]] = field(default_factory=dict)

    def add(self, other: Sweep) -> None:
        self.seeds += other.seeds
        self.steps += other.steps
        self.virtual += other.virtual
        self.fired += other.fired
        self.facts += other.facts
        self.kinds += other.kinds
        self.failed |= other.failed


def run(seed: int, *, ablation: str = "", made: Plan | None = None) -> Report:
    """One seed, in this process."""
    return world(seed, made).run() if not ablation else _without(seed, ablation, made)


def world(seed: int, made: Plan | None = None) -> World:
    chosen = plan(seed) if made is None else made
    return World(seed, chosen, policy(chosen.nodes))


def _without(seed: int, ablation: str, made: Plan | None) -> Report:
    with ablations.without(ablation):
        return world(seed, made).run()


def sweep(
    first: int,
    count: int,
    *,
    workers: int = 2,
    ablation: str = "",
    stop_early: bool = False,
    progress: Callable[[Sweep], None] = lambda sweep: None,
) -> Sweep:
    """`stop_early`: no further chunk is begun once a seed failed."""
    began = time.monotonic()
    total = Sweep()
    chunks = [range(start, min(start + CHUNK, first + count)) for start in range(first, first + count, CHUNK)]
    for part in _parts(chunks, workers, ablation):
        total.add(part)
        total.seconds = time.monotonic() - began
        progress(total)
        if stop_early and total.failed:
            break
    return total


def _parts(chunks: Sequence[range], workers: int, ablation: str) -> Iterator[Sweep]:
    if workers == 1:
        for chunk in chunks:
            yield part(chunk, ablation)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [pool.submit(part, chunk, ablation) for chunk in chunks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


@cache
def prepare() -> None:
    """What lives as long as the process is not walked through by each seed's collection again."""
    policy(1), policy(3)
    gc.collect()
    gc.freeze()


@contextmanager
def unlogged() -> Iterator[None]:
    """What the nodes of a run log is not for whoever runs it; afterwards logging is as it was."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@unlogged()
def part(seeds: range, ablation: str) -> Sweep:
    """Some seeds, one after the other."""
    prepare()
    done = Sweep()
    for seed in seeds:
        report = run(seed, ablation=ablation)
        done.seeds += 1
        done.steps += report.steps
        done.virtual += report.plan.ends
        done.fired += report.fired
        done.facts += report.facts
        done.kinds[f"{report.plan.kind}, {report.plan.nodes} node{'s' * (report.plan.nodes > 1)}"] += 1
        if report.violations:
            done.failed[seed] = [str(violation) for violation in report.violations]
    return done


@unlogged()
def timeline(seed: int, *, ablation: str = "", made: Plan | None = None) -> list[str]:
    """Everything that happened in true time: troubles, what nodes recorded, who took calls, what was violated."""
    if ablation:
        with ablations.without(ablation):
            return _timeline(world(seed, made))
    return _timeline(world(seed, made))


def _timeline(seen: World) -> list[str]:
    report = seen.run()
    told = [(float(text.split(None, 1)[0]), text) for text in report.timeline]
    for node in seen.nodes:
        for line in lines(node.disk.platter.entries):
            at = node.true(line.wall - WALL)
            said = " ".join(f"{name}={value}" for name, value in line.data if value not in ("", None))
            text = f"{at:9.3f}  {node.name:2}  {line.sequence:4} {line.name:21} {line.subject:10} {said:.170}"
            told.append((at, text))
    for observation in seen.platform.observations:
        if not isinstance(observation, Obeyed):
            told.append((observation.at, f"{observation.at:9.3f}  ==  {observation}"))
    chosen = seen.plan
    head = f"seed {seen.seed}: {chosen.kind}, {chosen.nodes} node(s), healed at {chosen.heals:.1f} s"
    return [
        head,
        *(text for _, text in sorted(told, key=lambda pair: pair[0])),
        *(f"VIOLATED  {violation}" for violation in report.violations),
    ]
