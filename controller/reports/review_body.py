"""The middle of a review: why it was decided, what was done and withheld, what proved it, who was told."""

from __future__ import annotations

from controller.core.timeline import Line
from controller.model.faults import Fault, TermResult, Verdict
from controller.model.groups import Phase
from controller.model.moments import Value, Values
from controller.model.pages import DeliveryState, Page, PageState
from controller.model.runs import Run, StepRecord, StepState
from controller.model.words import (
    DELIVERY_STATES,
    EVIDENCE,
    INCIDENT_STATES,
    PAGE_STATES,
    PHASES,
    REFUSALS,
    RUN_STATES,
    STEP_STATES,
    SWITCH_OUTCOMES,
    SWITCH_VERBS,
)
from controller.reports.document import Block, Cell, Paragraph, Section, Table, Tone
from controller.reports.prose import fact_line
from controller.reports.review import Review, SwitchRecord
from controller.reports.voice import Voice

_TONES = {Verdict.TRUE: Tone.PLAIN, Verdict.FALSE: Tone.BAD, Verdict.UNKNOWN: Tone.SOFT}
_BAD_STEPS = frozenset({StepState.FAILED, StepState.ROLLBACK_FAILED, StepState.UNKNOWN})
_BAD_DELIVERIES = frozenset({DeliveryState.FAILED, DeliveryState.FAILED_PERMANENTLY})


def prose(line: Line, voice: Voice) -> str:
    return fact_line(line.name, line.subject, line.actor, dict(line.data), voice.language)


def who(name: str, voice: Voice) -> str:
    return voice.person(name) if name and name != "rule" else voice.word("by_rule")


def evidence(review: Review, voice: Voice) -> Section:
    blocks: list[Block] = []
    if review.decided is None:
        blocks.append(Paragraph(text=voice.word("nothing_decided"), tone=Tone.SOFT))
    else:
        text = voice.word("decided_at", prose(review.decided, voice), review.decided.sequence)
        blocks.append(Paragraph(text=text, tone=Tone.SOFT))
    if not review.faults:
        blocks.append(Paragraph(text=voice.word("no_evidence")))
    for fault in review.faults:
        blocks.extend(_fault(fault, voice))
    if review.explained:
        blocks.append(Paragraph(text=voice.word("explained", review.explained), tone=Tone.SOFT))
    return Section(anchor="evidence", title=voice.word("evidence"), blocks=tuple(blocks))


def _fault(fault: Fault, voice: Voice) -> list[Block]:
    kinds = "、" if voice.language == "zh" else ", "
    text = voice.word(
        "fault_rule",
        voice.fault(fault.kind, fault.component),
        fault.rule or voice.word("unknown"),
        fault.first_broken_rung or voice.word("unknown"),
        len(fault.evidence_kinds),
        kinds.join(voice.of(EVIDENCE[kind]) for kind in fault.evidence_kinds),
    )
    head = tuple(voice.word(key) for key in ("term", "evidence_kind", "seen", "verdict"))
    rows = tuple(_term(term, voice) for term in fault.evidence)
    if not rows:
        return [Paragraph(text=text)]
    return [Paragraph(text=text), Table(head=head, rows=rows, narrow=frozenset({1, 3}))]


def _term(term: TermResult, voice: Voice) -> tuple[Cell, ...]:
    return (
        Cell(text=term.name, note=term.expression),
        Cell(text=voice.of(EVIDENCE[term.evidence])),
        voice.cell(values(term.seen, voice)),
        Cell(text=voice.word(str(term.verdict)), tone=_TONES[term.verdict]),
    )


def values(seen: Values, voice: Voice) -> str:
    return ", ".join(f"{name} = {value(item, voice)}" for name, item in seen)


def value(item: Value, voice: Voice) -> str:
    if item is None:
        return voice.word("unknown")
    if isinstance(item, bool):
        return voice.word("yes" if item else "no")
    return f"{item:.4g}" if isinstance(item, float) else str(item) or "“”"


def actions(review: Review, voice: Voice) -> Section:
    blocks: list[Block] = []
    for run in review.runs:
        blocks.extend(_run(run, voice))
    for switch in review.switches:
        blocks.extend(_switch(switch, voice))
    if not blocks:
        blocks.append(Paragraph(text=voice.word("no_actions")))
    return Section(anchor="actions", title=voice.word("actions"), blocks=tuple(blocks))


