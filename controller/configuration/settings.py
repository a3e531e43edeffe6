"""Everything a configuration says, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller.configuration.node import NodeSettings
from controller.core.objectives import WorstCase
from controller.model.errors import Problem
from controller.model.policy import Policy


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`policy` is what the core reads, `node` what the composition root needs. `warnings` stop nothing. `worst_cases`
    hold each group's arithmetic. `files` are those read, as they are shown."""

    policy: Policy
    node: NodeSettings
    warnings: tuple[Problem, ...]
    worst_cases: Mapping[str, WorstCase]
    files: tuple[str, ...]

    @property
    def revision(self) -> str:
        return self.policy.revision
