"""Fault rules of one component evaluated: what fired, what nearly did, and what would have to be tried to know."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from controller.core.diagnosis.evidence import Evidence, Without
from controller.model.faults import EvidenceKind, RuleResult, TermResult, Verdict
from controller.model.health import RungKey
from controller.model.moments import Value, Values
from controller.model.policy import FaultRule, Role, Term


class Evaluated(NamedTuple):
    """`open`: the rungs to run at once because every other term is true. `ended`: a term about the component alone is
    false, so a fault by this rule is over. `meant`: all terms about the component alone are true. `retest`: rungs that would tell whether it is."""

    rule: FaultRule
    terms: tuple[TermResult, ...]
    fired: bool
    open: tuple[RungKey, ...]
    ended: bool
    meant: bool
    retest: tuple[RungKey, ...]

    def kinds(self) -> frozenset[EvidenceKind]:
        return frozenset(term.evidence for term in self.terms if term.verdict is Verdict.TRUE)

    def result(self, component: str, *reasons: str) -> RuleResult:
        """`reasons`: what stopped it although its terms did not."""
        blocked = tuple(
            term.name if term.verdict is Verdict.FALSE else f"unknown:{term.name}"
            for term in self.terms
            if term.verdict is not Verdict.TRUE
        )
        if self.open:
            blocked = (*blocked, *(f"waiting:{key.component}.{key.rung}" for key in self.open))
        fired = self.fired and not reasons
        return RuleResult(self.rule.name, self.rule.fault, component, fired, self.terms, (*blocked, *reasons))


_ONLY_TRUE = {Verdict.TRUE}

Judged = tuple[Verdict, Mapping[str, Value], RungKey | None]
"""The verdict on a term, what it was reached on, and the rung to run when it is UNKNOWN."""


def first(rule: FaultRule, evidence: Evidence) -> Judged:
    """The verdict on the first term."""
    return _verdict(rule.terms[0], evidence)


def promising(begun: Judged) -> bool:
    """Whether a rule is worth a full look, by what `first` said: it is not when its first term is false, or unknown
    without a rung that could be run to know (there are no edges to ask)."""
    verdict, _, rung = begun
    return verdict is Verdict.TRUE or (verdict is Verdict.UNKNOWN and rung is not None)


def evaluate(rule: FaultRule, evidence: Evidence, begun: Judged) -> Evaluated:
    """`begun`: what `first` said."""
    terms: list[TermResult] = []
    asked: list[RungKey | None] = []
    ended, meant = False, True
    retest: list[RungKey] = []
    for number, term in enumerate(rule.terms):
        verdict, values, key = _verdict(term, evidence) if number else begun
        seen: Values = tuple((name, values.get(name)) for name in term.when.variables)
        terms.append(TermResult(term.name, term.evidence, verdict, term.when.source, seen))
        about_self = _about_self(term)
        meant = meant and not (about_self and verdict is not Verdict.TRUE)
        if verdict is Verdict.FALSE:
            ended = ended or about_self
        elif verdict is Verdict.UNKNOWN:
            asked.append(key)
            if about_self and key is not None:
                retest.append(key)
    verdicts = {term.verdict for term in terms}
    fired = verdicts == _ONLY_TRUE
    refuted = Verdict.FALSE in verdicts
    open_ = tuple(dict.fromkeys(key for key in asked if key is not None))
    if fired or refuted or None in asked:
        open_ = ()
    if not any(_about_self(term) for term in rule.terms):
        ended, meant = refuted, fired
    return Evaluated(rule, tuple(terms), fired, open_, ended, meant, tuple(retest))


def _verdict(term: Term, evidence: Evidence) -> Judged:
    values: Mapping[str, Value] = evidence
    key = evidence.stale(term)
    if key is not None and term.probe is not None:
        values = Without(evidence, *term.probe)
    verdict = term.when.evaluate(values)
    if verdict is Verdict.UNKNOWN and key is None and term.probe is not None:
        key = evidence.key(*term.probe)
    return verdict, values, key


def _about_self(term: Term) -> bool:
    return _only_self(term.when.variables)


@lru_cache(maxsize=4096)
def _only_self(variables: tuple[str, ...]) -> bool:
    """Asked of every term at every look, and always the same."""
    return all(name.startswith(f"{Role.SELF}.") for name in variables)
