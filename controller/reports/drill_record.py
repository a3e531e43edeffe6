"""The record of a drill as a form (policy 六-2, 七-1): what the controller saw is filled in, the rest is left to people.

The items people evaluate are those that 应急预案管理办法 (国办发〔2013〕101号) asks for: execution, reasonableness and
operability of the plan, command and coordination, handling by responders, fitness of equipment, suggestions.
"""

from __future__ import annotations

from collections.abc import Sequence

from controller.model.drills import Drill, InjectState, ObjectiveResult, Scenario
from controller.model.faults import FaultKind
from controller.model.runbooks import Text
from controller.model.words import DRILL_MARK, DRILL_STATES, FAULTS
from controller.reports.document import Blank, Block, Cell, Document, Facts, Figures, Section, Table, Tone
from controller.reports.review import Background, Review
from controller.reports.review_document import head_row, seal_rows
from controller.reports.review_opening import losses_cell, outage_cell
from controller.reports.values import Language
from controller.reports.voice import Voice

INJECTS: dict[InjectState, Text] = {
    InjectState.PLANNED: Text(zh="未注入", en="not injected"),
    InjectState.ACTIVE: Text(zh="故障仍在", en="still in effect"),
    InjectState.UNDOING: Text(zh="正在撤销", en="being undone"),
    InjectState.UNDONE: Text(zh="已撤销", en="undone"),
    InjectState.UNDO_FAILED: Text(zh="撤销失败", en="could not be undone"),
}

MILESTONES = ("detect", "decide", "switch", "verify", "acknowledge", "outage")
ASSUMED = ("fence", "redirect")
"""Terms of the worst case, held against what the switch took: a finding, no part of the score."""

OBJECTIVES = frozenset({*MILESTONES, *ASSUMED, "diagnosis_named"})

EVALUATED = ("execution", "plan", "command", "handling", "equipment", "suggestions")


def drill_record(
    drill: Drill,
    language: Language,
    *,
    scenario: Scenario | None = None,
    reviews: Sequence[Review] = (),
    background: Background | None = None,
) -> Document:
    """`reviews`: of the incidents it led to. `scenario`: as it is configured now; None when it no longer is."""
    voice = Voice(language=language, background=background or Background())
    sections = (
        _glance(drill, voice),
        _identity(drill, scenario, voice),
        _compliance(reviews, voice),
        _people(voice),
        _design(drill, scenario, voice),
        _injects(drill, scenario, voice),
        _timing(drill, scenario, voice),
        _evidence(drill, reviews, voice),
        _evaluation(drill, voice),
        _table(
            "improvement", ("finding", "action", "owner", "due", "evidence_of", "revision_produced"), 4, voice
        ),
        _table("closure", ("role", "name", "signature", "date"), 3, voice),
    )
    open_ones = [section.title for section in sections if section.human]
    separator = "、" if language is Language.ZH else ", "
    return Document(
        language=str(language),
        title=_scenario_title(drill, scenario, voice),
        kicker=f"{voice.word('drill_record')} · {drill.id} · {voice.date(drill.started_wall)}",
        badge="",
        badge_level=0,
        mark=voice.of(DRILL_MARK),
        alarm=voice.word("inject_left") if drill.inject_state is InjectState.UNDO_FAILED else "",
        blocking=voice.word("blocking_record", separator.join(open_ones)),
        blocking_tag=voice.word("record_tag"),
        sections=sections,
        seal=seal_rows(reviews[-1].seal, voice) if reviews else head_row(voice),
        running=f"{drill.id}" + (f" · {reviews[-1].seal.digest[:16]}" if reviews else ""),
    )


def _scenario_title(drill: Drill, scenario: Scenario | None, voice: Voice) -> str:
    return voice.of(scenario.title) if scenario is not None else drill.scenario


def _glance(drill: Drill, voice: Voice) -> Section:
    score = voice.unknown if drill.score is None else Cell(text=f"{drill.score:.0%}")
    result = Cell(text=voice.of(DRILL_STATES[drill.state]), note=voice.reason(drill.abort_reason))
    if drill.passed is not None:
        result = Cell(
            text=voice.word("passed" if drill.passed else "failed"),
            tone=Tone.GOOD if drill.passed else Tone.BAD,
        )
    figures = (
        (voice.word("result"), result),
        (voice.word("score"), score),
        (voice.word("diagnosis"), voice.cell(_fault(drill.diagnosed, voice))),
    )
    return Section(anchor="glance", title=voice.word("glance"), blocks=(Figures(figures=figures),))


