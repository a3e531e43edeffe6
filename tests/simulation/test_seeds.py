"""The proof by simulation: two thousand seeds, a crash at every step, each safeguard taken away, every bug once found."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.__main__ import summary
from tests.simulation.ablations import ABLATIONS
from tests.simulation.bugs import BUGS
from tests.simulation.crashes import everywhere
from tests.simulation.plan import ACTS, plan
from tests.simulation.runs import run, sweep, timeline
from tests.simulation.troubles import TROUBLES

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("THIRDRING_SEEDS", "2000"))


@pytest.mark.timeout(900)
def test_two_thousand_seeds() -> None:
    done = sweep(0, SEEDS, workers=2)
    told = "\n".join(summary(done))
    print(f"\n{told}", file=sys.stderr)
    first = min(done.failed, default=None)
    assert first is None, told + "\n" + "\n".join(timeline(first))
    assert set(TROUBLES) <= set(done.fired), told
    assert set(ACTS) <= set(done.fired), told
    assert done.facts["drill_injected"] > SEEDS / 40 and done.facts["drill_aborted"] > SEEDS / 200, told
    assert done.facts["switch_started"] > SEEDS / 10 and done.facts["leadership_taken"] > SEEDS / 10, told


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("nodes", "stride"), [(1, 2), (3, 6)])
def test_a_crash_at_every_step_of_a_switch(nodes: int, stride: int) -> None:
    found = everywhere(1, nodes=nodes, stride=stride)
    assert found.steps >= 20
    assert not found.failed, found.failed


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_without_this_safeguard_a_violation_is_seen(name: str) -> None:
    ablation = ABLATIONS[name]
    made = ablation.made
    possible = (seed for seed in range(20_000) if made is not None or plan(seed).kind in ablation.kinds)
    seeds = list(itertools.islice(possible, ablation.seeds))
    for seed in seeds:
        report = run(seed, ablation=name, made=made)
        if any(violation.invariant in ablation.invariants for violation in report.violations):
            assert not run(seed, made=made).violations, "it is violated with the safeguard as well"
            return
    raise AssertionError(f"{len(seeds)} seeds without it, and nobody noticed")


@pytest.mark.parametrize("name", sorted(BUGS))
def test_a_bug_once_found_is_gone(name: str) -> None:
    report = run(BUGS[name].seed, made=BUGS[name].plan)
    assert not report.violations, [str(violation) for violation in report.violations]


def test_a_seed_is_the_same_under_any_hash_seed() -> None:
    """Nothing is decided by the order of a set."""
    code = (
        "from tests.simulation.runs import run; import logging; logging.disable(50);"
        "print([run(seed).digest for seed in (26, 29, 35)])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{ROOT}:{ROOT / 'deploy'}"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(said) == 1, said