def _run(run: Run, voice: Voice) -> list[Block]:
    text = voice.word(
        "run_title",
        run.id,
        voice.runbook(run.runbook),
        run.revision[:12] or voice.word("unknown"),
        voice.of(RUN_STATES[run.state]),
        who(run.started_by, voice),
    )
    head = tuple(voice.word(key) for key in ("step", "outcome", "actor", "started", "took"))
    rows = tuple(_step(run, record, voice) for record in run.steps)
    return [Paragraph(text=text), *([Table(head=head, rows=rows, narrow=frozenset({3, 4}))] if rows else [])]


def _step(run: Run, record: StepRecord, voice: Voice) -> tuple[Cell, ...]:
    title = voice.background.steps.get((run.runbook, record.path.rsplit("/", 1)[-1]))
    notes = [voice.reason(record.message), record.proof]
    if record.attempt > 1:
        notes.insert(0, voice.word("attempts", record.attempt))
    took = ""
    if record.started_wall and record.finished_wall:
        took = voice.duration(max(0.0, record.finished_wall - record.started_wall))
    return (
        Cell(
            text=record.path if title is None else voice.of(title), note="" if title is None else record.path
        ),
        Cell(
            text=voice.of(STEP_STATES[record.state]),
            note="; ".join(note for note in notes if note),
            tone=Tone.BAD if record.state in _BAD_STEPS else Tone.PLAIN,
        ),
        Cell(text=who(record.by, voice)),
        voice.cell(voice.clock(record.started_wall)),
        voice.cell(took),
    )


def _switch(record: SwitchRecord, voice: Voice) -> list[Block]:
    switch = record.switch
    ended = record.ended
    outcome = "" if ended is None else str(ended.get("outcome") or "")
    named = {str(key): text for key, text in SWITCH_OUTCOMES.items()}.get(outcome)
    text = voice.word(
        "switch_title",
        switch.id,
        voice.of(SWITCH_VERBS[switch.verb]),
        switch.origin,
        switch.target,
        switch.epoch,
        voice.of(named) if named is not None else (outcome or voice.word("in_progress")),
        who(switch.by, voice) if not switch.automatic else voice.word("by_rule"),
    )
    blocks: list[Block] = [Paragraph(text=text)]
    if switch.bypassed:
        separator = "、" if voice.language == "zh" else ", "
        guards = separator.join(voice.of(REFUSALS[guard]) for guard in switch.bypassed)
        blocks.append(Paragraph(text=voice.word("bypassed", guards), tone=Tone.BAD))
    phases = {str(phase): name for phase, name in PHASES.items()}
    walls = [(name, wall) for name, wall in switch.walls if name in phases and name != str(Phase.IDLE)]
    end = ended.wall if ended is not None else None
    rows = []
    for position, (name, wall) in enumerate(walls):
        until = walls[position + 1][1] if position + 1 < len(walls) else end
        rows.append(
            (
                Cell(text=voice.of(phases[name])),
                Cell(text=voice.clock(wall)),
                voice.cell("" if until is None else voice.duration(max(0.0, until - wall))),
            )
        )
    if rows:
        head = tuple(voice.word(key) for key in ("phase", "started", "took"))
        blocks.append(Table(head=head, rows=tuple(rows), narrow=frozenset({1, 2})))
    return blocks


def withheld(review: Review, voice: Voice) -> Section:
    block: Block = Paragraph(text=voice.word("nothing_withheld"))
    if review.withheld:
        rows = tuple(
            (Cell(text=f"#{line.sequence}"), Cell(text=voice.clock(line.wall)), Cell(text=prose(line, voice)))
            for line in review.withheld
        )
        head = tuple(voice.word(key) for key in ("number", "time", "what"))
        block = Table(head=head, rows=rows, narrow=frozenset({0, 1}), log=True)
    return Section(anchor="withheld", title=voice.word("withheld"), blocks=(block,))


def proof(review: Review, voice: Voice) -> Section:
    if not review.proofs:
        return Section(
            anchor="proof", title=voice.word("proof"), blocks=(Paragraph(text=voice.word("no_proof")),)
        )
    head = tuple(
        voice.word(key) for key in ("time", "what", "result", "answered_by", "mos", "audio", "setup")
    )
    rows = tuple(_proof(line, voice) for line in review.proofs)
    table = Table(head=head, rows=rows, narrow=frozenset({0, 2, 4, 6}))
    return Section(anchor="proof", title=voice.word("proof"), blocks=(table,))


