"""Runbooks: YAML -> frozen typed steps, with every error found and a content hash as revision."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from controller.configuration.documents import Document, Location
from controller.configuration.fields import Flag, PositiveCount, PositiveSeconds, Seconds, Section, Words
from controller.configuration.runbook_calls import Calls
from controller.configuration.runbook_rules import complain
from controller.configuration.validation import validate
from controller.model.encoding import canonical
from controller.model.errors import ConfigurationError, Problem
from controller.model.runbooks import (
    ActionCall,
    Approval,
    Manual,
    OnUnknown,
    Retry,
    Runbook,
    Step,
    StepKind,
    Text,
)

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")]
Variable = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
"""A name that conditions can read: of a step, of an input."""
MOST_STEPS = 100

Kind = Literal["string", "int", "double", "bool"]


class CallEntry(Section):
    action: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    timeout: PositiveSeconds = 30.0


class VerifyEntry(CallEntry):
    """Up to `attempts` looks, `pause` apart: what was done may need a while to show."""

    attempts: Annotated[PositiveCount, Field(le=100)] = 1
    pause: PositiveSeconds = 1.0


class RetryEntry(Section):
    attempts: Annotated[PositiveCount, Field(le=20)] = 1
    delay: Seconds = 1.0
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0


class ApprovalEntry(Section):
    """`role`: "operator" for every account that may operate, or the role of people of the configuration. `default`:
    what silence means."""

    role: str = Field(min_length=1)
    expires: PositiveSeconds
    default: Literal["grant", "refuse"] = "refuse"


class ManualEntry(Section):
    owner: str = Field(min_length=1)
    deadline: PositiveSeconds
    proof: str = Field(min_length=1)


class StepEntry(Section):
    """Exactly one of `action`, `approve`, `manual`, `parallel`."""

    name: Variable
    title: Words | None = None
    when: str | None = None
    on_failure: Literal["stop", "continue"] = "stop"
    action: str | None = None
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    timeout: PositiveSeconds = 30.0
    retry: RetryEntry = RetryEntry()
    idempotent: Flag = False
    disruptive: Flag = False
    drops_calls: Flag = False
    verify: VerifyEntry | None = None
    on_unknown: OnUnknown | None = None
    rollback: CallEntry | None = None
    irreversible: str = ""
    approve: ApprovalEntry | None = None
    manual: ManualEntry | None = None
    parallel: tuple[StepEntry, ...] | None = None


def _some(steps: tuple[StepEntry, ...]) -> tuple[StepEntry, ...]:
    """Counted only when every step is well formed: a wrong one is no missing one."""
    if not 1 <= len(steps) <= MOST_STEPS:
        raise ValueError(f"must be 1 to {MOST_STEPS} steps")
    return steps


class RunbookEntry(Section):
    """`inputs`: names, or name -> type. `expected`: how long a run takes when all goes well."""

    runbook: Name
    title: Words
    summary: Words
    clause: str = ""
    inputs: tuple[Variable, ...] | dict[Variable, Kind] = ()
    expected: PositiveSeconds | None = None
    steps: Annotated[tuple[StepEntry, ...], AfterValidator(_some)]

    @property
    def input_types(self) -> Mapping[str, str]:
        if isinstance(self.inputs, tuple):
            return dict.fromkeys(self.inputs, "string")
        return dict(self.inputs)


def parse_runbook(document: Document, source: str, actions: Mapping[str, type[BaseModel]]) -> Runbook:
    """The runbook of one document. `actions`: adapter action -> the model of its parameters, which may declare what its
    data hold as `reports: ClassVar[Mapping[str, str]]`. `source`: the file's name, which is the runbook's.

    Raises ConfigurationError with everything that is wrong.
    """
    problems: list[Problem] = []
    entry = validate(RunbookEntry, document, problems)
    if entry is None:
        raise ConfigurationError(problems)
    if source.endswith((".yaml", ".yml")) and PurePath(source).stem != entry.runbook:
        problems.append(document.problem(("runbook",), f"the file is named {PurePath(source).name}"))
    calls = Calls(document, actions, entry.input_types, problems)
    steps = tuple(_step(item, ("steps", index), calls) for index, item in enumerate(entry.steps))
    complain(document, steps, problems)
    if problems:
        raise ConfigurationError(list(dict.fromkeys(problems)))
    return Runbook(
        name=entry.runbook,
        revision=revision(document.content),
        title=entry.title.frozen(),
        summary=entry.summary.frozen(),
        steps=steps,
        inputs=tuple(entry.input_types),
        expected_seconds=entry.expected or sum(_expected(step) for step in _all(steps)),
        clause=entry.clause,
    )


def revision(content: Any) -> str:
    """SHA-256, hex, over the canonical JSON of the content: the order of keys and the layout do not matter."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def _step(entry: StepEntry, path: Location, calls: Calls) -> Step:
    given = [key for key in ("action", "approve", "manual", "parallel") if getattr(entry, key) is not None]
    if len(given) != 1:
        calls.problem(path, "a step has exactly one of action, approve, manual, parallel")
    title = entry.title.frozen() if entry.title is not None else Text(zh=entry.name, en=entry.name)
    when = calls.condition(entry.when, (*path, "when"))
    call = None
    if entry.action is not None:
        call = calls.call(entry.action, entry.with_, entry.timeout, (*path, "action"), (*path, "with"))
    verify, rollback = (
        _called(item, (*path, key), calls)
        for key, item in (("verify", entry.verify), ("rollback", entry.rollback))
    )
    calls.known(entry.name, call)
    branches = tuple(
        _step(child, (*path, "parallel", index), calls) for index, child in enumerate(entry.parallel or ())
    )
    own = calls.harmless(entry.action)
    return Step(
        name=entry.name,
        kind=_kind(entry),
        title=title,
        call=call,
        when=when,
        retry=Retry(attempts=entry.retry.attempts, delay=entry.retry.delay, factor=entry.retry.factor),
        idempotent=entry.idempotent or own,
        disruptive=entry.disruptive or entry.drops_calls or entry.action == "failover",
        drops_calls=entry.drops_calls,
        verify=verify,
        on_unknown=entry.on_unknown or (OnUnknown.VERIFY if verify is not None else OnUnknown.MANUAL),
        rollback=rollback,
        irreversible=entry.irreversible or ("changes nothing" if own or entry.approve else ""),
        approval=_approval(entry.approve),
        manual=_manual(entry.manual),
        steps=branches,
        on_failure=entry.on_failure,
    )


