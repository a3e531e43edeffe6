"""Fault rules, and the table of what may be done about each fault."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping

from pydantic import Field, model_validator

from controller.configuration.conditions import compile_condition
from controller.configuration.documents import Document
from controller.configuration.fields import Flag, RungName, Seconds, Section, Words
from controller.configuration.validation import closest, validate
from controller.configuration.variables import Offer
from controller.model.errors import ConditionError, Problem
from controller.model.faults import EvidenceKind, FaultKind
from controller.model.policy import ComponentKind, DomainRow, FaultRule, Role, Term


class ProbeEntry(Section):
    role: Role
    rung: RungName


class TermEntry(Section):
    """`probe`: run this rung at once when the term is unknown or its values are older than `fresh`."""

    name: str = Field(min_length=1)
    evidence: EvidenceKind
    when: str
    fresh: Seconds = 0.0
    probe: ProbeEntry | None = None


class RuleEntry(Section):
    name: str = Field(min_length=1)
    fault: FaultKind
    kinds: frozenset[ComponentKind] = Field(min_length=1)
    terms: tuple[TermEntry, ...] = Field(min_length=1)
    title: Words
    actionable: Flag = True
    side_only: Flag = False


class DomainEntry(Section):
    """`repair` and `switch` name runbooks. `never_switch` and `switch` exclude each other; a fault with neither repair
    nor switch says why in `no_action`."""

    fault: FaultKind
    domain: str = Field(pattern=r"^(platform|trunk|device|data|security|edge|none)$")
    repair: str = ""
    switch: str = ""
    never_switch: Flag | None = None
    no_action: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> DomainEntry:
        if self.switch and self.never_switch:
            raise ValueError("a fault that names a switch runbook can't be never_switch")
        if not (self.repair or self.switch or self.no_action):
            raise ValueError("a fault needs a repair or switch runbook, or no_action with the reason")
        if self.no_action and (self.repair or self.switch):
            raise ValueError("no_action goes with neither repair nor switch")
        return self


def build_rules(
    documents: Mapping[str, Document], offer: Offer, problems: list[Problem], warnings: list[Problem]
) -> tuple[FaultRule, ...]:
    """Conditions are checked against every variable that exists. A rule that no component could ever fire is only a
    warning: shared rules are written for all platforms."""
    declared = offer.declared()
    rules = []
    for name, document in documents.items():
        entry = validate(RuleEntry, document, problems)
        if entry is None:
            _check_conditions(document, declared, problems)
            continue
        terms = []
        for index, item in enumerate(entry.terms):
            try:
                condition = compile_condition(item.when, declared)
            except ConditionError as error:
                unloadable = "".join(
                    f"; the values of the probe {probe} are not known: {why}"
                    for probe, why in offer.unloadable.items()
                )
                problems.append(document.problem(("terms", index, "when"), f"{error}{unloadable}"))
                continue
            _warn(name, entry, index, condition.variables, document, offer, warnings)
            probe = None if item.probe is None else (item.probe.role, item.probe.rung)
            terms.append(
                Term(name=item.name, evidence=item.evidence, when=condition, fresh=item.fresh, probe=probe)
            )
        names = [item.name for item in entry.terms]
        for index, term in enumerate(names):
            if term in names[:index]:
                problems.append(document.problem(("terms", index, "name"), f"a second term named {term}"))
        rules.append(
            FaultRule(
                name=name,
                fault=entry.fault,
                kinds=entry.kinds,
                terms=tuple(terms),
                title=entry.title.frozen(),
                actionable=entry.actionable,
                side_only=entry.side_only,
            )
        )
    return tuple(rules)


def _check_conditions(document: Document, declared: Mapping[str, str], problems: list[Problem]) -> None:
    """The conditions of a rule that has something else wrong."""
    terms = document.content.get("terms") if isinstance(document.content, dict) else None
    for index, term in enumerate(terms if isinstance(terms, list) else ()):
        source = term.get("when") if isinstance(term, dict) else None
        if isinstance(source, str):
            try:
                compile_condition(source, declared)
            except ConditionError as error:
                problems.append(document.problem(("terms", index, "when"), str(error)))


def _warn(
    name: str,
    entry: RuleEntry,
    index: int,
    variables: tuple[str, ...],
    document: Document,
    offer: Offer,
    warnings: list[Problem],
) -> None:
    present = sorted(kind for kind in entry.kinds if kind in offer.rungs)
    # With one of its variables there an `||` may still hold; with none of them it can't.
    if present and variables and all(offer.lacks(variable, present) for variable in variables):
        warnings.append(
            document.problem(
                ("terms", index, "when"),
                f"the rule {name} is idle for {', '.join(present)}: nothing offers {', '.join(variables)}",
            )
        )


def build_domains(
    documents: Mapping[str, Document],
    runbooks: Collection[str],
    main: Document,
    problems: list[Problem],
) -> dict[FaultKind, DomainRow]:
    """Every fault kind has a row: a runbook, or an explicit no action."""
    rows: dict[FaultKind, DomainRow] = {}
    for name, document in documents.items():
        entry = validate(DomainEntry, document, problems)
        if entry is None:
            with contextlib.suppress(ValueError):
                kind = FaultKind(name)
                rows[kind] = DomainRow(
                    fault=kind, domain="none"
                )  # known by name: not reported as missing too
            continue
        for key, runbook in (("repair", entry.repair), ("switch", entry.switch)):
            if runbook and runbook not in runbooks:
                problems.append(
                    document.problem((key,), f"unknown runbook {runbook!r}{closest(runbook, runbooks)}")
                )
        rows[entry.fault] = DomainRow(
            fault=entry.fault,
            domain=entry.domain,
            repair=entry.repair,
            switch=entry.switch,
            never_switch=not entry.switch if entry.never_switch is None else entry.never_switch,
            no_action=entry.no_action,
        )
    missing = [kind for kind in FaultKind if kind not in rows]
    if missing:
        problems.append(
            main.problem(
                ("domains",),
                f"no row for {', '.join(missing)}: each fault needs a repair or switch runbook, or no_action with the"
                " reason",
            )
        )
    return rows
