"""A run as people see it: its steps, and for what waits for a person everything that person must know to decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.engine.desk import Desk
from controller.model.encoding import plain
from controller.model.runbooks import Step, StepKind
from controller.model.runs import Run, StepState
from controller.web.access import Account
from controller.web.console import Page
from controller.web.views import run_view

MARKS: Mapping[StepState, str] = {
    StepState.PENDING: "·",
    StepState.SKIPPED: "–",
    StepState.INTENDED: "…",
    StepState.RETRYING: "…",
    StepState.VERIFYING: "…",
    StepState.AWAITING_PERSON: "☛",
    StepState.SUCCEEDED: "✔",
    StepState.FAILED: "✘",
    StepState.UNKNOWN: "?",
    StepState.ROLLING_BACK: "↩",
    StepState.ROLLED_BACK: "↩",
    StepState.ROLLBACK_FAILED: "✘",
}

ANYONE = "operator"
"""The role of an approval that every account which may operate has."""


def run_card(page: Page, run: Run, desk: Desk) -> dict[str, Any]:
    """The run, the steps that were touched, and the cards of those that wait."""
    snapshot = desk.snapshot
    view = run_view(run, snapshot, desk.clock.now())
    book = snapshot.policy.runbooks.get(run.runbook)
    known = {step.name: step for step in _flat(book.steps)} if book is not None else {}
    cards = []
    for record, step in zip(run.steps, view["steps"], strict=True):
        definition = known.get(record.path.rsplit("/", 1)[-1])
        step["mark"] = MARKS[record.state]
        step["title"] = page.of(definition.title) if definition is not None else record.path
        step["said"] = page.refusal(record.message) if record.message else ""
        if record.state is StepState.AWAITING_PERSON and definition is not None and run.live:
            cards.append(_card(page, run, step, definition, desk))
    view["steps"] = [step for step in view["steps"] if step["state"] != StepState.SKIPPED.value]
    view["cards"] = cards
    return view


def _card(page: Page, run: Run, step: Mapping[str, Any], definition: Step, desk: Desk) -> dict[str, Any]:
    """`kind`: approval, manual, or outcome (whether it took effect can't be told)."""
    approval, manual = definition.approval, definition.manual
    kind = "outcome" if step["in_doubt"] else "approval" if approval is not None else "manual"
    card: dict[str, Any] = {
        "id": f"{run.id}-{step['path'].replace('/', '-')}-{step['attempt']}",
        "kind": kind,
        "run": run.id,
        "runbook": page.pick(plain(book.title)) if (book := _book(desk, run)) is not None else run.runbook,
        "revision": run.revision,
        "path": step["path"],
        "title": step["title"],
        "message": step["message"],
        "attempt": max(1, step["attempt"]),
        "due_wall": step["due_wall"],
        "role": approval.role if approval is not None else "",
        "granted_by_silence": approval is not None and approval.default,
        "may_decide": kind != "approval"
        or may_approve(page.account, approval.role if approval else "", desk),
        "owner": manual.owner if manual is not None else "",
        "proof": page.either(manual.proof) if manual is not None else "",
        "next": [],
        "calls_at_risk": None,
        "fences": [],
    }
    if kind == "approval" and (plan := desk.plan_run(run.runbook, run.inputs)) is not None:
        card["calls_at_risk"], card["fences"] = plan.calls_at_risk, list(plan.fences)
        paths = [planned.path for planned in plan.steps]
        after = plan.steps[paths.index(step["path"]) + 1 :] if step["path"] in paths else ()
        for planned in after:
            if planned.kind is StepKind.APPROVE:
                break
            card["next"].append(
                {
                    "title": page.of(planned.title),
                    "exact": " ".join(
                        (planned.does, *(f"{name}={value}" for name, value in planned.parameters))
                    )
                    if planned.does
                    else "",
                    "disruptive": planned.disruptive,
                    "drops_calls": planned.drops_calls,
                    "undo": planned.undo,
                    "irreversible": page.either(planned.irreversible),
                    "asks": planned.asks,
                    "refusals": [page.refusal(reason) for reason in planned.refusals],
                }
            )
    return card


def may_approve(account: Account | None, role: str, desk: Desk) -> bool:
    """Whether the core will take this account's word; it decides, the console only spares people a refusal."""
    if account is None:
        return False
    person = desk.snapshot.policy.people.get(account.name)
    return role == ANYONE or (person is not None and person.role == role)


def _book(desk: Desk, run: Run) -> Any:
    return desk.snapshot.policy.runbooks.get(run.runbook)


def _flat(steps: tuple[Step, ...]) -> list[Step]:
    return [found for step in steps for found in (step, *_flat(step.steps))]