def _kind(entry: StepEntry) -> StepKind:
    if entry.approve is not None:
        return StepKind.APPROVE
    if entry.manual is not None:
        return StepKind.MANUAL
    return StepKind.PARALLEL if entry.parallel is not None else StepKind.ACTION


def _called(entry: CallEntry | None, path: Location, calls: Calls) -> ActionCall | None:
    if entry is None:
        return None
    call = calls.call(entry.action, entry.with_, entry.timeout, (*path, "action"), (*path, "with"))
    if isinstance(entry, VerifyEntry):
        return replace(call, attempts=entry.attempts, pause=entry.pause)
    return call


def _approval(entry: ApprovalEntry | None) -> Approval | None:
    if entry is None:
        return None
    return Approval(role=entry.role, expires=entry.expires, default=entry.default == "grant")


def _manual(entry: ManualEntry | None) -> Manual | None:
    return None if entry is None else Manual(owner=entry.owner, deadline=entry.deadline, proof=entry.proof)


def _all(steps: tuple[Step, ...]) -> Iterator[Step]:
    for step in steps:
        yield step
        yield from _all(step.steps)


def _expected(step: Step) -> float:
    """A pause takes as long as it says; anything else is taken for a third of its timeout."""
    if step.call is None:
        return 0.0
    pause = dict(step.call.parameters).get("seconds") if step.call.action == "wait" else None
    if isinstance(pause, (int, float)):
        return float(pause)
    return 0.0 if step.call.action in ("note", "page") else round(step.call.timeout / 3, 1)
