"""What operators do: arm, switch, hold, acknowledge, approve."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from controller.cli.client import CallFailed
from controller.cli.exits import Exit
from controller.cli.planning import plan_text
from controller.cli.screen import Screen, clock_time
from controller.model.groups import SwitchVerb
from controller.model.runbooks import Text
from controller.reports.prose import Language, fact_line, refusal_text

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen; do nothing.")]
Reason = Annotated[str, typer.Option(help="Why; it goes into the timeline.")]


def add_to(application: typer.Typer) -> None:
    application.command()(arm)
    application.command()(disarm)
    for verb in SwitchVerb:
        application.command(name=verb.value, help=_SWITCH_HELP[verb])(_switch(verb))
    application.command()(hold)
    application.command()(release)
    application.command()(settle)
    application.command()(ready)
    application.command()(ack)
    application.command()(note)
    application.command()(resolve)
    application.command()(approve)
    application.command()(reject)
    application.command()(done)
    application.command()(cancel)
    application.command(name="runbook")(runbook)


_SWITCH_HELP = {
    SwitchVerb.SWITCHOVER: "Move a group to its other side in a planned way: drain, then switch.",
    SwitchVerb.FAILOVER: "Switch a group to its backup now, with every guard in force.",
    SwitchVerb.FORCE: "Switch although guards stand against it; every guard bypassed is named and recorded.",
    SwitchVerb.FAILBACK: "Return a group to its preferred side.",
}


def arm(context: typer.Context, group: str, dry_run: DryRun = False) -> None:
    """Let a group act by itself. Refused until the backup is ready and the worst case fits the RTO."""
    _told(context, context.obj.client.post(f"/api/v1/groups/{group}/arm", {"dry_run": dry_run}))


def disarm(context: typer.Context, group: str, dry_run: DryRun = False) -> None:
    """Let a group only observe and say what it would have done."""
    _told(context, context.obj.client.post(f"/api/v1/groups/{group}/disarm", {"dry_run": dry_run}))


def _switch(verb: SwitchVerb) -> Any:
    def command(
        context: typer.Context,
        group: str,
        to: Annotated[
            str, typer.Option("--to", help="The side to switch to; the other side if not given.")
        ] = "",
        reason: Reason = "",
        override: Annotated[
            list[str] | None, typer.Option(help="A guard to bypass, by name (force only; repeatable).")
        ] = None,
        dry_run: DryRun = False,
    ) -> None:
        body = {"target": to, "reason": reason, "overrides": override or [], "dry_run": dry_run}
        answer = context.obj.client.post(f"/api/v1/groups/{group}/{verb.value}", body)
        more: list[str] = []
        if verb is SwitchVerb.FORCE and dry_run and answer["refused"]:
            more = _how_to_force(context.obj, answer, group, to, reason, override or [])
        _told(context, answer, more)

    return command


def _how_to_force(
    screen: Screen, answer: dict[str, Any], group: str, to: str, reason: str, named: list[str]
) -> list[str]:
    """Which of the guards that stand a person may bypass, and the command line that does."""
    firm = [name for name in answer["refused"] if name not in answer["bypassable"]]
    if firm:
        names = screen.word("、", ", ").join(firm)
        return [screen.word(f"强制也不能越过：{names}", f"not even a force goes past: {names}")]
    overrides = [part for name in (*named, *answer["bypassable"]) for part in ("--override", name)]
    line = shlex.join(
        ["thirdring", "force", group, *(["--to", to] if to else []), "--reason", reason or "...", *overrides]
    )
    said = screen.word(
        "强制切换可以逐一点名越过它们，命令行（原因写入时间线）：",
        "A force that names each of them goes past; the command line (the reason goes into the timeline):",
    )
    return [said, f"  {line}"]


def hold(
    context: typer.Context,
    scope: Annotated[str, typer.Argument(help='A group, a component, or "*" for everything.')],
    reason: Annotated[str, typer.Option(help="Why.")],
    minutes: Annotated[float, typer.Option(help="For how long; it ends by itself.")] = 60,
    maintenance: Annotated[bool, typer.Option(help="Planned work.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Pause automation. The controller still observes, and says what it would have done."""
    body = {
        "scope": scope,
        "reason": reason,
        "minutes": minutes,
        "maintenance": maintenance,
        "dry_run": dry_run,
    }
    _told(context, context.obj.client.post("/api/v1/holds", body))


def release(context: typer.Context, scope: str, dry_run: DryRun = False) -> None:
    """End a hold."""
    answer = context.obj.client.delete(f"/api/v1/holds/{scope}", dry_run=str(dry_run).lower())
    _told(context, answer)


def settle(
    context: typer.Context,
    group: str,
    active: Annotated[str, typer.Option(help="The side that is active in fact.")],
    reason: Annotated[str, typer.Option(help="What you checked.")],
) -> None:
    """Hand a group that stopped and asked for a person back to the controller."""
    _told(
        context,
        context.obj.client.post(f"/api/v1/groups/{group}/release", {"active": active, "reason": reason}),
    )