def _proof(line: Line, voice: Voice) -> tuple[Cell, ...]:
    passed = line.get("status") == "succeeded"
    result = "passed" if passed else "unmeasured" if line.get("status") == "unknown" else "failed"
    mos, delay, one_way = line.get("mos"), line.get("pdd_ms"), line.get("one_way")
    audio = voice.unknown
    if one_way == "":
        audio = Cell(text=voice.word("audio_both"), tone=Tone.GOOD)
    elif isinstance(one_way, str):
        audio = Cell(text=voice.word("audio_not", one_way), tone=Tone.BAD)
    side = line.get("side")
    return (
        Cell(text=voice.clock(line.wall), note=f"#{line.sequence}"),
        Cell(text=voice.word("switch_ended" if line.get("verb") == "verify" else "full_test")),
        Cell(
            text=voice.word(result),
            note=voice.reason(str(line.get("message") or "")),
            tone=Tone.GOOD if passed else Tone.BAD if result == "failed" else Tone.PLAIN,
        ),
        voice.cell(side if isinstance(side, str) else ""),
        voice.cell(f"{mos:.2f}" if isinstance(mos, (int, float)) else ""),
        audio,
        voice.cell(voice.word("milliseconds", f"{delay:.0f}") if isinstance(delay, (int, float)) else ""),
    )


def told(review: Review, voice: Voice) -> Section:
    blocks: list[Block] = []
    for page in review.pages:
        blocks.extend(_page(page, voice))
    if not blocks:
        blocks.append(Paragraph(text=voice.word("nobody_told")))
    return Section(anchor="told", title=voice.word("told"), blocks=tuple(blocks))


def _page(page: Page, voice: Voice) -> list[Block]:
    state = voice.of(PAGE_STATES[page.state])
    if page.state is PageState.ACKNOWLEDGED:
        by = voice.person(page.acknowledged_by) or voice.word("unknown")
        state = voice.word("acknowledged_at", by, voice.clock(page.acknowledged_wall))
    head = tuple(voice.word(key) for key in ("time", "person", "channel", "delivery", "round"))
    rows = tuple(
        (
            Cell(text=voice.clock(item.wall)),
            Cell(text=voice.person(item.person)),
            Cell(text=item.channel),
            Cell(
                text=voice.of(DELIVERY_STATES[item.state]),
                note=voice.reason(item.message),
                tone=Tone.BAD if item.state in _BAD_DELIVERIES else Tone.PLAIN,
            ),
            Cell(text=str(item.round + 1)),
        )
        for item in page.deliveries
    )
    title = Paragraph(text=voice.word("page_title", page.id, state))
    return [title, *([Table(head=head, rows=rows, narrow=frozenset({0, 4}))] if rows else [])]


def similar(review: Review, voice: Voice) -> Section:
    blocks: list[Block] = []
    if review.similar:
        rows = tuple(
            (
                Cell(text=item.id, note=f"SEV{int(item.severity)}"),
                Cell(text=voice.fault(item.kind, item.root)),
                Cell(text=voice.date_time(item.opened_wall)),
                Cell(text=voice.of(INCIDENT_STATES[item.state])),
            )
            for item in review.similar
        )
        head = tuple(voice.word(key) for key in ("incident", "diagnosis", "opened", "state"))
        blocks.append(Table(head=head, rows=rows, narrow=frozenset({0, 3})))
    else:
        blocks.append(Paragraph(text=voice.word("no_similar")))
    if review.drilled:
        blocks.append(
            Table(
                head=tuple(voice.word(key) for key in ("drill", "scenario", "date", "result")),
                rows=tuple(
                    (
                        Cell(text=drill.id),
                        Cell(text=drill.scenario),
                        Cell(text=voice.date(drill.finished_wall)),
                        Cell(
                            text=voice.unknown.text
                            if drill.passed is None or drill.score is None
                            else voice.word(
                                "passed_score",
                                voice.word("passed" if drill.passed else "failed"),
                                f"{drill.score:.0%}",
                            )
                        ),
                    )
                    for drill in review.drilled
                ),
            )
        )
    else:
        blocks.append(Paragraph(text=voice.word("not_drilled")))
    return Section(anchor="similar", title=voice.word("similar"), blocks=tuple(blocks))