def _identity(drill: Drill, scenario: Scenario | None, voice: Voice) -> Section:
    ended = drill.finished_wall
    rows = (
        (voice.word("drill"), Cell(text=drill.id)),
        (voice.word("drill_kind"), Cell(text=voice.word("drill_live"))),
        (voice.word("scenario"), Cell(text=_scenario_title(drill, scenario, voice), note=drill.scenario)),
        (voice.word("object"), voice.cell(voice.title(drill.component))),
        (voice.word("planned_time"), Cell(text="")),
        (voice.word("started"), voice.cell(voice.date_time(drill.started_wall))),
        (voice.word("ended"), voice.cell(voice.date_time(ended))),
        (voice.word("place"), Cell(text="")),
        (voice.word("started_by"), Cell(text=voice.person(drill.by))),
        (voice.word("approver"), Cell(text="")),
    )
    return Section(anchor="identity", title=voice.word("identity"), blocks=(Facts(rows=rows),))


def _compliance(reviews: Sequence[Review], voice: Voice) -> Section:
    runs = [run for review in reviews for run in review.runs]
    separator = "；" if voice.language == "zh" else "; "
    plan = separator.join(
        voice.word("plan_revision", f"{voice.runbook(run.runbook)} ({run.runbook})", run.revision)
        for run in runs
    )
    revision = next((review.configuration for review in reviews if review.configuration), "")
    rows = (
        (voice.word("plan"), voice.cell(plan)),
        (voice.word("configuration"), voice.cell(revision)),
        (voice.word("clause"), Cell(text="七-1")),
        (voice.word("last_due"), Cell(text="")),
        (voice.word("next_due"), Cell(text="")),
    )
    return Section(anchor="compliance", title=voice.word("compliance"), blocks=(Facts(rows=rows),))


def _people(voice: Voice) -> Section:
    return _table("people", ("role", "name", "taking_part", "credit"), 6, voice)


def _design(drill: Drill, scenario: Scenario | None, voice: Voice) -> Section:
    expected = "" if scenario is None else _fault(scenario.expected_fault, voice)
    expires = drill.expires_wall - drill.started_wall if drill.expires_wall else 0.0
    facts = Facts(
        rows=(
            (voice.word("expected_fault"), voice.cell(expected)),
            (voice.word("expires_after"), voice.cell(voice.duration(expires) if expires > 0 else "")),
            (voice.word("assumptions"), Cell(text="")),
        )
    )
    blocks: tuple[Block, ...] = (facts,)
    if scenario is not None and scenario.objectives:
        rows = tuple(
            (
                Cell(text=_objective(item.name, voice)),
                Cell(text=voice.word("at_most", voice.duration(item.limit))),
                Cell(text=f"{item.weight:g}"),
                Cell(text=voice.word("yes" if item.hard else "no")),
            )
            for item in scenario.objectives
        )
        head = tuple(voice.word(key) for key in ("objective", "criterion", "weight", "hard"))
        blocks = (*blocks, Table(head=head, rows=rows))
    return Section(anchor="design", title=voice.word("design"), blocks=blocks)


def _injects(drill: Drill, scenario: Scenario | None, voice: Voice) -> Section:
    actual = voice.cell(voice.clock(drill.injected_wall))
    undone = voice.cell(voice.clock(drill.undone_wall))
    expected = _fault(scenario.expected_fault, voice) if scenario is not None else ""
    attempts = voice.word("attempts", drill.undo_attempts) if drill.undo_attempts > 1 else ""
    rows = (
        (
            Cell(text="1"),
            actual,
            Cell(text=_scenario_title(drill, scenario, voice), note=drill.inject[0]),
            voice.cell(expected),
            voice.cell(_fault(drill.diagnosed, voice)),
        ),
        (
            Cell(text="2"),
            undone,
            Cell(text=voice.word("undo"), note=drill.undo[0]),
            Cell(text=voice.of(INJECTS[InjectState.UNDONE])),
            Cell(
                text=voice.of(INJECTS[drill.inject_state]),
                note=attempts,
                tone=Tone.BAD if drill.inject_state is InjectState.UNDO_FAILED else Tone.PLAIN,
            ),
        ),
    )
    head = tuple(voice.word(key) for key in ("number", "actual_time", "inject", "expected", "observed"))
    return Section(
        anchor="injects",
        title=voice.word("injects"),
        blocks=(Table(head=head, rows=rows, narrow=frozenset({0, 1})),),
    )


