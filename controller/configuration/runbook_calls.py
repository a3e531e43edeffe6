"""The calls of a runbook: parameters by the action's own model, references and conditions against what will be known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import InitErrorDetails

from controller.configuration.conditions import compile_condition
from controller.configuration.documents import Document, Location
from controller.configuration.fields import PositiveCount, PositiveSeconds, Section
from controller.configuration.validation import closest, problems_of
from controller.model.conditions import Condition
from controller.model.errors import ConditionError, Problem
from controller.model.parameters import REFERENCE, flatten
from controller.model.runbooks import ActionCall


class NoteParameters(Section):
    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)


class PageParameters(NoteParameters):
    """What people are asked for: the fourth line of the page."""


class WaitParameters(Section):
    seconds: Annotated[PositiveSeconds, Field(le=86400)]


class ProbeParameters(Section):
    """Runs a component's ladder, or only `rungs` of it, `count` times. `side`: the mark every answered call must carry."""

    component: str = Field(min_length=1)
    rungs: tuple[str, ...] = ()
    count: Annotated[PositiveCount, Field(le=100)] = 1
    expect: Literal["up", "down"] = "up"
    side: str = ""


class FailoverParameters(Section):
    """`target`: the side; the one that is not active unless told otherwise."""

    verb: Literal["failover", "switchover", "failback"] = "failover"
    group: str = ""
    target: str = ""
    reason: str = ""


OWN: Mapping[str, type[BaseModel]] = {
    "note": NoteParameters,
    "page": PageParameters,
    "wait": WaitParameters,
    "probe": ProbeParameters,
    "failover": FailoverParameters,
}
"""Actions of the core, which need no adapter."""

HARMLESS = frozenset({"note", "page", "wait", "probe"})
"""They change nothing: nothing to undo, no harm in doing them again."""

ALWAYS: Mapping[str, str] = {
    "run": "string",
    "incident": "string",
    "drill": "bool",
    "group": "string",
    "component": "string",
    "fault": "string",
    "side": "string",
    "origin": "string",
    "target": "string",
    "echo": "string",
    "edges": "string",
    "spare": "string",
    "component.kind": "string",
    "component.lines": "int",
    "component.destination": "string",
    "origin.component": "string",
    "origin.destination": "string",
    "target.component": "string",
    "target.destination": "string",
    "incident.severity": "int",
    "incident.kind": "string",
    "incident.state": "string",
    "incident.affected": "int",
    "incident.root": "string",
    "incident.drill": "bool",
}
"""What references and conditions may read beside the inputs. A step fails where one has no value."""

_OF_COMPONENT = re.compile(r"component\.[A-Za-z_]\w*")
"""Any value may stand in a component's configuration; only those of ALWAYS have a type that conditions can read."""

_OF_EVERY_STEP = {"state": "string", "message": "string"}
_OF_A_PERSON = {"by": "string", "granted": "bool", "proof": "string"}
_OWN_REPORTS: Mapping[str, Mapping[str, str]] = {
    "failover": {"outcome": "string", "switch": "string"},
    "probe": {
        "up": "int",
        "down": "int",
        "void": "int",
        "first_broken": "string",
        "call.outcome": "string",
        "call.side": "string",
        "call.one_way": "string",
        "call.mos": "double",
        "call.pdd_ms": "double",
        "call.loss_percent": "double",
        "call.code": "int",
        "sip.outcome": "string",
    },
}


class Calls:
    """Turns the calls of one runbook into values, in order, and learns what each step will report."""

    def __init__(
        self,
        document: Document,
        actions: Mapping[str, type[BaseModel]],
        inputs: Mapping[str, str],
        problems: list[Problem],
    ) -> None:
        self._document = document
        self._actions = actions
        self._problems = problems
        self._names: dict[str, str] = {**ALWAYS, **inputs}

    def problem(self, path: Location, message: str) -> None:
        self._problems.append(self._document.problem(path, message))

    def harmless(self, action: str | None) -> bool:
        return action in HARMLESS

    def known(self, step: str, call: ActionCall | None) -> None:
        """From here on, what this step reports may be read."""
        reports = {**_OF_EVERY_STEP, **(_OF_A_PERSON if call is None else self._reports(call.action))}
        self._names.update({f"steps.{step}.{name}": kind for name, kind in reports.items()})

    def condition(self, source: str | None, path: Location) -> Condition | None:
        if source is None:
            return None
        try:
            return compile_condition(source, self._names)
        except ConditionError as error:
            self.problem(path, str(error))
            return None

    def call(
        self, action: str, parameters: dict[str, Any], timeout: float, named_at: Location, path: Location
    ) -> ActionCall:
        """The call, with everything wrong about it reported."""
        model = OWN.get(action) or self._actions.get(action)
        if model is None:
            self.problem(named_at, f"unknown action {action!r}{closest(action, (*OWN, *self._actions))}")
        else:
            self._references(parameters, path)
            parameters = self._validated(model, parameters, path, own=action in OWN)
        try:
            return ActionCall(action=action, parameters=flatten(parameters), timeout=timeout)
        except TypeError as error:
            self.problem(path, str(error))
            return ActionCall(action=action, timeout=timeout)

    def _validated(
        self, model: type[BaseModel], parameters: dict[str, Any], path: Location, *, own: bool
    ) -> dict[str, Any]:
        """Checked now, but for values that hold references, which only a run can check. The core's own actions get
        what their model makes of the values (30 seconds of "30s")."""
        part = self._document.part(path, parameters)
        try:
            checked = model.model_validate(parameters)
        except ValidationError as error:
            standing: list[InitErrorDetails] = []
            for item in error.errors(include_url=False):
                of_keys = item["type"] in ("missing", "extra_forbidden")
                if of_keys or not _holds_references(_inside(parameters, item["loc"])):
                    standing.append(
                        InitErrorDetails(
                            type=item["type"], loc=item["loc"], input=item["input"], ctx=item.get("ctx", {})
                        )
                    )
            if standing:
                left = ValidationError.from_exception_data(model.__name__, standing)
                self._problems.extend(problems_of(left, part, model))
            return parameters
        if not own:
            return parameters
        made: dict[str, Any] = checked.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return made

    def _references(self, value: Any, path: Location) -> None:
        for place, text in _texts(value, path):
            rest = REFERENCE.sub("", text)
            if "${" in rest:
                self.problem(place, f"{text!r} holds something that is no reference: write ${{name}}")
            for name in REFERENCE.findall(text):
                if name not in self._names and not _OF_COMPONENT.fullmatch(name):
                    self.problem(place, f"unknown reference {name}{closest(name, self._names)}")

    def _reports(self, action: str) -> Mapping[str, str]:
        if action in OWN:
            return _OWN_REPORTS.get(action, {})
        reports: Mapping[str, str] = getattr(self._actions.get(action), "reports", {})
        return reports


def _holds_references(value: Any) -> bool:
    return any(REFERENCE.search(text) for _, text in _texts(value, ()))


def _texts(value: Any, path: Location) -> Iterator[tuple[Location, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*path, index))


def _inside(value: Any, location: tuple[int | str, ...]) -> Any:
    """What is at `location`; elements that are not there (as validators add for unions) are stepped over."""
    for element in location:
        try:
            value = value[element]
        except (KeyError, IndexError, TypeError):
            continue
    return value
