"""The runbooks of a configuration: those of every directory it names, and the actions they use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from controller.configuration.documents import Document, read_document
from controller.configuration.kinds import Kinds, NoParameters
from controller.configuration.runbooks import parse_runbook
from controller.configuration.secrets import resolve
from controller.configuration.sources import Sources
from controller.model.errors import ConfigurationError, Problem
from controller.model.policy import Person
from controller.model.runbooks import ActionCall, Runbook, Step

OPERATOR = "operator"


@dataclass(frozen=True, kw_only=True)
class Library:
    """`documents` by runbook. `names`: the runbooks there are, those of wrong files included. `used`: each action that a runbook calls, with
    the document that calls it first."""

    runbooks: Mapping[str, Runbook]
    documents: Mapping[str, Document]
    names: frozenset[str]
    used: Mapping[str, Document]


def read_library(
    sources: Sources,
    kinds: Kinds,
    environment: Mapping[str, str],
    problems: list[Problem],
    warnings: list[Problem],
) -> Library:
    """What is named later replaces what is named earlier: one's own directory after the shipped one."""
    parameters = _ActionParameters(kinds, sources.main, problems)
    runbooks: dict[str, Runbook] = {}
    places: dict[str, str] = {}
    documents: dict[str, Document] = {}
    used: dict[str, Document] = {}
    wrong: set[str] = set()
    for path, shown, place in sources.runbooks:
        for file in _files(path, place, problems):
            name = shown if file == path else f"{shown}/{file.name}"
            try:
                document = resolve(read_document(file, shown=name), file.parent, environment, problems)
                runbook = parse_runbook(document, name, parameters)
            except ConfigurationError as error:
                problems.extend(error.problems)
                wrong.add(file.stem)
                continue
            if runbook.name in places:
                first = places[runbook.name]
                warnings.append(document.problem((), f"replaces the runbook {runbook.name} of {first}"))
            runbooks[runbook.name] = runbook
            documents[runbook.name] = document
            places[runbook.name] = name
            for call in _calls(runbook.steps):
                used.setdefault(call.action, document)
    return Library(
        runbooks=runbooks, documents=documents, names=frozenset(wrong) | frozenset(runbooks), used=used
    )


def warn_of_approvers(library: Library, people: Iterable[Person], warnings: list[Problem]) -> None:
    """An approval by a role that nobody has would wait until it expires. Every account that may operate has OPERATOR."""
    roles = {OPERATOR, *(person.role for person in people)}
    for name, runbook in library.runbooks.items():
        for step in _steps(runbook.steps):
            if step.approval is not None and step.approval.role not in roles:
                warnings.append(
                    library.documents[name].problem(
                        ("steps",), f"{step.name} waits for the role {step.approval.role}, which nobody has"
                    )
                )


def _files(directory: Path, place: Document, problems: list[Problem]) -> Sequence[Path]:
    if directory.is_file():
        return (directory,)
    files = sorted(directory.glob("*.yaml")) if directory.is_dir() else []
    if not files:
        problems.append(place.problem((), f"no runbooks in {directory}"))
    return files


class _ActionParameters(Mapping[str, type[BaseModel]]):
    """Kind -> parameters of every registered action; each is imported only when a runbook uses it. One that can't be is
    a problem, and its parameters are then taken as they are."""

    def __init__(self, kinds: Kinds, main: Document, problems: list[Problem]) -> None:
        self._kinds = kinds
        self._main = main
        self._problems = problems

    def __getitem__(self, kind: str) -> type[BaseModel]:
        if kind not in self._kinds.names.get("action", ()):
            raise KeyError(kind)
        adapter = self._kinds.adapter("action", kind, self._main, (), self._problems)
        if adapter is None:
            return _AnyParameters
        declared: type[BaseModel] = getattr(adapter, "Parameters", NoParameters)
        return declared

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds.names.get("action", ()))

    def __len__(self) -> int:
        return len(self._kinds.names.get("action", ()))


class _AnyParameters(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


def _steps(steps: Iterable[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        yield from _steps(step.steps)


def _calls(steps: Iterable[Step]) -> Iterator[ActionCall]:
    for step in _steps(steps):
        yield from (call for call in (step.call, step.verify, step.rollback) if call is not None)
