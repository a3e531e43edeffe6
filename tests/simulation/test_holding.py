"""Two hosts and one address: never both, however processes stop and networks break; and each safeguard is needed."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.holding import HoldingWorld, Rules

SEEDS = 150


def test_never_two_gates_open() -> None:
    moves, proofs, acts = 0, Counter[str](), Counter[str]()
    for seed in range(SEEDS):
        held = HoldingWorld(seed, Rules()).run()
        assert not held.violations, (seed, [str(violation) for violation in held.violations])
        moves += held.moves
        proofs += held.proofs
        acts += held.acts
    assert moves > 5 * SEEDS
    assert proofs["agent"] > SEEDS and proofs["time"] > SEEDS / 2, proofs
    assert acts["raised"] > SEEDS and acts["given back"] > SEEDS and acts["taken over"] > SEEDS / 2, acts
    assert acts["kept"] > 2 * SEEDS, acts
    assert acts["at first try"] > SEEDS and acts["read anew"] > SEEDS / 2, acts


def test_an_undisturbed_holder_holds_throughout() -> None:
    for seed in range(10):
        assert not HoldingWorld(seed, Rules(), quiet=True).run().violations


@pytest.mark.parametrize(
    ("rules", "quiet", "invariant"),
    [
        pytest.param(Rules(armed_stage=False), False, "I1", id="no armed stage"),
        pytest.param(Rules(compare_and_extend=False), True, "I12", id="bare add"),
        pytest.param(Rules(closing_transaction=False), False, "I1", id="no closing transaction"),
        pytest.param(Rules(outwait=0.0), False, "I1", id="lease gone as proof"),
        pytest.param(Rules(fenced_first=False), False, "I1", id="another's grant raised"),
        pytest.param(Rules(promises_bind=False), False, "I1", id="a promise binds nobody"),
    ],
)
def test_without_this_safeguard_a_violation_is_seen(rules: Rules, quiet: bool, invariant: str) -> None:
    for seed in range(SEEDS):
        held = HoldingWorld(seed, rules, quiet=quiet).run()
        if any(violation.invariant == invariant for violation in held.violations):
            return
    raise AssertionError(f"{SEEDS} seeds without it, and nobody noticed")
