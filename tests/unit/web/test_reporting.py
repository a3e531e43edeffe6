from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from immutables import Map

from controller.engine.loop import Snapshot
from controller.model.drills import Drill
from controller.model.facts import Entry
from controller.model.incidents import Incident
from controller.model.moments import Moment
from controller.model.policy import BusinessHours
from controller.model.state import State
from controller.web import reporting
from controller.web.problems import as_problems
from controller.web.reading import DESK
from controller.web.reporting import add_reporting_routes
from tests.builders.paging import policy
from tests.builders.reviewing import INCIDENT, ONSET, drill, zombie


class StillClock:
    def now(self) -> Moment:
        return Moment(9000.0, ONSET + 40_000.0)


@dataclass
class FakeDesk:
    """What the routes ask of a desk: a snapshot, the journal's entries by incident, its head."""

    journal: list[Entry]
    incident: Incident = INCIDENT
    head: str = "ef" * 32
    clock: StillClock = field(default_factory=StillClock)
    zone: str = "Asia/Shanghai"
    asked: list[str] = field(default_factory=list)

    @property
    def snapshot(self) -> Snapshot:
        state = State(
            node="node-a",
            incidents=Map({self.incident.id: self.incident}),
            drills=Map({"DRILL-0002": drill(incidents=(self.incident.id,))}),
        )
        return Snapshot(state=state, policy=policy(hours=BusinessHours(zone=self.zone)), sequence=1390)

    async def recall(self, incident: str) -> Snapshot:
        return self.snapshot

    async def recall_drill(self, name: str) -> Drill | None:
        return self.snapshot.state.drills.get(name)

    async def story(self, incident: str, *, limit: int = 1000) -> AsyncIterator[Entry]:
        self.asked.append(incident)
        for entry in self.journal[:limit]:
            if entry.incident == incident:
                yield entry


@pytest.fixture
async def desk() -> FakeDesk:
    return FakeDesk(journal=zombie().entries())


@pytest.fixture
async def client(desk: FakeDesk) -> AsyncIterator[TestClient]:
    application = web.Application(middlewares=[as_problems])
    application[DESK] = desk  # type: ignore[misc]
    add_reporting_routes(application)
    async with TestClient(TestServer(application)) as client:
        yield client


async def test_a_review_is_markdown_in_chinese_unless_told_otherwise(client: TestClient) -> None:
    answer = await client.get("/api/v1/incidents/INC-0007/report")
    text = await answer.text()
    assert (answer.status, answer.content_type, answer.charset) == (200, "text/markdown", "utf-8")
    assert "事件复盘草稿 · INC-0007" in text and "1.12 ～ 1.37 秒" in text
    assert f"日志链头: 序号 1390，{'ef' * 32}" in text


async def test_a_review_as_html_in_english(client: TestClient) -> None:
    answer = await client.get("/api/v1/incidents/INC-0007/report?format=html&language=en")
    text = await answer.text()
    assert (answer.status, answer.content_type) == (200, "text/html")
    assert text.startswith("<!DOCTYPE html>") and "Incident review: draft" in text


async def test_times_are_those_of_the_platform(client: TestClient) -> None:
    text = await (await client.get("/api/v1/incidents/INC-0007/report?language=en")).text()
    assert "2026-01-10 02:22:01.660+08:00" in text


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/api/v1/incidents/INC-0007/report?format=pdf", 400, "format must be markdown or html"),
        ("/api/v1/incidents/INC-0007/report?language=de", 400, "language must be zh or en"),
        ("/api/v1/incidents/INC-0099/report", 404, "no incident INC-0099"),
        ("/api/v1/drills/DRILL-0099/record", 404, "no drill DRILL-0099"),
    ],
)
async def test_what_can_not_be_answered_gets_one_clear_problem(
    client: TestClient, path: str, status: int, detail: str
) -> None:
    answer = await client.get(path)
    assert answer.status == status and answer.content_type == "application/problem+json"
    assert detail in (await answer.json(content_type=None))["detail"]


async def test_an_incident_without_entries_is_not_found(client: TestClient, desk: FakeDesk) -> None:
    desk.journal.clear()
    assert (await client.get("/api/v1/incidents/INC-0007/report")).status == 404


async def test_a_drill_record_reads_the_incidents_of_the_drill(client: TestClient, desk: FakeDesk) -> None:
    answer = await client.get("/api/v1/drills/DRILL-0002/record?language=en")
    text = await answer.text()
    assert answer.status == 200 and "Drill record · DRILL-0002" in text
    assert desk.asked == ["INC-0007"] and "INC-0007 Calls lost" in text


@pytest.mark.parametrize(
    ("writer", "longest", "status"),
    [
        ("raise SystemExit('no room')", 30.0, 500),
        ("import sys; sys.stdin.buffer.read(); raise SystemExit('late')", 30.0, 500),
        ("import time; time.sleep(600)", 0.5, 503),
    ],
)
async def test_a_writer_that_fails_or_hangs_is_a_problem_and_leaves_no_process(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, writer: str, longest: float, status: int
) -> None:
    monkeypatch.setattr(reporting, "WRITER", (sys.executable, "-c", writer))
    monkeypatch.setattr(reporting, "LONGEST", longest)
    assert (await client.get("/api/v1/incidents/INC-0007/report")).status == status
    assert not [child for child in psutil.Process().children() if writer in child.cmdline()]
    monkeypatch.undo()
    assert (await client.get("/api/v1/incidents/INC-0007/report")).status == 200


async def test_requests_at_once_are_all_answered(client: TestClient) -> None:
    paths = [f"/api/v1/incidents/INC-0007/report?format={form}" for form in ("html", "markdown") * 3]
    answers = await asyncio.gather(*(client.get(path) for path in paths))
    assert [answer.status for answer in answers] == [200] * 6


async def test_a_zone_this_host_does_not_know_is_utc(client: TestClient, desk: FakeDesk) -> None:
    desk.zone = "Nowhere/At_All"
    text = await (await client.get("/api/v1/incidents/INC-0007/report?language=en")).text()
    assert "2026-01-09 18:22:01.660+00:00" in text