def ready(
    context: typer.Context,
    group: str,
    item: Annotated[str, typer.Argument(help="The manual readiness item.")],
    hours: Annotated[float, typer.Option(help="For how long it counts.")] = 24,
) -> None:
    """Tick a readiness item that only a person can check."""
    _told(
        context, context.obj.client.post(f"/api/v1/groups/{group}/readiness", {"item": item, "hours": hours})
    )


def ack(context: typer.Context, incident: str) -> None:
    """Acknowledge an incident, or a page by its own id: its pages stop."""
    _told(context, context.obj.client.post(f"/api/v1/incidents/{incident}/acknowledge"))


def note(context: typer.Context, incident: str, text: str) -> None:
    """Add a note to an incident's timeline."""
    _told(context, context.obj.client.post(f"/api/v1/incidents/{incident}/note", {"note": text}))


def resolve(context: typer.Context, incident: str) -> None:
    """Say that an incident is repaired."""
    _told(context, context.obj.client.post(f"/api/v1/incidents/{incident}/resolve"))


def approve(context: typer.Context, run: str) -> None:
    """Approve the step a run waits for."""
    _decide(context, run, granted=True)


def reject(context: typer.Context, run: str) -> None:
    """Refuse the step a run waits for."""
    _decide(context, run, granted=False)


def _decide(context: typer.Context, run: str, *, granted: bool) -> None:
    screen: Screen = context.obj
    found = screen.client.get(f"/api/v1/runs/{run}")
    waiting = next((step for step in found["steps"] if step["state"] == "awaiting_person"), None)
    if waiting is None:
        raise CallFailed(
            Text(zh=f"{run} 没有在等待任何人，什么都没有做", en=f"{run} waits for nobody; nothing was done"),
            Exit.REFUSED,
        )
    body = {
        "revision": found["revision"],
        "step": waiting["path"],
        "attempt": max(1, waiting["attempt"]),
        "granted": granted,
    }
    _told(context, screen.client.post(f"/api/v1/runs/{run}/approval", body))


def done(
    context: typer.Context,
    run: str,
    step: str,
    proof: Annotated[str, typer.Option(help="The proof the step asks for.")],
) -> None:
    """Say that a manual step is done."""
    _told(context, context.obj.client.post(f"/api/v1/runs/{run}/manual", {"step": step, "proof": proof}))


def cancel(
    context: typer.Context,
    run: str,
    reason: Annotated[str, typer.Option(help="Why; it goes into the timeline.")],
) -> None:
    """Stop a run and undo what it did. A second time: stop undoing as well, and leave it to people."""
    _told(context, context.obj.client.post(f"/api/v1/runs/{run}/cancel", {"reason": reason}))


def runbook(
    context: typer.Context,
    name: str,
    values: Annotated[list[str] | None, typer.Option("--input", help="name=value (repeatable).")] = None,
    incident: Annotated[str, typer.Option(help="The incident it is run for.")] = "",
    group: Annotated[str, typer.Option(help="The group it is run for.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Run a runbook, or with --dry-run print its plan."""
    screen: Screen = context.obj
    inputs: dict[str, str] = {}
    for value in values or ():
        key, equals, text = value.partition("=")
        if not equals:
            raise typer.BadParameter(f"{value!r} is not name=value", param_hint="--input")
        inputs[key] = text
    body = {"runbook": name, "inputs": inputs, "incident": incident, "group": group, "dry_run": dry_run}
    answer = screen.client.post("/api/v1/runs", body)
    if dry_run:
        screen.show(answer, plan_text(screen, answer["plan"]))
        raise typer.Exit(Exit.REFUSED if answer["plan"]["missing"] else Exit.DONE)
    _told(context, answer)


def _told(context: typer.Context, answer: dict[str, Any], more: Sequence[str] = ()) -> None:
    """Prints the facts a request led to, and `more`. A dry run that names refusals exits with 3."""
    screen: Screen = context.obj
    language = Language(screen.language)
    lines = [
        f"{clock_time(fact['wall'])}  {fact_line(fact['kind'], fact['subject'], fact['actor'], fact['data'], language)}"
        for fact in answer.get("facts", ())
    ]
    if answer.get("dry_run"):
        lines.insert(0, screen.word("演算（什么都没有做）：", "Dry run (nothing was done):"))
        if answer["refused"]:
            lines.append(screen.word("会被拒绝：", "It would be refused:"))
            lines.extend(f"  - {refusal_text(reason, language)} [{reason}]" for reason in answer["refused"])
    lines.extend(more)
    screen.show(
        answer,
        "\n".join(lines) or screen.word("没有变化：本来就是如此", "nothing changed: it was so already"),
    )
    if answer.get("dry_run") and answer["refused"]:
        raise typer.Exit(Exit.REFUSED)
