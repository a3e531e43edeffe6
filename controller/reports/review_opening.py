"""The first page of a review: figures, the incident, its phases and its impact."""

from __future__ import annotations

from controller.core.timeline import Point, Span, Step
from controller.model.words import IMPACTS, INCIDENT_STATES, URGENCIES
from controller.reports.document import (
    Bar,
    Cell,
    Facts,
    Figures,
    Paragraph,
    PhaseBar,
    Section,
    Table,
    Tone,
)
from controller.reports.losses import CallsLost, Source
from controller.reports.review import Review
from controller.reports.voice import Voice

ON_THE_BAR = (Step.DETECT, Step.DECIDE, Step.SWITCH, Step.VERIFY, Step.ACKNOWLEDGE)
"""Resolving takes hours where the others take seconds: it is in the table only."""


def glance(review: Review, voice: Voice) -> Section:
    incident, story = review.incident, review.story
    acknowledged = span_cell(story.span(Step.ACKNOWLEDGE), voice)
    if incident.acknowledged_by:
        acknowledged = Cell(
            text=acknowledged.text, note=voice.person(incident.acknowledged_by), tone=acknowledged.tone
        )
    figures = (
        (voice.word("outage"), outage_cell(review, voice)),
        (voice.word("calls_lost"), losses_cell(review, voice)),
        (voice.word("detected_in"), span_cell(story.span(Step.DETECT), voice)),
        (voice.word("mitigated_in"), span_cell(story.span(Step.MITIGATE), voice)),
        (voice.word("acknowledged_in"), acknowledged),
        (voice.word("state"), Cell(text=voice.of(INCIDENT_STATES[incident.state]))),
    )
    bar = phase_bar(review, voice)
    return Section(
        anchor="glance",
        title=voice.word("glance"),
        blocks=(Figures(figures=figures), *(() if bar is None else (bar,))),
    )


def header(review: Review, voice: Voice) -> Section:
    incident = review.incident
    reason = incident.reason
    because = review.background.because.get(reason.rule)
    why = voice.of(because) if because is not None else voice.of(IMPACTS[reason.impact])
    rule = voice.word(
        "rule", reason.rule, voice.of(IMPACTS[reason.impact]), voice.of(URGENCIES[reason.urgency])
    )
    rows: list[tuple[str, Cell]] = [
        (
            voice.word("severity"),
            Cell(text=f"SEV{int(incident.severity)} {voice.word('because', why)}", note=rule),
        ),
        (voice.word("grade"), _grade(review, voice)),
        (voice.word("object"), voice.cell(voice.title(incident.root))),
        (voice.word("affected"), Cell(text=str(incident.affected)) if incident.affected else voice.unknown),
        (voice.word("opened"), voice.cell(voice.date_time(incident.opened_wall))),
        (voice.word("commander"), _who(incident.commander, voice)),
        (voice.word("acknowledged_by"), _acknowledged(review, voice)),
        (voice.word("resolved"), _resolved(review, voice)),
        (voice.word("plan"), _plan(review, voice)),
        (voice.word("configuration"), voice.cell(review.configuration[:16])),
        (voice.word("drill"), Cell(text=voice.word("yes" if incident.drill else "no"))),
    ]
    if incident.merged_into:
        rows.append((voice.word("merged"), Cell(text=incident.merged_into)))
    return Section(anchor="header", title=voice.word("header"), blocks=(Facts(rows=tuple(rows)),))


def phases(review: Review, voice: Voice) -> Section:
    rows = tuple(
        (
            Cell(text=voice.word(str(span.step))),
            _point(span.begins, voice),
            _point(span.ends, voice),
            span_cell(span, voice),
        )
        for span in review.story.spans
    )
    head = tuple(voice.word(key) for key in ("phase", "from_event", "to_event", "duration"))
    return Section(
        anchor="phases",
        title=voice.word("phases"),
        blocks=(Table(head=head, rows=rows, narrow=frozenset({0, 3})),),
    )


def impact(review: Review, voice: Voice) -> Section:
    outage, losses = review.story.outage, review.losses
    rows = [
        (voice.word("outage"), outage_cell(review, voice)),
        (voice.word("rto"), _rto(review, voice)),
        (voice.word("calls_lost"), losses_cell(review, voice)),
    ]
    if losses.rate is not None:
        rows.append((voice.word("baseline"), Cell(text=voice.word("per_second", f"{losses.rate:.1f}"))))
    blocks: tuple[Facts | Paragraph, ...] = (Facts(rows=tuple(rows)),)
    if outage.earliest is not None and outage.latest is not None:
        text = voice.word("onset_interval", voice.clock(outage.earliest), voice.clock(outage.latest))
        blocks = (*blocks, Paragraph(text=text, tone=Tone.SOFT))
    for relapse in outage.relapses:
        begins = voice.clock(relapse.latest)
        text = (
            voice.word("felt_again_since", begins)
            if relapse.ends is None
            else voice.word("felt_again", begins, voice.clock(relapse.ends))
        )
        blocks = (*blocks, Paragraph(text=text, tone=Tone.BAD))
    return Section(anchor="impact", title=voice.word("impact"), blocks=blocks)


def span_cell(span: Span, voice: Voice) -> Cell:
    least, most = span.seconds, span.seconds_at_most
    if least is None or most is None:
        return voice.unknown
    return Cell(text=voice.between(least, most))


def outage_cell(review: Review, voice: Voice) -> Cell:
    outage = review.story.outage
    seconds = outage.seconds
    if seconds is not None:
        return Cell(text=voice.between(*seconds))
    if outage.latest is not None:
        note = voice.word("goes_on_for", voice.clock(outage.latest))
        return Cell(text=voice.word("goes_on"), note=note, tone=Tone.BAD)
    if review.losses.source is Source.NONE:
        return Cell(text=voice.word("none"), note=voice.word("not_felt"))
    return voice.unknown


