"""The real configuration, read once a process: for a node alone, and for one of several."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from controller import registry
from controller.configuration.kinds import Kinds
from controller.configuration.loading import load
from controller.model.policy import Policy
from tests.simulation.platform import GROUP

ROOT = Path(__file__).parents[2]


@cache
def policy(nodes: int) -> Policy:
    """With several nodes a verdict takes two of them."""
    if nodes == 1:
        kinds = Kinds(
            names={name: tuple(table) for name, table in registry.CATEGORIES.items()}, load=registry.load
        )
        return load(Path(__file__).parent / "platform.yaml", kinds, lambda kind: ROOT / kind).policy
    alone = policy(1)
    rules = replace(alone.groups[GROUP], vantages=2)
    return replace(alone, groups=alone.groups.set(GROUP, rules))