def _timing(drill: Drill, scenario: Scenario | None, voice: Voice) -> Section:
    """Target against actual, for every milestone that was reached or aimed at."""
    results = {result.name: result for result in drill.results}
    limits = {item.name: item.limit for item in (scenario.objectives if scenario is not None else ())}
    limits |= {result.name: result.limit for result in drill.results if result.limit}
    rows = []
    for name in MILESTONES:
        reached = drill.milestone(name)
        if name not in limits and reached is None:
            continue
        result, actual = results.get(name), None
        if result is not None and result.actual is not None:
            actual = result.actual
        elif reached is not None and drill.injected_wall:
            actual = max(0.0, reached - drill.injected_wall)
        rows.append(
            (
                Cell(text=voice.word(name)),
                Cell(text=voice.word("at_most", voice.duration(limits[name])) if name in limits else "–"),
                voice.cell("" if actual is None else voice.duration(actual)),
                _met(result, voice),
            )
        )
    rows += [
        (
            Cell(text=voice.word(name)),
            Cell(text=voice.word("at_most", voice.duration(results[name].limit))),
            voice.cell("" if (took := results[name].actual) is None else voice.duration(took)),
            _kept(results[name], voice),
        )
        for name in ASSUMED
        if name in results
    ]
    head = tuple(voice.word(key) for key in ("phase", "target", "actual", "result"))
    return Section(anchor="timing", title=voice.word("timing"), blocks=(Table(head=head, rows=tuple(rows)),))


def _kept(result: ObjectiveResult, voice: Voice) -> Cell:
    """An assumption that does not hold is put right in the configuration, not in how people work."""
    if result.met:
        return _met(result, voice)
    return Cell(text=voice.word("took_longer"), tone=Tone.BAD)


def _met(result: ObjectiveResult | None, voice: Voice) -> Cell:
    if result is None:
        return Cell(text="–")
    if result.met is None:
        return Cell(text=voice.word("unmeasured"))
    return Cell(
        text=voice.word("met" if result.met else "missed"), tone=Tone.GOOD if result.met else Tone.BAD
    )


def _evidence(drill: Drill, reviews: Sequence[Review], voice: Voice) -> Section:
    separator = "、" if voice.language == "zh" else ", "
    rows: list[tuple[str, Cell]] = [(voice.word("incident"), voice.cell(separator.join(drill.incidents)))]
    for review in reviews:
        name = review.incident.id
        rows.append((f"{name} {voice.word('outage')}", outage_cell(review, voice)))
        rows.append((f"{name} {voice.word('calls_lost')}", losses_cell(review, voice)))
        seal = review.seal
        span = voice.word("seal_range_of", seal.node, seal.first, seal.last, seal.entries)
        rows.append((f"{name} {voice.word('seal_range')}", Cell(text=span, note=seal.digest)))
    return Section(anchor="samples", title=voice.word("samples"), blocks=(Facts(rows=tuple(rows)),))


def _evaluation(drill: Drill, voice: Voice) -> Section:
    blocks: list[Block] = []
    if drill.results:
        rows = tuple(
            (
                Cell(text=_objective(item.name, voice)),
                _kept(item, voice) if item.name in ASSUMED else _met(item, voice),
            )
            for item in drill.results
        )
        blocks.append(Table(head=(voice.word("objective"), voice.word("result")), rows=rows))
    items = tuple(voice.word(f"evaluate_{name}") for name in EVALUATED)
    columns = tuple(voice.word(key) for key in ("evaluated_item", "rating", "comment"))
    blocks.append(Blank(prompt=voice.word("evaluation_ask"), columns=columns, lines=len(items), first=items))
    return Section(anchor="evaluation", title=voice.word("evaluation"), blocks=tuple(blocks), human=True)


def _table(anchor: str, columns: tuple[str, ...], lines: int, voice: Voice) -> Section:
    heads = tuple(voice.word(column) for column in columns)
    blank = Blank(prompt=voice.word(f"{anchor}_ask"), columns=heads, lines=lines)
    return Section(anchor=anchor, title=voice.word(anchor), blocks=(blank,), human=True)


def _fault(name: str, voice: Voice) -> str:
    known = {str(kind): kind for kind in FaultKind}.get(name)
    return name if known is None else voice.of(FAULTS[known])


def _objective(name: str, voice: Voice) -> str:
    """A name of an objective that has no words here is shown as it stands."""
    key = "diagnosis_named" if name == "diagnosis" else name
    return voice.word(key) if key in OBJECTIVES else name
