"""Calls that their action will refuse because its settings don't provide for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from controller.configuration.documents import Document, Location
from controller.configuration.kinds import Kinds
from controller.configuration.library import Library
from controller.model.errors import Problem
from controller.model.policy import Policy


class _Call(NamedTuple):
    path: Location  # of its parameters
    action: str
    parameters: Mapping[str, Any]


def check_provided(
    policy: Policy,
    library: Library,
    drills: Mapping[str, Document],
    settings: Mapping[str, object],
    kinds: Kinds,
    problems: list[Problem],
    warnings: list[Problem],
) -> None:
    """Problems for drills: one that can't be undone must not be begun. Warnings for runbooks: a person can still do what
    the step would have done. Of the shipped ones only for those that the controller would start by itself here; who
    starts another is told at once."""
    # Of settings that are wrong themselves nothing more is said.
    good = {
        action: chosen
        for action, chosen in settings.items()
        if not any(problem.path.startswith(f"actions.{action}.") for problem in problems)
    }
    started = _started(policy)
    for name, document in sorted(library.documents.items()):
        if name in started or not document.file.startswith("shipped:"):
            calls = _of_steps(document.content["steps"], ("steps",))
            warnings.extend(_lacking(document, calls, good, kinds))
    for _, document in sorted(drills.items()):
        problems.extend(_lacking(document, _of_drill(document), good, kinds))


def _started(policy: Policy) -> set[str]:
    """The runbooks of faults that can be found here."""
    present = {component.kind for component in policy.components.values()}
    of_rules = {rule.fault for rule in policy.rules}
    found = {rule.fault for rule in policy.rules if rule.kinds & present}
    names: set[str] = set()
    for fault, row in policy.domains.items():
        if fault in found or fault not in of_rules:
            names |= {row.repair, row.switch}
    for group in policy.groups.values():
        names |= {group.runbook, group.last_resort}
    return names - {""}


def _lacking(
    document: Document, calls: Iterable[_Call], settings: Mapping[str, object], kinds: Kinds
) -> Iterator[Problem]:
    for call in calls:
        if call.action not in settings:
            continue  # the core's own, or said already
        adapter = kinds.load("action", call.action)
        lacks = getattr(adapter, "lacks", None)
        if lacks is not None and (found := lacks(settings[call.action], call.parameters)) is not None:
            key, message = found
            yield document.problem((*call.path, *key), message)


def _of_steps(steps: Iterable[Any], path: Location) -> Iterator[_Call]:
    for index, step in enumerate(steps):
        here: Location = (*path, index)
        yield from _of_entry(step, here)
        for key in ("verify", "rollback"):
            yield from _of_entry(step.get(key), (*here, key))
        yield from _of_steps(step.get("parallel") or (), (*here, "parallel"))


def _of_drill(document: Document) -> Iterator[_Call]:
    content = document.content if isinstance(document.content, dict) else {}
    for key in ("inject", "undo"):
        yield from _of_entry(content.get(key), (key,))


def _of_entry(entry: Any, path: Location) -> Iterator[_Call]:
    if isinstance(entry, dict) and isinstance(entry.get("action"), str):
        parameters = entry.get("with")
        yield _Call((*path, "with"), entry["action"], parameters if isinstance(parameters, dict) else {})
