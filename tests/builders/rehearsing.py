"""Rehearsals: the results a runbook meets, in a file, and the steps it must take, beside them.

runbook: repair-in-place
cases:
  - name: a restart helps
    given: {group: calls, component: primary, fault: "PlatformHung:primary", proven: true}
    results:                      # in the order in which they are met; each names the step that must be acting then
      - look: down                # a probe: up, down, void, none (no answer), or {result: up, values: {...}}
      - restart: succeeded        # an action: succeeded, failed, refused, unknown, lost (no answer ever comes)
      - restart.verify: up        # what the step's verify meets; likewise restart.rollback
      - restart: crash            # the controller dies here and comes back
      - switch: verified          # a switch: any SwitchOutcome
      - go: grant                 # an approval: grant, refuse, silence
      - divert: "ticket 5"        # a manual step: its proof; refuse; late (it is overdue once)
    expect:
      state: succeeded
      outcome: succeeded          # only where it is not the state
      steps: {look: failed, restart: succeeded, prove: succeeded, record: succeeded}      # every step that was touched
      calls: {restart: {action: command, arguments/component: primary}}                   # some of what was sent
      pages: 0                    # how often people were asked for something
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from controller.configuration.documents import read_document
from controller.configuration.runbooks import parse_runbook
from controller.model.commands import RunAction, RunLadder
from controller.model.events import (
    ActionFinished,
    LadderFinished,
    OperatorDidManualStep,
    PageWanted,
    SwitchEnded,
    SwitchWanted,
)
from controller.model.faults import EvidenceKind, Fault, FaultKey, FaultKind
from controller.model.groups import SwitchOutcome
from controller.model.health import Vantage
from controller.model.moments import Values
from controller.model.policy import Person
from controller.model.runbooks import Runbook, StepKind
from controller.model.runs import ActionStatus, StepRecord, StepState
from controller.registry import ACTIONS, load
from tests.builders.running import GROUP, Stage, result

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "runbooks"
REHEARSALS = ROOT / "tests" / "rehearsals"
PEOPLE = (Person(name="wang", display="Wang", role="engineer"),)

MOST_MOVES = 500


@dataclass(frozen=True)
class Case:
    runbook: str
    name: str
    given: Mapping[str, Any]
    results: tuple[tuple[str, Any], ...]
    expect: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.runbook}: {self.name}"


def shipped() -> list[str]:
    return sorted(path.stem for path in RUNBOOKS.glob("*.yaml"))


def read_runbook(name: str) -> Runbook:
    path = RUNBOOKS / f"{name}.yaml"
    parameters = {kind: load("action", kind).Parameters for kind in ACTIONS}
    return parse_runbook(read_document(path), str(path), parameters)


def read_cases() -> list[Case]:
    cases = []
    for path in sorted(REHEARSALS.glob("*.yaml")):
        content = read_document(path).content
        assert content["runbook"] == path.stem, f"{path.name} rehearses {content['runbook']}"
        for item in content["cases"]:
            results = tuple(next(iter(entry.items())) for entry in item["results"])
            cases.append(Case(path.stem, item["name"], item.get("given", {}), results, item["expect"]))
    return cases


class Rehearsal:
    """Plays one case through the real run stage."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.runbook = read_runbook(case.runbook)
        self.steps = {step.name: step for top in self.runbook.steps for step in (top, *top.steps)}
        given = dict(case.given)
        self.stage = Stage(self.runbook, people=PEOPLE, armed=given.pop("armed", True))
        self.sent: dict[str, Mapping[str, Any]] = {}
        self._answered = 0
        self._prepare(given)

    def play(self) -> None:
        for number, (who, met) in enumerate(self.case.results, 1):
            place = f"{self.case}: result {number} ({who}: {met})"
            acting = self._acting()
            assert acting, f"{place}: nothing acts, the run is {self.stage.run.state}: {self._standing()}"
            assert who in acting, f"{place}: {', '.join(acting)} acts instead: {self._standing()}"
            self._meet(who, met)
        acting = self._acting()
        live = self.case.expect.get("state") in ("waiting", "running", "rolling_back")
        assert live or not acting, f"{self.case}: {', '.join(acting)} still waits for a result"

    def check(self) -> None:
        run, expect = self.stage.run, self.case.expect
        assert str(run.state) == expect["state"], f"{self.case}: {self._standing()}"
        assert run.outcome == expect.get("outcome", "" if run.live else expect["state"]), str(self.case)
        found = {record.path.rpartition("/")[2]: str(record.state) for record in run.steps}
        assert found == expect["steps"], f"{self.case}: {self._standing()}"
        for name, wanted in expect.get("calls", {}).items():
            assert name in self.sent, f"{self.case}: {name} sent nothing"
            for key, value in wanted.items():
                assert self.sent[name].get(key) == value, f"{self.case}: {name} sent {self.sent[name]}"
        if "pages" in expect:
            pages = [event for event in self.stage.events if isinstance(event, PageWanted)]
            assert len(pages) == expect["pages"], f"{self.case}: {[page.need_en for page in pages]}"

    def _prepare(self, given: dict[str, Any]) -> None:
        stage = self.stage
        component = str(given.get("component", "primary"))
        if values := given.pop("values", None):
            changed = replace(
                stage.policy.components[component],
                values=tuple(values.items()),
                redundancy="a-redundancy" if given.get("spare") else "",
            )
            components = stage.policy.components.set(component, changed)
            if spare := given.pop("spare", None):
                components = components.set(spare, replace(components[spare], redundancy="a-redundancy"))
            stage.policy = replace(stage.policy, components=components)
        fault = str(given.get("fault", ""))
        kind = FaultKind(fault.partition(":")[0]) if fault else FaultKind.DEVICE_DOWN
        stage.open_incident(component, kind)
        if given.pop("proven", False):
            known = Fault(
                kind=kind,
                component=component,
                group=GROUP,
                side=component,
                evidence_kinds=(EvidenceKind.PROBE, EvidenceKind.EDGE),
            )
            vantage = Vantage(name="n1", live=True, last_beat=stage.now.mono)
            stage.state = replace(
                stage.state,
                faults=stage.state.faults.set(FaultKey(kind, component), known),
                vantages=stage.state.vantages.set("n1", vantage),
            )
        if "active" in given:
            stage.set_group(active=given.pop("active"))
        if hold := given.pop("hold", None):
            stage.hold(hold)
        by = given.pop("by", "rule")
        stage.start(self.case.runbook, by=by, **given)

    def _acting(self) -> dict[str, StepRecord]:
        """The steps that wait for a result, after everything that only takes time has passed."""
        for _ in range(MOST_MOVES):
            acting = {
                name: record for record in self.stage.run.steps if (name := self._waits(record)) is not None
            }
            if acting or not self.stage.run.live:
                return acting
            due = self.stage.wake()
            if due is None or self._held():
                return {}
            self.stage.after(due + 0.001)
        raise AssertionError(f"{self.case}: the run moves without end: {self._standing()}")

    def _held(self) -> bool:
        return str(self.stage.run.state) == "waiting"

    def _waits(self, record: StepRecord) -> str | None:
        name = record.path.rpartition("/")[2]
        step = self.steps[name]
        if record.state is StepState.AWAITING_PERSON:
            return name
        if record.state is StepState.INTENDED and step.kind is StepKind.ACTION:
            return None if step.call is not None and step.call.action == "wait" else name
        if record.state is StepState.VERIFYING and record.command:
            return f"{name}.verify"
        if record.state is StepState.ROLLING_BACK and record.command:
            return f"{name}.rollback"
        return None

    def _meet(self, who: str, met: Any) -> None:
        record = self._acting()[who]
        step = self.steps[record.path.rpartition("/")[2]]
        if met == "crash":
            self.stage.crash()
        elif record.state is StepState.AWAITING_PERSON:
            self._person(record, met)
        elif step.call is not None and step.call.action == "failover":
            self._note(who, record)
            self._switch(met)
        else:
            self._note(who, record)
            self._command(record, met)

    def _person(self, record: StepRecord, met: Any) -> None:
        stage = self.stage
        if met in ("grant", "refuse"):
            stage.decide(record.path, granted=met == "grant")
        elif met in ("silence", "late"):
            stage.after((record.due or 0.0) - stage.now.mono)
        else:
            did = OperatorDidManualStep(
                at=stage.now, run=stage.run.id, step=record.path, by="wang", proof=str(met)
            )
            stage.send(did)

    def _switch(self, met: Any) -> None:
        wanted = [event for event in self.stage.events if isinstance(event, SwitchWanted)][-1]
        self.stage.send(
            SwitchEnded(
                at=self.stage.now,
                group=wanted.group,
                switch="SW-0001",
                run=wanted.run,
                step=wanted.step,
                outcome=SwitchOutcome(met),
            )
        )

    def _command(self, record: StepRecord, met: Any) -> None:
        details = met if isinstance(met, Mapping) else {"result": met}
        values: Values = tuple(dict(details.get("values", {})).items())
        word = str(details["result"])
        stage, at = self.stage, self.stage.now
        command = next(item for item in stage.commands if item.id == record.command)
        if word == "lost":
            stage.after((record.due or 0.0) - at.mono)
        elif isinstance(command, RunLadder):
            up = {"up": True, "down": False, "void": None}
            results = () if word == "none" else tuple(result(key, up[word], values) for key in command.keys)
            stage.send(LadderFinished(at=at, command=command.id, results=results))
        else:
            message = str(details.get("message", ""))
            status = ActionStatus(word)
            stage.send(ActionFinished(at=at, command=command.id, status=status, message=message, data=values))

    def _note(self, who: str, record: StepRecord) -> None:
        """What the step sent, for `calls`."""
        stage = self.stage
        command = next((item for item in stage.commands if item.id == record.command), None)
        if isinstance(command, RunAction):
            self.sent[who] = {"action": command.action, "epoch": command.epoch, **dict(command.parameters)}
        elif isinstance(command, RunLadder):
            rungs = ",".join(key.rung for key in command.keys)
            self.sent[who] = {
                "action": "probe",
                "component": command.keys[0].component,
                "rungs": rungs,
                "count": command.count,
            }
        else:
            wanted = [event for event in stage.events if isinstance(event, SwitchWanted)][-1]
            self.sent[who] = {
                "action": "failover",
                "verb": str(wanted.verb),
                "target": wanted.target,
                "group": wanted.group,
                "automatic": wanted.automatic,
            }

    def _standing(self) -> str:
        return "; ".join(f"{item.path} {item.state} {item.message}".rstrip() for item in self.stage.run.steps)
