"""What must hold over one node's record. Each checker reads the lines once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from controller.core.invariants.violation import Budget, Violation
from controller.core.timeline import Line, fold
from controller.model.chain import beginning, breaks
from controller.model.drills import Drill, DrillState, InjectState
from controller.model.encoding import plain
from controller.model.facts import Aggregate, Entry, FactKind, Gone, aggregate_key
from controller.model.faults import Fault
from controller.model.groups import DriverVerb, Group, Hold, Phase, Switch, SwitchVerb
from controller.model.incidents import Incident
from controller.model.pages import Page, PageState
from controller.model.runs import ActionStatus, Run, StepState

UNDO_GRACE = 60.0
"""Seconds past its expiry within which an inject must be gone."""


def i2_intent_first(story: Sequence[Line]) -> Iterator[Violation]:
    """A durable decision precedes every command, and its intent every outcome."""
    intended: set[str] = set()
    decided: set[str] = set()
    begun: set[tuple[str, str]] = set()
    for line in story:
        command, switch, step = (str(line.get(name) or "") for name in ("command", "switch", "step"))
        match line.kind:
            case FactKind.SWITCH_STARTED:
                decided.add(switch)
            case FactKind.LEADERSHIP_TAKEN:
                # What its predecessor decided stands in what it read; what it decided itself and could not put there is
                # void. Its own experiments go on.
                decided, begun = _taken_over(line)
                intended.update(_commands(line))
            case FactKind.RUN_STARTED:
                decided.add(line.subject)
                if any(isinstance(item, Run) and not item.revision for item in line.changed):
                    yield _at(line, "I2", f"{line.subject} runs no revision")
            case FactKind.SWITCH_INTENDED if switch and switch not in decided:
                yield _at(line, "I2", f"{switch} commands before it was decided")
            case FactKind.STEP_INTENDED if line.subject not in decided:
                yield _at(line, "I2", f"{line.subject} acts before it was started")
            case kind if kind in _OUTCOMES and command and command not in intended:
                yield _at(line, "I2", f"the outcome of {command} comes without its intent")
            case FactKind.STEP_FINISHED if line.get("state") in ("acted", str(StepState.SUCCEEDED)):
                if (line.subject, step) not in begun:
                    yield _at(line, "I2", f"{line.subject} step {step} ends without its intent")
            case _:
                pass
        # A note is its own doing: the fact is the whole effect.
        if line.kind in _STEP_BEGINS or (line.kind is FactKind.NOTE and step):
            begun.add((line.subject, step))
        if command and line.kind not in _OUTCOMES:
            intended.add(command)


def _taken_over(line: Line) -> tuple[set[str], set[tuple[str, str]]]:
    """The switches and runs a new leader goes on with, and the steps begun in them."""
    decided = {group.switch.id for group in _groups(line) if group.switch is not None}
    begun: set[tuple[str, str]] = set()
    for item in line.changed:
        if isinstance(item, Run):
            decided.add(item.id)
            begun.update((item.id, step.path) for step in item.steps)
    return decided, begun


_OUTCOMES = frozenset(
    {
        FactKind.SWITCH_STEP_FINISHED,
        FactKind.PAGE_DELIVERY,
        FactKind.EDGE_REASSERTED,
        FactKind.CONTROL_FINISHED,
    }
)
_STEP_BEGINS = frozenset({FactKind.STEP_INTENDED, FactKind.APPROVAL_REQUESTED, FactKind.MANUAL_REQUESTED})


def i2_dispatched(story: Sequence[Line], dispatched: Mapping[str, int]) -> Iterator[Violation]:
    """No command left before its intent was durable."""
    intents: dict[str, int] = {}
    for line in story:
        for command in _commands(line):
            intents.setdefault(command, line.sequence)
    for command, newest in dispatched.items():
        intent = intents.get(command)
        if intent is None or intent > newest:
            yield Violation(
                invariant="I2", sequence=newest, message=f"{command} left before its intent was durable"
            )


def _commands(line: Line) -> Iterator[str]:
    """The commands that an entry names: in its data, or as in flight in what it changed."""
    if line.kind not in _OUTCOMES and (named := line.get("command")):
        yield str(named)
    for item in line.changed:
        match item:
            case Group(switch=Switch(command=command)) if command:
                yield command
            case Drill(command=command) if command:
                yield command
            case Run():
                yield from (step.command for step in item.steps if step.command)
            case Page():
                yield from (delivery.command for delivery in item.deliveries if delivery.command)
            case _:
                pass


def i3_epochs(story: Sequence[Line]) -> Iterator[Violation]:
    """Epochs strictly increase with every switch, and nothing is commanded under an older one."""
    highest: dict[str, int] = defaultdict(int)
    for line in story:
        epoch, before = line.get("epoch"), highest[line.subject]
        if line.kind is FactKind.SWITCH_INTENDED and isinstance(epoch, int) and epoch < before:
            yield _at(line, "I3", f"{line.subject} commands under epoch {epoch} after {before}")
        for group in _groups(line):
            before = highest[group.name]
            if line.kind is FactKind.LEADERSHIP_TAKEN:
                # An epoch that was decided and never reached the coordination store was never commanded.
                highest[group.name] = group.epoch
                continue
            if line.kind is FactKind.SWITCH_STARTED and group.epoch <= before:
                yield _at(
                    line, "I3", f"{group.name} starts a switch under epoch {group.epoch} after {before}"
                )
            elif group.epoch < before:
                yield _at(line, "I3", f"{group.name} goes back from epoch {before} to {group.epoch}")
            highest[group.name] = max(before, group.epoch)


def i4_holds(story: Sequence[Line]) -> Iterator[Violation]:
    """No automatic switch starts on hold, in maintenance, or unarmed."""
    holds: dict[str, Hold] = {}
    for line in story:
        for item in line.changed:
            if isinstance(item, Hold):
                holds[item.scope] = item
            elif isinstance(item, Gone):
                holds.pop(item.key.removeprefix("hold/"), None)
        for group in _started(line):
            if group.switch is None or not group.switch.automatic:
                continue
            for scope in ("*", group.name):
                hold = holds.get(scope)
                if hold is not None and hold.since_wall <= line.wall < hold.until_wall:
                    yield _at(line, "I4", f"{group.name} switches by itself while {scope} is on hold")
            if group.armed is None:
                yield _at(line, "I4", f"{group.name} switches by itself and nobody armed it")


def i5_budget(story: Sequence[Line], budgets: Mapping[str, Budget]) -> Iterator[Violation]:
    """At most N automatic switches a window."""
    starts: dict[str, list[float]] = defaultdict(list)
    for line in story:
        if line.kind is FactKind.LEADERSHIP_TAKEN:
            for group in _groups(line):
                under_way = group.switch is not None and group.switch.automatic
                starts[group.name] = [*group.automatic_walls, *([line.wall] if under_way else [])]
        for group in _started(line):
            budget = budgets.get(group.name)
            if budget is None or group.switch is None or not group.switch.automatic:
                continue
            recent = [wall for wall in starts[group.name] if wall > line.wall - budget.window]
            starts[group.name] = [*recent, line.wall]
            if len(recent) >= budget.switches:
                yield _at(
                    line,
                    "I5",
                    f"{group.name} starts automatic switch {len(recent) + 1} within {budget.window:g} s",
                )


_REPEATABLE = frozenset({"verify", "full_test", str(DriverVerb.READ_BACK), str(DriverVerb.CONFIRM_FENCE)})


def i7_read_back(story: Sequence[Line]) -> Iterator[Violation]:
    """An outcome that could not be told, by a lost reply or a restart, is read back before its command is repeated."""
    in_flight: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for line in story:
        switch, verb = str(line.get("switch") or ""), str(line.get("verb") or "")
        match line.kind:
            case FactKind.CONTROLLER_STARTED:
                unknown.update(in_flight)
                in_flight.clear()
            case FactKind.LEADERSHIP_TAKEN:
                in_flight.clear()
                unknown = {
                    group.switch.id: verb
                    for group in _groups(line)
                    if group.switch is not None
                    and (verb := str(group.switch.verb_in_flight or ""))
                    and verb not in _REPEATABLE
                }
            case FactKind.SWITCH_INTENDED if switch:
                if verb in (DriverVerb.READ_BACK, DriverVerb.CONFIRM_FENCE):
                    unknown.pop(switch, None)
                elif unknown.get(switch) == verb:
                    yield _at(
                        line, "I7", f"{switch} repeats {verb} without reading back what the first one did"
                    )
                if verb not in _REPEATABLE:
                    in_flight[switch] = verb
            case FactKind.SWITCH_STEP_FINISHED if switch:
                in_flight.pop(switch, None)
                if line.get("status") == ActionStatus.UNKNOWN and verb not in _REPEATABLE:
                    unknown[switch] = verb
            case FactKind.SWITCH_PHASE if line.get("phase") == Phase.READING_BACK:
                unknown.pop(switch, None)
            case _:
                pass


def i8_pages(story: Sequence[Line]) -> Iterator[Violation]:
    """A page that ended sends nothing more, and ends once."""
    ended: set[str] = set()
    for line in story:
        if line.kind in (FactKind.PAGE_SENT, FactKind.PAGE_REPEATED, FactKind.PAGE_ESCALATED):
            if line.subject in ended:
                yield _at(line, "I8", f"{line.subject} goes on after it ended")
        elif line.kind is FactKind.LEADERSHIP_TAKEN:
            ended = {item.id for item in line.changed if isinstance(item, Page) and item.state in _ENDED}
        elif line.kind is FactKind.PAGE_ENDED:
            if line.subject in ended:
                yield _at(line, "I8", f"{line.subject} ends twice")
            ended.add(line.subject)


_ENDED = frozenset({PageState.ACKNOWLEDGED, PageState.CLOSED, PageState.UNDELIVERED, PageState.TOLD})


def i9_chain(entries: Sequence[Entry]) -> Iterator[Violation]:
    """Gapless, and every entry follows the one before it. A record that begins later than 1 is believed up to there."""
    if not entries:
        return
    before = beginning(entries[0].node) if entries[0].sequence == 1 else None
    for sequence, message in breaks(entries, before):
        yield Violation(invariant="I9", sequence=sequence, message=message)


def i10_drills(story: Sequence[Line]) -> Iterator[Violation]:
    """Every inject had a durable undo, was undone in time, and everything of a drill says so."""
    drills: dict[str, Drill] = {}
    for line in story:
        # What a new leader read of its predecessor's is of drills and of everything else.
        taken_over = line.kind is FactKind.LEADERSHIP_TAKEN
        for item in line.changed:
            if not line.drill and not taken_over and _of_drill(item):
                yield _at(
                    line, "I10", f"{aggregate_key(item)} belongs to a drill and the entry does not say so"
                )
            if not isinstance(item, Drill):
                continue
            if line.kind is FactKind.DRILL_INJECTED and not (
                item.id in drills and drills[item.id].undo and drills[item.id].undo[0]
            ):
                yield _at(line, "I10", f"{item.id} was injected before its undo was recorded")
            over = item.state in (DrillState.FINISHED, DrillState.ABORTED)
            if over and item.inject_state not in (InjectState.UNDONE, InjectState.PLANNED):
                yield _at(line, "I10", f"{item.id} ended with its inject {item.inject_state}")
            late = item.undone_wall - item.expires_wall
            first = item.id not in drills or not drills[item.id].undone_wall
            if item.undone_wall and first and late > UNDO_GRACE:
                yield _at(line, "I10", f"{item.id} was undone {late:.0f} s after its expiry")
            drills[item.id] = item
    for drill in drills.values():
        open_ = drill.inject_state in (InjectState.ACTIVE, InjectState.UNDOING, InjectState.UNDO_FAILED)
        if open_ and story[-1].wall > drill.expires_wall + UNDO_GRACE:
            yield _at(
                story[-1], "I10", f"{drill.id} is past its expiry and its inject is {drill.inject_state}"
            )


def _of_drill(item: Aggregate) -> bool:
    match item:
        case Drill():
            return True
        case Incident() | Run() | Page() | Fault():
            return item.drill
        case _:
            return False


def i11_fold(story: Sequence[Line], live: Iterable[Aggregate]) -> Iterator[Violation]:
    """Folding the record gives the live state, field by field, deadlines aside."""
    folded = {key: plain(value) for key, value in fold(story).items()}
    actual = {aggregate_key(value): plain(value) for value in live}
    newest = story[-1].sequence if story else 0
    for key in sorted(folded.keys() | actual.keys()):
        if folded.get(key) != actual.get(key):
            if key not in folded:
                message = f"{key} is live and the record does not have it"
            elif key not in actual:
                message = f"the record has {key} and it is not live"
            else:
                names = [name for name in actual[key] if actual[key][name] != folded[key].get(name)]
                message = f"{key} differs from the record in {', '.join(names)}"
            yield Violation(invariant="I11", sequence=newest, message=message)


def i13_quiet(story: Sequence[Line]) -> Iterator[Violation]:
    """A healthy system sees no action: an automatic switch or run has an open incident behind it."""
    incidents: dict[str, Incident] = {}
    faults: set[str] = set()
    stopped: set[str] = set()
    for line in story:
        for item in line.changed:
            match item:
                case Incident():
                    incidents[item.id] = item
                case Fault():
                    (faults.add if item.active else faults.discard)(str(item.key))
                case _:
                    pass
        for group in _started(line):
            switch = group.switch
            if switch is None or not switch.automatic or switch.verb is SwitchVerb.FAILBACK:
                continue
            known = incidents.get(switch.incident)
            if known is None or not known.open:
                yield _at(line, "I13", f"{group.name} switches by itself and no incident is open")
            elif ":" in switch.fault and switch.fault not in faults:
                yield _at(line, "I13", f"{group.name} switches for {switch.fault}, which is not active")
        for group in _groups(line):
            (stopped.add if group.phase is Phase.NEEDS_PERSON else stopped.discard)(group.name)
        if line.kind is FactKind.RUN_STARTED:
            for run in line.changed:
                # Where a person's own switch was stopped, callers are without a side and there may be no incident yet.
                if isinstance(run, Run) and run.started_by == "rule" and run.group not in stopped:
                    known = incidents.get(run.incident)
                    if known is None or not known.open:
                        yield _at(line, "I13", f"{run.id} runs by rule and no incident is open")


CHECKERS: Mapping[str, Callable[[Sequence[Line]], Iterator[Violation]]] = {
    "I2": i2_intent_first,
    "I3": i3_epochs,
    "I4": i4_holds,
    "I7": i7_read_back,
    "I8": i8_pages,
    "I10": i10_drills,
    "I13": i13_quiet,
}
"""Those that need nothing but the lines."""


def _at(line: Line, invariant: str, message: str) -> Violation:
    return Violation(invariant=invariant, sequence=line.sequence, message=message)


def _groups(line: Line) -> Iterator[Group]:
    return (item for item in line.changed if isinstance(item, Group))


def _started(line: Line) -> Iterator[Group]:
    """The group whose switch this entry starts."""
    return _groups(line) if line.kind is FactKind.SWITCH_STARTED else iter(())
