"""Ladders: a component's probes from cheap to end-to-end, as named templates that many components share.

A text in a rung's `with:` may hold `${name}` (the component's name) and `${key}` for each key of the component's own
`with:`. A text that is one reference keeps the value's type: `port: ${port}` stays a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, Field, RootModel

from controller.configuration.documents import Document
from controller.configuration.fields import (
    Count,
    Flag,
    PositiveCount,
    PositiveSeconds,
    RungName,
    Scalar,
    Section,
)
from controller.configuration.kinds import Kinds, NoParameters, secret_keys
from controller.configuration.profiles import PROFILES, QUIET
from controller.configuration.secrets import UNREFERRED
from controller.configuration.validation import closest, validate
from controller.model.errors import Problem
from controller.model.faults import EvidenceKind
from controller.model.health import Hysteresis
from controller.model.policy import Profile, RungPolicy

_REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*)\}")


class Rung(Section):
    """One probe. What is left out comes from the profile (failover-relevant rungs) or is 1 s, 0.5 s, fall 3, rise 2."""

    name: RungName
    probe: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    interval: PositiveSeconds | None = None
    timeout: PositiveSeconds | None = None
    fall: PositiveCount | None = None
    rise: PositiveCount | None = None
    flap_count: PositiveCount = 4
    flap_window: PositiveSeconds = 300.0
    failover_relevant: Flag = False
    confirm: Count | None = None
    confirm_interval: PositiveSeconds | None = None
    copies: PositiveCount | None = Field(default=None, le=3)
    on_demand: Flag = False
    reports_values: Flag | None = None
    evidence: EvidenceKind = EvidenceKind.PROBE


class Template(RootModel[tuple[Rung, ...]]):
    """A list of rungs, cheapest first."""


class Ladders:
    """Validated templates, and rungs made from them for one component at a time.

    A problem of a template is reported once, however many components use it.
    """

    def __init__(self, kinds: Kinds, problems: list[Problem]) -> None:
        self._kinds = kinds
        self._problems = problems
        self._templates: dict[str, tuple[Document, Template | None]] = {}
        self._reported: set[tuple[str, int, str]] = set()
        self._given_fields: dict[frozenset[str], set[str]] = {}
        self.used: set[str] = set()

    def add(self, name: str, document: Document) -> None:
        template = validate(Template, document, self._problems)
        if template is not None:
            self.unique(template.root, document)
        self._templates[name] = (document, template)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._templates)

    def build(
        self,
        template: str,
        component: str,
        values: Mapping[str, Scalar],
        profile: Profile,
        user: Document,
        path: tuple[str | int, ...],
    ) -> tuple[RungPolicy, ...]:
        """The rungs of `template` for one component. `user` and `path` are where the component names it."""
        if template not in self._templates:
            self._once(user.problem(path, f"unknown ladder {template!r}{closest(template, self._templates)}"))
            return ()
        self.used.add(template)
        document, validated = self._templates[template]
        if validated is None:
            return ()
        return self.rungs(validated.root, component, values, profile, document)

    def rungs(
        self,
        rungs: tuple[Rung, ...],
        component: str,
        values: Mapping[str, Scalar],
        profile: Profile,
        document: Document,
    ) -> tuple[RungPolicy, ...]:
        """`document` holds the list the rungs were written in."""
        known = {"name": component, **values}
        built = []
        for index, rung in enumerate(rungs):
            found: list[Problem] = []
            policy = self._rung(rung, index, known, profile, document, found)
            for problem in found:
                self._once(problem, f" (component {component})")
            if policy is not None:
                built.append(policy)
        return tuple(built)

    def check_unused(self) -> None:
        """Validate the parameters of templates no component uses as far as that is possible: their probes exist."""
        for name, (document, template) in self._templates.items():
            if name in self.used or template is None:
                continue
            for index, rung in enumerate(template.root):
                self._kinds.adapter("probe", rung.probe, document, (index, "probe"), self._problems)

    def _rung(
        self,
        rung: Rung,
        index: int,
        known: Mapping[str, Scalar],
        profile: Profile,
        document: Document,
        problems: list[Problem],
    ) -> RungPolicy | None:
        adapter = self._kinds.adapter("probe", rung.probe, document, (index, "probe"), problems)
        content: Any = substitute(rung.with_, known, document, (index, "with"), problems)
        if adapter is None or problems:
            return None
        for key in secret_keys(getattr(adapter, "Parameters", NoParameters)):
            written = rung.with_.get(key)
            place = (index, "with", key)
            if written and not document.referred(place) and "${" not in str(written):
                problems.append(document.problem(place, UNREFERRED))
        parameters = self._kinds.validated(
            adapter, document.part((index, "with"), content), problems, secrets=False
        )
        if parameters is None:
            return None
        pace = PROFILES[profile].pace if rung.failover_relevant else QUIET
        interval, timeout = _given(rung.interval, pace.interval), _given(rung.timeout, pace.timeout)
        if rung.failover_relevant and not rung.on_demand and timeout > interval:
            problems.append(
                document.problem(
                    (index, "timeout" if rung.timeout is not None else "interval"),
                    f"the timeout, {timeout:g} s, is longer than the interval, {interval:g} s: a probe in the air is not "
                    "overtaken, so a target that does not answer would be probed less often than the arithmetic says",
                )
            )
            return None
        # A mass probe has thousands of targets: its values are sent only when a rung asks for them.
        reports = rung.reports_values
        if reports is None:
            reports = bool(self._kinds.values(adapter)) and not getattr(adapter, "mass", False)
        return RungPolicy(
            name=rung.name,
            probe=rung.probe,
            parameters=self._sharing(parameters),
            interval=interval,
            timeout=timeout,
            hysteresis=_hysteresis(
                int(_given(rung.fall, pace.fall)),
                int(_given(rung.rise, pace.rise)),
                rung.flap_count,
                rung.flap_window,
            ),
            failover_relevant=rung.failover_relevant,
            confirm=int(_given(rung.confirm, pace.confirm)),
            confirm_interval=_given(rung.confirm_interval, pace.confirm_interval),
            copies=int(_given(rung.copies, pace.copies)),
            on_demand=rung.on_demand,
            reports_values=reports,
            probed=getattr(adapter, "probed", True),
            evidence=rung.evidence,
        )

    def _sharing(self, parameters: BaseModel) -> BaseModel:
        """With the names of the fields that were given held once: a set of its own is a sixth of what the configuration
        of a fleet's member occupies. No model of parameters changes once it is made."""
        names = parameters.model_fields_set
        shared = self._given_fields.setdefault(frozenset(names), names)
        object.__setattr__(parameters, "__pydantic_fields_set__", shared)
        return parameters

    def unique(self, rungs: tuple[Rung, ...], document: Document) -> None:
        seen: set[str] = set()
        for index, rung in enumerate(rungs):
            if rung.name in seen:
                self._problems.append(document.problem((index, "name"), f"a second rung named {rung.name}"))
            seen.add(rung.name)

    def _once(self, problem: Problem, suffix: str = "") -> None:
        """At most one problem a place: the first of ten thousand phones speaks for all."""
        place = (problem.file, problem.line, problem.path)
        if place not in self._reported:
            self._reported.add(place)
            self._problems.append(
                Problem(
                    file=problem.file,
                    line=problem.line,
                    path=problem.path,
                    message=problem.message + suffix,
                )
            )


def substitute(
    content: Any,
    known: Mapping[str, Scalar],
    document: Document,
    path: tuple[str | int, ...],
    problems: list[Problem],
) -> Any:
    """`content` with every `${key}` replaced; an unknown key is a problem at its place."""
    if isinstance(content, dict):
        return {
            key: substitute(item, known, document, (*path, key), problems) for key, item in content.items()
        }
    if isinstance(content, list):
        return [
            substitute(item, known, document, (*path, index), problems) for index, item in enumerate(content)
        ]
    if not isinstance(content, str) or "${" not in content:
        return content
    whole = _REFERENCE.fullmatch(content)
    if whole is not None and whole[1] in known:
        return known[whole[1]]

    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            problems.append(
                document.problem(path, f"nothing gives {match[0]} a value{closest(match[1], known)}")
            )
            return match[0]
        found = known[match[1]]
        return str(found).lower() if isinstance(found, bool) else str(found)

    return _REFERENCE.sub(value, content)


@cache
def _hysteresis(fall: int, rise: int, flap_count: int, flap_window: float) -> Hysteresis:
    """One for all rungs that have the same."""
    return Hysteresis(fall=fall, rise=rise, flap_count=flap_count, flap_window=flap_window)


def _given(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