def losses_cell(review: Review, voice: Voice) -> Cell:
    losses = review.losses
    source = _source(losses, voice, over=bool(review.incident.mitigated_wall))
    if losses.low is None or losses.high is None:
        return Cell(text=voice.word("unknown"), note=source, tone=Tone.SOFT)
    counted = (
        str(losses.low)
        if losses.low == losses.high
        else voice.word("between", f"{losses.low:d}", f"{losses.high:d}")
    )
    if losses.partial:
        counted = voice.word("at_least", losses.low)
    return Cell(text=voice.word("calls", counted), note=source)


def phase_bar(review: Review, voice: Voice) -> PhaseBar | None:
    """Over the time since the onset; None when fewer than two phases are known."""
    story = review.story
    origin = story.outage.latest or (story.incident.opened_wall or None)
    known = [
        (span, span.begins, span.ends)
        for span in story.spans
        if span.step in ON_THE_BAR and span.begins is not None and span.ends is not None
    ]
    if origin is None or len(known) < 2:
        return None
    bars = tuple(
        Bar(
            name=voice.word(str(span.step)),
            begins=max(0.0, begins.wall - origin),
            ends=max(0.0, ends.wall - origin),
            label=span_cell(span, voice).text,
        )
        for span, begins, ends in known
    )
    machine = [
        bar for bar, (span, _, _) in zip(bars, known, strict=True) if span.step is not Step.ACKNOWLEDGE
    ]
    longest = max((bar.ends for bar in machine), default=0.0)
    if longest > 0:
        # A person needs minutes where the machine needs a second: what would squeeze its phases flat is cut off.
        bars = tuple(bar for bar in bars if bar in machine or bar.ends <= 8 * longest)
    limit = review.background.rto.get(story.incident.group)
    scale = max([bar.ends for bar in bars] + ([limit] if limit is not None else []))
    if scale <= 0:
        return None
    return PhaseBar(
        title=voice.word("scale"),
        seconds=scale * 1.04,
        bars=bars,
        limit=limit,
        limit_label="" if limit is None else f"RTO {limit:g} s",
    )


def _source(losses: CallsLost, voice: Voice, *, over: bool) -> str:
    match losses.source:
        case Source.EDGE:
            attempts = voice.word("unknown") if losses.attempts is None else losses.attempts
            text = voice.word("from_edge", attempts)
            if losses.aside:
                text += voice.word("from_edge_aside", losses.aside)
            if losses.partial:
                text += voice.word("from_restart")
            if losses.so_far:
                text += voice.word("from_so_far")
            return text
        case Source.ESTIMATE:
            return voice.word("from_estimate", f"{losses.rate or 0.0:.1f}")
        case Source.NONE:
            return voice.word("from_none")
        case Source.UNKNOWN:
            return voice.word("from_unknown" if over else "from_unknown_open")


def _rto(review: Review, voice: Voice) -> Cell:
    limit = review.background.rto.get(review.incident.group)
    if limit is None:
        return voice.unknown
    said = voice.word("seconds", f"{limit:g}")
    seconds = review.story.outage.seconds
    if seconds is None:
        return Cell(text=said)
    if seconds[1] <= limit:
        return Cell(text=voice.word("rto_met", said), tone=Tone.GOOD)
    if seconds[0] > limit:
        return Cell(text=voice.word("rto_missed", said), tone=Tone.BAD)
    return Cell(text=voice.word("rto_unsure", said))


def _point(point: Point | None, voice: Voice) -> Cell:
    if point is None:
        return voice.unknown
    note = f"#{point.sequence}" if point.sequence else ""
    return Cell(text=f"{voice.word(point.name)} {voice.clock(point.wall)}", note=note)


def _grade(review: Review, voice: Voice) -> Cell:
    incident = review.incident
    if incident.grade is None:
        return Cell(text=voice.word("grade_none"), note=voice.word("grade_note"))
    if incident.grade_confirmed_by:
        who = voice.person(incident.grade_confirmed_by)
        return Cell(text=voice.word("grade_confirmed", incident.grade, who), note=voice.word("grade_note"))
    return Cell(text=voice.word("grade_proposed", incident.grade), note=voice.word("grade_note"))


def _who(name: str, voice: Voice) -> Cell:
    return Cell(text=voice.person(name)) if name else Cell(text=voice.word("nobody"), tone=Tone.SOFT)


def _acknowledged(review: Review, voice: Voice) -> Cell:
    incident = review.incident
    if not incident.acknowledged_by:
        return Cell(text=voice.word("nobody"), tone=Tone.SOFT)
    return Cell(text=voice.person(incident.acknowledged_by), note=voice.date_time(incident.acknowledged_wall))


def _resolved(review: Review, voice: Voice) -> Cell:
    incident = review.incident
    if not incident.resolved_wall:
        return Cell(text=voice.word("not_yet"), tone=Tone.SOFT)
    who = voice.person(incident.resolved_by) if incident.resolved_by else voice.word("by_rule")
    return Cell(text=voice.word("resolved_by", voice.date_time(incident.resolved_wall), who))


def _plan(review: Review, voice: Voice) -> Cell:
    if not review.runs:
        return Cell(text=voice.word("none"), tone=Tone.SOFT)
    separator = "；" if voice.language == "zh" else "; "
    named = [
        voice.word("plan_revision", f"{voice.runbook(run.runbook)} ({run.runbook})", run.revision[:12])
        for run in review.runs
    ]
    return Cell(text=separator.join(named))
