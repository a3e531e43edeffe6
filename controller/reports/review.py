"""The review of one incident: everything in it that the record can say, and nothing that only people can."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from controller.core.timeline import Line, Timeline, fold, line, timeline
from controller.model.chain import Head, broken_links
from controller.model.drills import Drill
from controller.model.facts import Entry, FactKind
from controller.model.faults import Fault
from controller.model.groups import Group, Switch
from controller.model.incidents import Incident, IncidentState
from controller.model.pages import Page
from controller.model.runbooks import Text
from controller.model.runs import Run
from controller.reports.losses import CallsLost, calls_lost

WITHHELD = frozenset(
    {
        FactKind.RESPONSE_WITHHELD,
        FactKind.SWITCH_REFUSED,
        FactKind.SWITCH_SHADOWED,
        FactKind.STEP_SHADOWED,
        FactKind.REQUEST_REFUSED,
        FactKind.APPROVAL_REFUSED,
        FactKind.APPROVAL_STALE,
        FactKind.APPROVAL_EXPIRED,
        FactKind.PAGE_WITHHELD,
    }
)
"""What was asked for and not done."""

DECISIONS = frozenset({FactKind.SWITCH_STARTED, FactKind.RESPONSE_CHOSEN, FactKind.RUN_STARTED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Background:
    """What the entries themselves do not say; a report without it shows bare names.

    `because`: severity rule -> why. `steps`: (runbook, last name of the step's path) -> title. `head`: the journal's
    newest entry when the report was written.
    """

    titles: Mapping[str, Text] = field(default_factory=dict)
    runbooks: Mapping[str, Text] = field(default_factory=dict)
    steps: Mapping[tuple[str, str], Text] = field(default_factory=dict)
    people: Mapping[str, str] = field(default_factory=dict)
    because: Mapping[str, Text] = field(default_factory=dict)
    rto: Mapping[str, float] = field(default_factory=dict)  # group -> seconds
    incidents: Sequence[Incident] = ()
    drills: Sequence[Drill] = ()
    head: Head | None = None
    zone: datetime.tzinfo = datetime.UTC
    written_wall: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SwitchRecord:
    """One switch as it was asked for and as it ended; `ended` None while it goes on."""

    switch: Switch
    group: str
    started: Line
    ended: Line | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Seal:
    """What a reader compares with the journal. `violations`: entries that do not match their own digests."""

    node: str
    first: int
    last: int
    entries: int
    digest: str  # of the last entry used
    violations: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Review:
    """`faults`: as they stood at the decision `decided`, or as last known when nothing was decided. `explained`: how
    many more were put down to a broken parent. `configuration`: the revision in force at the decision, "" unknown."""

    story: Timeline
    losses: CallsLost
    decided: Line | None
    faults: tuple[Fault, ...]
    explained: int
    runs: tuple[Run, ...]
    switches: tuple[SwitchRecord, ...]
    withheld: tuple[Line, ...]
    proofs: tuple[Line, ...]
    pages: tuple[Page, ...]
    configuration: str
    similar: tuple[Incident, ...]
    drilled: tuple[Drill, ...]
    seal: Seal
    background: Background

    @property
    def incident(self) -> Incident:
        return self.story.incident


def make_review(
    entries: Sequence[Entry], incident: str, background: Background | None = None
) -> Review | None:
    """`entries`: those of the incident, oldest first. None when none of them says what the incident is.

    Never raises for what is in an entry: one that can't be read is named in the seal and shown without content.
    """
    known = background or Background()
    its, violations = _readable(entries)
    story = timeline(its, incident)
    if story is None:
        return None
    decided = next((item for item in story.lines if item.kind in DECISIONS), None)
    until = story.lines[-1].sequence if decided is None else decided.sequence
    faults = _faults(item for item in story.lines if item.sequence <= until)
    state = fold(story.lines)
    started = [item for item in story.lines if item.kind is FactKind.SWITCH_STARTED]
    revision = next((str(item.get("policy")) for item in story.lines if item.get("policy")), "")
    return Review(
        story=story,
        losses=calls_lost(story),
        decided=decided,
        faults=tuple(fault for fault in faults if not fault.suppressed_by),
        explained=sum(1 for fault in faults if fault.suppressed_by),
        runs=tuple(item for item in state.values() if isinstance(item, Run)),
        switches=tuple(found for item in started if (found := _switch(item, story.lines)) is not None),
        withheld=tuple(item for item in story.lines if item.kind in WITHHELD),
        proofs=tuple(
            item
            for item in story.lines
            if item.kind is FactKind.SWITCH_STEP_FINISHED and item.get("verb") in ("verify", "full_test")
        ),
        pages=tuple(item for item in state.values() if isinstance(item, Page)),
        configuration=revision,
        similar=similar(story.incident, known.incidents),
        drilled=drilled(story.incident, known.drills),
        seal=Seal(
            node=story.lines[0].node,
            first=story.lines[0].sequence,
            last=story.lines[-1].sequence,
            entries=len(story.lines),
            digest=entries[-1].digest,
            violations=violations,
        ),
        background=known,
    )


def similar(incident: Incident, others: Iterable[Incident], most: int = 10) -> tuple[Incident, ...]:
    """Earlier ones with the same leading fault on the same thing or in the same group, newest first."""
    found = [
        other
        for other in others
        if other.id != incident.id
        and other.kind is incident.kind
        and other.state is not IncidentState.MERGED
        and other.opened_wall <= incident.opened_wall
        and (other.root == incident.root or (other.group != "" and other.group == incident.group))
    ]
    return tuple(sorted(found, key=lambda other: (-other.opened_wall, other.id))[:most])


def drilled(incident: Incident, drills: Iterable[Drill], most: int = 5) -> tuple[Drill, ...]:
    """Finished drills before it that led to the same diagnosis in the same group, newest first."""
    found = [
        drill
        for drill in drills
        if drill.finished_wall
        and drill.finished_wall <= incident.opened_wall
        and incident.id not in drill.incidents
        and drill.diagnosed == str(incident.kind)
        and (drill.component == incident.root or (drill.group != "" and drill.group == incident.group))
    ]
    return tuple(sorted(found, key=lambda drill: (-drill.finished_wall, drill.id))[:most])


def _readable(entries: Sequence[Entry]) -> tuple[list[Line], tuple[str, ...]]:
    lines: list[Line] = []
    violations: list[str] = []
    for entry in entries:
        # Entries of one incident do not follow each other in the journal: each is held against its own digest.
        violations.extend(broken_links([entry], None))
        try:
            lines.append(line(entry))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            violations.append(f"sequence {entry.sequence}: can't be read: {error!r}")
            lines.append(line(entry._replace(payload="")))
    return lines, tuple(dict.fromkeys(violations))


def _faults(lines: Iterable[Line]) -> tuple[Fault, ...]:
    """Each as it was last, the cleared ones too."""
    found = {item.key: item for each in lines for item in each.changed if isinstance(item, Fault)}
    return tuple(found.values())


def _switch(started: Line, lines: Sequence[Line]) -> SwitchRecord | None:
    name = started.get("switch")
    seen = [
        (item.name, item.switch)
        for each in lines
        for item in each.changed
        if isinstance(item, Group) and item.switch is not None and item.switch.id == name
    ]
    if not seen:
        return None
    group, switch = seen[-1]
    ended = next(
        (each for each in lines if each.kind is FactKind.SWITCH_ENDED and each.get("switch") == name), None
    )
    return SwitchRecord(switch=switch, group=group, started=started, ended=ended)
