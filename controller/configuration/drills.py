"""Drill scenarios: a fault to put in, how to take it out, and the times to be held to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import Field

from controller.configuration.documents import Document
from controller.configuration.fields import Flag, PositiveSeconds, Section, Words
from controller.configuration.kinds import Kinds
from controller.configuration.validation import closest, validate
from controller.model.drills import Objective, Scenario
from controller.model.errors import Problem
from controller.model.faults import FaultKind
from controller.model.moments import Values
from controller.model.parameters import flatten


class CallEntry(Section):
    action: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")


class ObjectiveEntry(Section):
    name: Literal["detect", "decide", "switch", "verify", "acknowledge", "outage"]
    limit: PositiveSeconds
    weight: float = Field(default=1.0, gt=0)
    hard: Flag = False


class ScenarioEntry(Section):
    """The inject is undone after `expires`, whatever happens."""

    title: Words
    group: str = ""
    component: str
    inject: CallEntry
    undo: CallEntry
    expires: PositiveSeconds
    objectives: tuple[ObjectiveEntry, ...] = Field(min_length=1)
    expected_fault: FaultKind | None = None


_PLACEHOLDERS = {"title": "-", "expires": 1, "objectives": [{"name": "outage", "limit": 1}]}
"""In place of what is wrong, so that the rest is checked too."""


def build_scenarios(
    documents: Mapping[str, Document],
    components: Collection[str],
    groups: Collection[str],
    kinds: Kinds,
    problems: list[Problem],
) -> dict[str, Scenario]:
    scenarios = {}
    for name, document in documents.items():
        entry = validate(ScenarioEntry, document, problems, otherwise=_PLACEHOLDERS)
        if entry is None:
            continue
        if entry.component not in components:
            problems.append(
                document.problem(
                    ("component",),
                    f"unknown component {entry.component!r}{closest(entry.component, components)}",
                )
            )
        if entry.group and entry.group not in groups:
            problems.append(
                document.problem(("group",), f"unknown group {entry.group!r}{closest(entry.group, groups)}")
            )
        scenarios[name] = Scenario(
            name=name,
            title=entry.title.frozen(),
            group=entry.group,
            component=entry.component,
            inject=_call(entry.inject, "inject", document, kinds, problems),
            undo=_call(entry.undo, "undo", document, kinds, problems),
            expires=entry.expires,
            objectives=tuple(
                Objective(name=item.name, limit=item.limit, weight=item.weight, hard=item.hard)
                for item in entry.objectives
            ),
            expected_fault="" if entry.expected_fault is None else str(entry.expected_fault),
        )
    return scenarios


def _call(
    entry: CallEntry, key: str, document: Document, kinds: Kinds, problems: list[Problem]
) -> tuple[str, Values]:
    adapter = kinds.adapter("action", entry.action, document, (key, "action"), problems)
    if adapter is not None:
        kinds.validated(adapter, document.part((key, "with"), entry.with_), problems)
    return entry.action, flatten(entry.with_)
