"""Every command against a running controller: what people read, what programs read, and the exit code."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

import pytest

from controller.cli.exits import Exit
from controller.cli.screen import clock_time
from controller.stores.journal import SqliteJournal
from tests.builders.consoles import Beside
from tests.builders.records import disobeyed
from tests.cli.conftest import Command


def both(command: Command, *arguments: str, code: int = Exit.DONE) -> tuple[str, object]:
    """The text for people and the document for programs of a command that changes nothing."""
    text, document = command(*arguments), command(*arguments, "--json")
    assert (text.code, document.code) == (code, code), (text, document)
    return text.out, document.json


def test_what_is(controller: Beside, command: Command) -> None:
    incident = controller.do(controller.controller.incident())
    text, document = both(command, "status")
    assert "NOT ARMED" in text and "Desk phone 7" in text and incident in text
    assert document["incidents"][0]["id"] == incident
    chinese = command("status", language="zh").out
    assert "未武装" in chinese and "空闲" in chinese and "UP" not in chinese and "UTC" in chinese
    text, document = both(command, "incidents")
    assert incident in text and document["total"] == 1
    text, document = both(command, "incidents", "--all")
    assert incident in text
    text, document = both(command, "explain", incident)
    assert "SEV3" in text and document["incident"] == incident
    (fired,) = [rule for rule in document["rules"] if rule["fired"]]
    assert fired["fired_wall"] > 0 and f"[{fired['rule']}]  {clock_time(fired['fired_wall'])}" in text
    assert "None" not in text
    assert "定级：" in command("explain", incident, "--all", language="zh").out
    text, document = both(command, "verify")
    assert "intact" in text and document["intact"] is True
    text, document = both(command, "drill", "list")
    assert "primary-killed" in text and document["scenarios"][0]["name"] == "primary-killed"


async def test_a_journal_in_which_a_call_went_astray_is_not_intact(
    thirdring: Command, tmp_path: Path
) -> None:
    journal = SqliteJournal(tmp_path / "journal.db", "here")
    await journal.open()
    await journal.record(disobeyed("calls").facts)
    await journal.close()
    arguments = ("verify", "--journal", str(tmp_path / "journal.db"))
    text = await asyncio.to_thread(thirdring, *arguments, "--language", "en")
    assert (text.code, text.out.strip()) == (
        Exit.PROBLEM,
        "I1 at sequence 4: calls: primary answers a call while backup takes them",
    )
    document = await asyncio.to_thread(thirdring, *arguments, "--json")
    assert document.code == Exit.PROBLEM and document.json["intact"] is False


def test_the_timeline(controller: Beside, command: Command) -> None:
    incident = controller.do(controller.controller.incident())
    text, document = both(command, "timeline")
    assert "controller test started" in text
    assert [entry["sequence"] for entry in document["entries"]][:2] == [1, 2]
    text, document = both(command, "timeline", incident, "--limit", "1")
    assert len(document["entries"]) == 1 and document["entries"][0]["incident"] == incident
    journal = str(controller.controller.controller.settings.node.data / "journal.db")
    text, document = both(command, "timeline", incident, "--journal", journal)
    assert incident in text
    text, document = both(command, "verify", "--journal", journal)
    assert document["entries"] > 2


def test_the_newest_of_the_timeline(controller: Beside, command: Command) -> None:
    """Pages go out meanwhile: what is read later may hold more at its end."""
    incident = controller.do(controller.controller.incident())
    for number in range(12):
        command("note", incident, f"note {number}")
    whole = command("timeline", "--all", "--json").json["entries"]
    assert [entry["sequence"] for entry in whole] == list(range(1, len(whole) + 1))
    first = command("timeline", "--after", "0", "--limit", "3", "--json").json["entries"]
    assert first == whole[:3]
    journal = str(controller.controller.controller.settings.node.data / "journal.db")
    for source in ((), ("--journal", journal)):
        newest = command("timeline", "--limit", "3", "--json", *source).json["entries"]
        last = newest[-1]["sequence"]
        assert last >= len(whole) and [entry["sequence"] for entry in newest] == [last - 2, last - 1, last]
    text = command("timeline", incident, "--limit", "3").out.splitlines()
    assert "the newest 3 only" in text[0] and "times are UTC" in text[1]
    shown = [int(line.split()[0]) for line in text[2:]]
    assert len(shown) == 3 and shown == sorted(shown) and shown[-1] >= len(whole)
    assert "--after 3" in command("timeline", "--after", "0", "--limit", "3").out
    assert "the newest" not in command("timeline", "--all").out


def test_an_incident(controller: Beside, command: Command, tmp_path: Path) -> None:
    incident = controller.do(controller.controller.incident())
    assert f"acknowledged {incident}" in command("ack", incident).out
    assert command("ack", incident).out.strip() == "nothing changed: it was so already"
    assert "[brackets] stay" in command("note", incident, "[brackets] stay").out
    assert command("note", incident, "again", "--json").json["facts"][0]["kind"] == "note"
    report = tmp_path / "review.html"
    said = command("report", incident, "--format", "html", "-o", str(report))
    assert said.out.strip() == str(report) and report.read_text().lower().startswith("<!doctype html>")
    assert incident in command("report", incident).out
    assert "resolved" in command("resolve", incident).out
    late = command("ack", incident)
    assert late.code == Exit.REFUSED
    assert "refused, nothing was done" in late.err and "[incident_closed]" in late.err


def test_a_page_without_an_incident(controller: Beside, command: Command) -> None:
    controller.do(controller.controller.waiting_run("ask-team"))
    (page,) = controller.state.pages
    assert command("ack", page).code == Exit.DONE
    assert controller.state.pages[page].state == "acknowledged"


def test_a_run(controller: Beside, command: Command) -> None:
    text, document = both(command, "runbook", "ask", "--dry-run")
    assert "May it go on" in text and document["plan"]["runbook"] == "ask"
    assert "{" not in text and "a call can't be taken back" not in text
    chinese = command("runbook", "ask", "--dry-run", language="zh").out
    assert "是否继续" in chinese and "须 operator" in chinese and "May it go on" not in chinese
    lacking = command("runbook", "failover", "--dry-run")
    assert lacking.code == Exit.REFUSED and "missing inputs: group (--input group=...)" in lacking.out
    assert not controller.state.runs
    run = command("runbook", "ask", "--json").json["facts"][0]["subject"]
    assert command("approve", run).code == Exit.DONE
    assert "T-4711" in command("done", run, "hand", "--proof", "T-4711").out
    assert controller.state.runs[run].outcome == "succeeded"
    idle = command("approve", run)
    assert (idle.code, idle.err.strip()) == (
        Exit.REFUSED,
        f"thirdring: {run} waits for nobody; nothing was done",
    )
    assert "没有在等待任何人" in command("approve", run, language="zh").err
    other = command("runbook", "ask", "--json").json["facts"][0]["subject"]
    assert command("reject", other).code == Exit.DONE
    assert controller.state.runs[other].outcome == "failed"
    third = command("runbook", "ask", "--json").json["facts"][0]["subject"]
    assert command("cancel", third).code == Exit.USAGE, "a reason is asked for"
    assert "not now" in command("cancel", third, "--reason", "not now").out
    assert controller.state.runs[third].outcome == "cancelled"
    late = command("cancel", third, "--reason", "again")
    assert late.code == Exit.REFUSED and "[run_not_live]" in late.err
    team = command("runbook", "ask-team", "--json").json["facts"][0]["subject"]
    refused = command("approve", team)
    assert refused.code == Exit.REFUSED and "not that person's role [wrong_role]" in refused.err


@pytest.mark.parametrize("verb", ["switchover", "failover", "force", "failback"])
def test_a_switch_that_is_refused(controller: Beside, command: Command, verb: str) -> None:
    controller.do(controller.controller.edges_read())
    ask = ("calls", "--to", "backup", "--reason", "test")
    rehearsed = command(verb, *ask, "--dry-run")
    assert rehearsed.code == Exit.REFUSED
    assert (
        "nothing was done" in rehearsed.out and "edges can't be reached [edges_unreachable]" in rehearsed.out
    )
    assert ("thirdring force" in rehearsed.out) == (verb == "force")
    document = command(verb, *ask, "--json")
    assert document.code == Exit.REFUSED and "edges_unreachable" in document.json["reasons"]
    said = command(verb, *ask, language="zh")
    assert said.code == Exit.REFUSED and "边缘设备不可达" in said.err and said.out == ""


def test_the_dry_run_of_a_force_says_how_to_go_past_what_stands(controller: Beside, command: Command) -> None:
    """The line it prints, dry again, is refused by nothing."""
    controller.do(controller.controller.edges_read())
    ask = ("calls", "--to", "backup", "--reason", "all else failed", "--dry-run")
    rehearsed = command("force", *ask)
    line = shlex.split(rehearsed.out.splitlines()[-1])
    assert line[:2] == ["thirdring", "force"] and "all else failed" in line
    document = command("force", *ask, "--json").json
    assert document["bypassable"] == document["refused"]
    assert line.count("--override") == len(document["refused"]) > 0
    again = command(*line[1:], "--dry-run")
    assert again.code == Exit.DONE and "thirdring force" not in again.out
    to_itself = command("force", "calls", "--to", "primary", "--dry-run")
    assert to_itself.code == Exit.REFUSED and "not even a force goes past: already_active" in to_itself.out
    assert (
        "强制也不能越过：already_active"
        in command("force", "calls", "--to", "primary", "--dry-run", language="zh").out
    )


def test_arming_and_what_it_lacks(controller: Beside, command: Command) -> None:
    refused = command("arm", "calls")
    assert refused.code == Exit.REFUSED
    assert (
        "the target side is not ready" in refused.err
        and "lacking: " in refused.err
        and "licences" in refused.err
    )
    assert command("arm", "calls", "--dry-run").code == Exit.REFUSED
    assert "licences" in command("ready", "calls", "licences", "--hours", "2").out
    assert "licences" not in command("arm", "calls").err
    assert "nothing was done" in command("disarm", "calls", "--dry-run").out
    assert command("disarm", "calls").out.strip() == "nothing changed: it was so already"
    assert command("settle", "calls", "--active", "primary", "--reason", "looked").code == Exit.REFUSED


def test_holds(controller: Beside, command: Command) -> None:
    ask = ("hold", "calls", "--reason", "moving a rack", "--minutes", "5")
    rehearsed = command(*ask, "--dry-run")
    assert "nothing was done" in rehearsed.out and "moving a rack" in rehearsed.out
    assert not controller.state.holds
    assert "moving a rack" in command(*ask).out
    assert "moving a rack" in command("status").out
    assert "nothing was done" in command("release", "calls", "--dry-run").out
    assert controller.state.holds
    assert command("release", "calls").code == Exit.DONE
    assert command("release", "calls").code == Exit.NOT_FOUND


def test_a_drill_that_may_not_start(controller: Beside, command: Command) -> None:
    controller.do(controller.controller.incident())
    rehearsed = command("drill", "run", "primary-killed", "--dry-run")
    assert rehearsed.code == Exit.REFUSED and "an incident is open [open_incident]" in rehearsed.out
    chinese = command("drill", "run", "primary-killed", "--dry-run", language="zh").out
    assert "会被拒绝" in chinese and "有未结束的事件" in chinese
    refused = command("drill", "run", "primary-killed")
    assert refused.code == Exit.REFUSED and "an incident is open [open_incident]" in refused.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("ack", "INC-9999"), Exit.NOT_FOUND, "no incident INC-9999"),
        (("explain", "INC-9999"), Exit.NOT_FOUND, "no incident INC-9999"),
        (("timeline", "INC-9999"), Exit.NOT_FOUND, "no incident INC-9999"),
        (("report", "INC-9999"), Exit.NOT_FOUND, "no incident INC-9999"),
        (("arm", "nobody"), Exit.NOT_FOUND, "no group named nobody"),
        (("failover", "nobody"), Exit.NOT_FOUND, "no group named nobody"),
        (("approve", "RUN-9999"), Exit.NOT_FOUND, "no run RUN-9999"),
        (("runbook", "nothing"), Exit.NOT_FOUND, "no runbook named nothing"),
        (("drill", "run", "nothing"), Exit.NOT_FOUND, "no scenario named nothing"),
        (("drill", "abort", "DRILL-9", "--reason", "x"), Exit.NOT_FOUND, "no drill DRILL-9 under way"),
        (("hold", "nobody", "--reason", "x"), Exit.USAGE, "no group or component named 'nobody'"),
        (("hold", "calls", "--reason", "x", "--minutes", "0"), Exit.USAGE, "minutes"),
        (("force", "calls"), Exit.USAGE, "force needs a reason"),
        (("failover", "calls", "--override", "gravity"), Exit.USAGE, "overrides"),
    ],
)
def test_what_a_stranger_is_told(command: Command, arguments: tuple[str, ...], code: int, says: str) -> None:
    said = command(*arguments)
    assert (said.code, said.out) == (code, ""), said
    assert said.err.startswith("thirdring: ") and says in said.err and len(said.err.splitlines()) == 1
    if code == Exit.NOT_FOUND:
        assert "没有" in command(*arguments, language="zh").err
    document = command(*arguments, "--json")
    assert document.code == code and says in document.json["error"] and document.err == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nonsense",), "No such command"),
        (("ack",), "Missing argument"),
        (("status", "--language", "fr"), "zh or en"),
        (("runbook", "ask", "--input", "x"), "name=value"),
        (("report", "INC-1", "--format", "pdf"), "markdown or html"),
        (("verify", "--journal", "/nowhere"), "does not exist"),
        (("run",), "Missing option"),
        (("check", "/nowhere.yaml"), "does not exist"),
    ],
)
def test_a_line_that_can_not_be_understood(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    said = command(*arguments, language="fr" if "fr" in arguments else "en")
    assert said.code == Exit.USAGE
    assert says in said.err


def test_the_schema_needs_no_controller(thirdring: Command) -> None:
    said = thirdring("schema")
    assert said.code == Exit.DONE
    assert {"components", "groups", "drills"} <= set(said.json["properties"])
    assert "probe.sip_options.Parameters" in said.json["$defs"]
