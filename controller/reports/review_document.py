"""A review as a document in one language, with its whole timeline and its seal."""

from __future__ import annotations

from collections.abc import Sequence

from controller.core.timeline import Line
from controller.model.words import DRILL_MARK
from controller.reports import review_body as body
from controller.reports import review_opening as opening
from controller.reports.document import Cell, Document, Section, Table, Tone
from controller.reports.human_sections import human_sections
from controller.reports.review import Review, Seal
from controller.reports.values import Language
from controller.reports.voice import Voice

SHOWN_OF_A_ROW = 3
LONGEST_ROW = 8
"""More entries of one kind than this, one after another, are shown by their first few and a count: a thousand devices
behind one switch are one cause and not a hundred pages."""


def review_document(review: Review, language: Language) -> Document:
    voice = Voice(language=language, background=review.background)
    incident = review.incident
    human = human_sections(voice)
    separator = "、" if language is Language.ZH else ", "
    return Document(
        language=str(language),
        title=voice.fault(incident.kind, incident.root),
        kicker=f"{voice.word('review')} · {incident.id} · {voice.date(incident.opened_wall)}",
        badge=f"SEV{int(incident.severity)}",
        badge_level=int(incident.severity),
        mark=voice.of(DRILL_MARK) if incident.drill else "",
        alarm=voice.word("seal_bad", len(review.seal.violations)) if review.seal.violations else "",
        blocking=voice.word("blocking", separator.join(section.title for section in human)),
        blocking_tag=voice.word("blocking_tag"),
        sections=(
            opening.glance(review, voice),
            opening.header(review, voice),
            opening.phases(review, voice),
            opening.impact(review, voice),
            *human,
            body.evidence(review, voice),
            body.actions(review, voice),
            body.withheld(review, voice),
            body.proof(review, voice),
            body.told(review, voice),
            body.similar(review, voice),
            _timeline(review, voice),
        ),
        seal=seal_rows(review.seal, voice),
        running=f"{incident.id} · {review.seal.digest[:16]}",
    )


def _timeline(review: Review, voice: Voice) -> Section:
    story = review.story
    origin = story.outage.latest or story.incident.opened_wall
    head = (
        voice.word("number"),
        voice.word("time"),
        voice.word("offset"),
        voice.word("what"),
    )
    rows: list[tuple[Cell, ...]] = []
    anchors: list[str] = []
    day = ""
    for stretch in _stretches(story.lines):
        shown = stretch if len(stretch) <= LONGEST_ROW else stretch[:SHOWN_OF_A_ROW]
        for line in shown:
            date = voice.date(line.wall)
            anchors.append(f"e{line.sequence}")
            rows.append(
                (
                    Cell(text=str(line.sequence)),
                    Cell(text=voice.clock(line.wall), note="" if date == day else date),
                    Cell(text=voice.offset(line.wall - origin) if origin else ""),
                    _told(line, voice),
                )
            )
            day = date
        if len(shown) < len(stretch):
            rest = stretch[len(shown) :]
            anchors.append("")
            text = voice.word("folded", len(rest), rest[0].sequence, rest[-1].sequence)
            rows.append((Cell(text=""), Cell(text=""), Cell(text=""), Cell(text=text, tone=Tone.SOFT)))
    table = Table(head=head, rows=tuple(rows), anchors=tuple(anchors), narrow=frozenset({0, 1, 2}), log=True)
    return Section(anchor="timeline", title=voice.word("timeline"), blocks=(table,))


def _told(line: Line, voice: Voice) -> Cell:
    if not line.subject and not line.data:
        return Cell(text=f"{line.name} {voice.word('erased')}", tone=Tone.SOFT)
    return Cell(text=body.prose(line, voice))


def _stretches(lines: Sequence[Line]) -> list[list[Line]]:
    """Consecutive lines of one kind, together."""
    found: list[list[Line]] = []
    for line in lines:
        if found and found[-1][-1].name == line.name:
            found[-1].append(line)
        else:
            found.append([line])
    return found


def seal_rows(seal: Seal, voice: Voice) -> tuple[tuple[str, str], ...]:
    rows = [
        (
            voice.word("seal_range"),
            voice.word("seal_range_of", seal.node, seal.first, seal.last, seal.entries),
        ),
        (voice.word("seal_digest"), seal.digest),
    ]
    rows.extend(head_row(voice))
    intact = voice.word("seal_good")
    if seal.violations:
        intact = "; ".join((voice.word("seal_bad", len(seal.violations)), *seal.violations[:5]))
    rows.append((voice.word("seal_intact"), intact))
    if voice.background.written_wall:
        rows.append((voice.word("seal_written"), voice.date_time(voice.background.written_wall)))
    return tuple(rows)


def head_row(voice: Voice) -> tuple[tuple[str, str], ...]:
    """The journal's newest entry when the report was written, as far as it is known."""
    head = voice.background.head
    if head is None:
        return ()
    return ((voice.word("seal_head"), voice.word("seal_head_of", head.sequence, head.digest)),)
