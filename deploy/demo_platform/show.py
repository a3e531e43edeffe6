"""The course of a demo run, step by step."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controller.cli.client import CallFailed
from controller.reports.prose import Language, entry_line, refusal_text
from demo_platform.callers import Callers
from demo_platform.controlling import ControllerProcess, Entry, clear
from demo_platform.errors import NotDone, NotReady
from demo_platform.faults import Fault, Faults
from demo_platform.layout import SIDES, Role
from demo_platform.pager import read_pages
from demo_platform.processes import python
from demo_platform.restarts import Restarts
from demo_platform.result import Result, clock, count_calls, counted, describe, milestones
from demo_platform.screen import Screen
from demo_platform.supervisor import Supervisor

PAGER_ROLE = "pager"
PAGE_LINES = ("what", "impact", "did", "need")
WARM_UP_S = 3.0
"""Calls run this long before the fault: the comparison."""
ARMABLE_S = 90.0
SWITCHED_S = 60.0
AFTER_S = 3.0
"""Calls run this long after the switch was verified."""
COUNTED_S = 20.0
"""The controller counts the last timeouts for 10 s after the incident is mitigated."""
BATCH_S = 600.0
TICK_S = 0.1
MOST_RESTARTS = 5
RESTARTS_S = 600.0
"""The controller is started again at most so often in so long."""
ENDING_S = 5.0
"""A controller that answers no more has so long to end."""

TOLD = {
    "fault_raised": "bold red",
    "incident_opened": "bold red",
    "severity_changed": "yellow",
    "response_chosen": "",
    "response_withheld": "yellow",
    "run_started": "",
    "run_finished": "",
    "switch_refused": "bold yellow",
    "switch_shadowed": "yellow",
    "switch_started": "bold",
    "switch_phase": "",
    "switch_ended": "bold green",
    "edge_drifted": "yellow",
    "edge_reasserted": "",
    "page_sent": "magenta",
    "page_delivery": "magenta",
    "page_escalated": "magenta",
    "incident_acknowledged": "green",
    "incident_mitigated": "green",
    "incident_resolved": "green",
    "fault_cleared": "green",
    "group_disarmed": "yellow",
}
"""What of the timeline is told as it happens, and how it looks."""


class Show:
    """`configuration` is the controller's; its first group is the platform's and its control socket is in the demo's directory."""

    def __init__(
        self,
        platform: Supervisor,
        screen: Screen,
        configuration: Path,
        *,
        language: str,
        rate: float,
        fault: Fault,
    ) -> None:
        self._platform = platform
        self._screen = screen
        self._language = Language(language)
        self._rate = rate
        self._fault = fault
        self._processes = platform.processes
        self._faults = Faults(platform.processes, platform.layout)
        self._controller = ControllerProcess(
            platform.processes,
            configuration,
            platform.directory / "thirdring.sock",
            language=language,
        )
        self._callers = self._new_callers()
        self._pages = platform.directory / "pages.jsonl"
        self._entries: list[Entry] = []
        self._group = ""
        self._staying = False
        self._fault_wall = 0.0

    def run(self) -> Result:
        """From nothing to the result. Raises DemoError when it can't get as far as the fault."""
        self._screen.title(
            "Third Ring 演示：一个呼叫平台，主用侧发生故障", "Third Ring: a call platform whose primary fails"
        )
        self._start()
        with self._screen.step("武装", "arm the group") as said:
            self._controller.arm(self._group, patience=ARMABLE_S, waiting=self._waiting)
            said.append(
                self._screen.word(
                    "备用侧已就绪，系统可自行切换", "the backup is ready; the controller may switch by itself"
                )
            )
        with self._screen.step("拨打电话", "place calls") as said:
            self._warm_up(said)
        with self._screen.step("主用侧发生故障", "break the primary") as said:
            fault_at = self._faults.put_in(self._fault, Role.PRIMARY)
            self._fault_wall = time.time() - (time.monotonic() - fault_at)
            said.append(f"{self._fault.value}  {clock(self._fault_wall)}")
        outcome = self._watch_switch()
        self._watch_until(time.monotonic() + AFTER_S)
        with self._screen.step("结束拨打并统计", "end the calls and count") as said:
            calls = count_calls(self._callers.stop(), fault_at)
            said.append(self._screen.word(f"{calls.placed} 通", f"{calls.placed} calls"))
        incident = self._incident()
        name = str(incident["id"]) if incident else ""
        if name:
            self._await_count(name)
        report = self._write_report(name)
        page, link = self._page(name)
        result = Result(
            fault=self._fault.value,
            side=Role.PRIMARY.value,
            rate=self._rate,
            incident=name,
            severity=int(incident["severity"]) if incident else None,
            outcome=outcome,
            calls=calls,
            milestones=milestones(self._entries, self._fault_wall),
            page=page,
            acknowledge=link,
            report=report,
            violations=tuple(self._controller.verify()),
        )
        headline, rows = describe(result, self._fault, zh=self._screen.zh)
        self._screen.result(result.good, headline, rows)
        return result

    def stay(self) -> None:
        """Calls go on and what happens is told, until interrupted. A controller that ends is started again, as a service
        manager would; raises NotReady when that happens too often."""
        self._callers = self._new_callers()
        self._callers.start()
        self._screen.title("演示继续运行，Ctrl-C 结束", "The demo goes on; Ctrl-C ends it")
        word, line = self._screen.word, self._screen.line
        line(word("控制台", "web page"), f"http://{self._platform.layout.console}/")
        for token in sorted(self._platform.directory.rglob("web.token")):
            line(word("访问令牌", "its token"), token.read_text().strip())
        thirdring = f".venv/bin/thirdring --socket {_shown(self._platform.directory / 'thirdring.sock')}"
        settle = f"{thirdring} settle {self._group} --active {Role.BACKUP} --reason repaired"
        line(word("查看状态", "see how it stands"), f"{thirdring} status")
        line(word("修复主用侧", "heal the primary"), "deploy/demo heal primary")
        line(word("放回主用侧", "let it back in"), settle)
        line(word("稳定后切回", "return, once stable"), f"{thirdring} failback {self._group} --reason demo")
        line(word("再注入故障", "break something"), f"deploy/demo break {'|'.join(Fault)} {'|'.join(Role)}")
        self._staying = True
        restarts = Restarts(MOST_RESTARTS, RESTARTS_S)
        while True:
            try:
                self._tell()
            except CallFailed:
                self._revive(restarts)
            if not self._callers.running:
                self._callers = self._new_callers()
                self._callers.start()
            time.sleep(TICK_S)

    def _revive(self, restarts: Restarts) -> None:
        """Start a controller that has ended again; one that only does not answer for a moment is left alone."""
        deadline = time.monotonic() + ENDING_S
        while self._controller.running:
            if time.monotonic() > deadline:
                return
            time.sleep(TICK_S)
        how = self._controller.ending()
        if not restarts.take(time.monotonic()):
            raise NotReady(
                f"the controller ended {restarts.most + 1} times within {restarts.window:g} s, the last time {how}:\n"
                f"{self._controller.last_words()}"
            )
        self._screen.say(
            f"控制器已终止（{how}），重新启动",
            f"the controller ended ({how}); starting it again",
            style="bold red",
        )
        self._controller.start(again=True)
        self._screen.say(
            "控制器已重新启动，从日志恢复",
            "the controller runs again, recovered from its journal",
            style="green",
        )

    def _start(self) -> None:
        with self._screen.step("启动呼叫平台", "start the call platform") as said:
            leftover = self._platform.sweep()
            clear(self._platform.directory)
            self._platform.start()
            if leftover:
                said.append(
                    self._screen.word(
                        f"（已清理上次遗留：{'、'.join(leftover)}）",
                        f"(ended what an earlier run left: {', '.join(leftover)})",
                    )
                )
            layout = self._platform.layout
            said.append(
                self._screen.word(
                    f"边缘 {layout.edge}，主用 {layout.primary}，备用 {layout.backup}",
                    f"edge {layout.edge}, primary {layout.primary}, backup {layout.backup}",
                )
            )
        with self._screen.step("启动控制器", "start the controller") as said:
            self._processes.start(
                PAGER_ROLE,
                python(
                    "demo_platform.pager",
                    *("--listen", str(self._platform.layout.pager)),
                    *("--output", str(self._pages)),
                ),
            )
            self._controller.start()
            self._group = self._controller.group()
            said.append(f"http://{self._platform.layout.console}/")

    def _warm_up(self, said: list[str]) -> None:
        self._callers.start()
        until = time.monotonic() + WARM_UP_S
        while time.monotonic() < until:
            self._tell()
            time.sleep(TICK_S)
        progress = self._callers.progress()
        if not progress.answered or progress.last_side != Role.PRIMARY:
            raise NotReady(
                f"the primary should answer the calls: {progress.answered} of {progress.ended} answered, the last by "
                f"{progress.last_side or 'nobody'}"
            )
        said.append(
            self._screen.word(
                f"每秒 {self._rate:g} 通，已接通 {progress.answered} 通，由 {progress.last_side} 应答",
                f"{self._rate:g} a second; {progress.answered} of {progress.ended} answered, by the {progress.last_side}",
            )
        )

    def _watch_switch(self) -> str:
        """Until the switch has ended, however; returns its outcome, or why there was none."""
        deadline = time.monotonic() + SWITCHED_S
        while time.monotonic() < deadline:
            for entry in self._tell():
                if entry["kind"] == "switch_ended" and entry["subject"] == self._group:
                    return str(entry["data"].get("outcome", ""))
            if not self._controller.running:
                return "controller ended"
            time.sleep(TICK_S)
        self._screen.say(
            f"{SWITCHED_S:g} 秒内没有切换", f"no switch within {SWITCHED_S:g} s", style="bold red"
        )
        return "no switch"

    def _watch_until(self, until: float) -> None:
        """Tell what happens; at least until the incident is mitigated and somebody was paged, for 10 s at most."""
        latest = until + 10
        while (now := time.monotonic()) < latest:
            self._tell()
            incident = self._incident()
            settled = bool(incident and incident["mitigated_wall"]) and bool(read_pages(self._pages))
            if now >= until and settled:
                return
            time.sleep(TICK_S)

    def _await_count(self, incident: str) -> None:
        """Until the controller has counted the calls that timed out late: the report is then final on them."""
        with self._screen.step("等待控制器计完最后超时的呼叫", "wait for the last calls to time out") as said:
            deadline = time.monotonic() + COUNTED_S
            while time.monotonic() < deadline:
                self._tell()
                if counted(self._entries, incident):
                    return
                if not self._controller.running:
                    break
                time.sleep(TICK_S)
            said.append(
                self._screen.word(
                    "未计完，报告中的数字尚非最终", "not counted to the end: the report's figure is not final"
                )
            )

    def _tell(self) -> list[Entry]:
        news = list(self._controller.news())
        self._entries += news
        for entry in news:
            if entry["kind"] in TOLD and self._fault_wall:
                wall = float(entry["wall"])
                self._screen.event(
                    clock(wall) if self._staying else f"{wall - self._fault_wall:+8.3f} s",
                    entry_line(entry, self._language),
                    style=TOLD[entry["kind"]],
                )
        return news

    def _incident(self) -> Mapping[str, Any] | None:
        """The one about the group, opened since the fault."""
        for incident in self._controller.incidents():
            about = incident["group"] == self._group or incident["root"] in (self._group, *SIDES)
            if about and incident["opened_wall"] >= self._fault_wall:
                return incident
        return None

    def _write_report(self, incident: str) -> str:
        if not incident:
            return ""
        path = self._platform.directory / f"report-{time.strftime('%Y%m%d-%H%M%S')}-{incident}.html"
        try:
            with self._screen.step("生成复盘报告", "write the report") as said:
                self._controller.report(incident, path)
                said.append(_shown(path))
        except NotDone as error:
            # What the calls went through is still worth telling; the result is not called good.
            self._screen.say(str(error), str(error), style="red")
            return ""
        return str(path)

    def _page(self, incident: str) -> tuple[tuple[str, ...], str]:
        """The four lines of the last page about the incident, and its acknowledge link."""
        for document in reversed(read_pages(self._pages)):
            if document.get("incident") == incident:
                lines = tuple(str(document.get(name, "")) for name in PAGE_LINES)
                return lines, str(document.get("acknowledge", ""))
        return (), ""

    def _waiting(self, reasons: tuple[str, ...]) -> None:
        said = ", ".join(refusal_text(reason, self._language) for reason in reasons)
        self._screen.say(f"等待：{said}", f"waiting: {said}", style="dim")

    def _new_callers(self) -> Callers:
        return Callers(self._processes, self._platform.layout, rate=self._rate, seconds=BATCH_S)


def _shown(path: Path) -> str:
    """Relative where that is shorter to read."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
