"""A real controller in this process: a small configuration in a directory of its own, real sockets on loopback."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from controller import app, registry
from controller.configuration.settings import Settings
from controller.engine.prober import LocalProber
from controller.model.events import Event
from controller.model.facts import Fact
from controller.model.health import HealthState, RungKey

TOKENS = {
    "viewer": "viewer-0123456789abcdef",
    "operator": "operator-0123456789abcdef",
    "administrator": "administrator-0123456789abcdef",
    "li": "li-0123456789abcdef-0123",
}
"""By account. `li` is an operator, and a person of the configuration with the role 应急组."""

# The sides are two listening sockets of the test; nothing else answers or is probed unasked. No fault comes up by itself.
CONFIGURATION = """
name: test
language: zh
include: [shipped:rules.yaml, shipped:domains.yaml, shipped:severity.yaml]
runbooks: ["shipped:", books]
node: {name: test, data: data, control: control}
http:
  tokens:
    - {name: viewer, role: viewer, secret: "file:viewer.token"}
    - {name: operator, role: operator, secret: "file:operator.token"}
    - {name: administrator, role: administrator, secret: "file:administrator.token"}
    - {name: li, role: operator, secret: "file:li.token"}
components:
  primary: {kind: platform, title: {zh: 主用平台, en: Primary platform}, lines: 40, rungs: [{name: port, probe: tcp, with: {address: "127.0.0.1:PRIMARY"}, failover_relevant: true}, &sip {name: sip, probe: sip_options, with: {uri: "sip:127.0.0.1:9"}, on_demand: true}]}
  backup: {kind: platform, title: {zh: 备用平台, en: Backup platform}, lines: 40, rungs: [{name: port, probe: tcp, with: {address: "127.0.0.1:BACKUP"}, failover_relevant: true}, *sip]}
  edge:
    kind: edge
    title: {zh: 边缘, en: Edge}
    rungs:
      - {name: call, probe: sip_call, with: {uri: "sip:echo@127.0.0.1:9"}, on_demand: true}
      - {name: edge, probe: kamailio, with: {url: "http://127.0.0.1:9/", group: 1, sides: {primary: "sip:a", backup: "sip:b"}}, on_demand: true}
  desk-7: {kind: phone, title: {zh: 七号话机, en: Desk phone 7}, rungs: [{name: port, probe: tcp, with: {address: "127.0.0.1:9"}, on_demand: true}]}
groups:
  calls:
    title: {zh: 呼叫平台, en: Call platform}
    sides:
      primary: {component: primary, destination: "sip:a"}
      backup: {component: backup, destination: "sip:b"}
    preferred: primary
    driver:
      kind: kamailio_dispatcher
      with:
        set: 1
        edges: {edge: {rpc: "http://127.0.0.1:9/", list_file: "${here}/dispatcher.list"}}
        sides:
          primary: {fence: &fence {fence: ["false"], confirm: ["false"], release: ["false"]}}
          backup: {fence: *fence}
    edges: [edge]
    readiness:
      - {name: signalling, rung: backup.sip, freshness: 2s}
      - {name: licences, manual: true, owner: 网络组}
    verification: {rung: edge.call, calls: 1, timeout: 1s, attempts: 1}
    allowances: {edge_timer: 300ms, fence: 60ms, redirect: 60ms}
people:
  li:
    display: 李雷
    role: 应急组
    channels: [{name: robot, kind: webhook, with: {url: "http://127.0.0.1:9/page"}}]
escalation:
  levels: [{people: [li], after: 0}]
  repeat: 10m
  severities: [SEV1, SEV2, SEV3, SEV4]
actions:
  command: {commands: {}}
drills:
  primary-killed:
    title: {zh: 主用平台进程被杀, en: The primary platform is killed}
    group: calls
    component: primary
    inject: {action: http, with: {url: "http://127.0.0.1:9/", method: POST}}
    undo: {action: http, with: {url: "http://127.0.0.1:9/", method: POST}}
    expires: 60s
    expected_fault: PlatformDead
    objectives: [{name: detect, limit: 2s}]
"""

ASK = """
runbook: ask
title: {zh: 请示后记录, en: "Ask, then record"}
summary: {zh: 测试用, en: For tests}
inputs: []
expected: 1m
steps:
  - name: first
    title: {zh: 先记一笔, en: Note first}
    action: note
    with: {zh: 开始请示, en: asking now}
  - name: permit
    title: {zh: 是否继续, en: May it go on}
    approve: {role: ROLE, expires: 30m, default: refuse}
  - name: hand
    title: {zh: 打电话给运营商, en: Call the carrier}
    manual: {owner: 应急组, deadline: 1h, proof: 工单号 / ticket number}
    irreversible: 电话不能撤回 / a call can't be taken back
  - name: last
    title: {zh: 最后记一笔, en: Note last}
    action: note
    with: {zh: 请示完毕, en: asked and done}
"""


class Sides:
    """Two listening sockets that stand for the platform's sides; closing one breaks that side."""

    def __init__(self) -> None:
        self.primary, self.backup = (socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(2))

    def port(self, side: socket.socket) -> str:
        return str(side.getsockname()[1])

    def close(self) -> None:
        self.primary.close()
        self.backup.close()


def write_configuration(directory: Path, sides: Sides, changes: Mapping[str, str] | None = None) -> Path:
    """The files of a configuration in `directory`; `changes` are texts to put in place of others in the main one."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, secret in TOKENS.items():
        path = directory / f"{name}.token"
        path.write_text(secret)
        path.chmod(0o600)
    books = directory / "books"
    books.mkdir(exist_ok=True)
    (books / "ask.yaml").write_text(ASK.replace("ROLE", "operator"))
    (books / "ask-team.yaml").write_text(
        ASK.replace("ROLE", "应急组").replace("runbook: ask", "runbook: ask-team")
    )
    text = CONFIGURATION
    where = {"PRIMARY": sides.port(sides.primary), "BACKUP": sides.port(sides.backup)}
    for old, new in {**where, **(changes or {})}.items():
        assert old in text, old
        text = text.replace(old, new)
    path = directory / "third-ring.yaml"
    path.write_text(text)
    return path


class Running:
    """A running controller, and how to talk to it."""

    def __init__(self, controller: app.Controller, address: str, session: aiohttp.ClientSession) -> None:
        self.controller = controller
        self.address = address
        self.session = session

    @property
    def desk(self) -> Any:
        return self.controller.desk

    @property
    def state(self) -> Any:
        return self.controller.engine.snapshot.state

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        account: str = "operator",
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> tuple[int, Any]:
        """Status, and the body: decoded when it is JSON, else as text."""
        known = {"Authorization": f"Bearer {TOKENS[account]}"} if account else {}
        async with self.session.request(
            method,
            self.address + path,
            json=body,
            headers={**known, **(headers or {})},
            allow_redirects=False,
            **options,
        ) as answer:
            if "json" in answer.content_type:
                return answer.status, await answer.json(content_type=None)
            return answer.status, await answer.text()

    async def get(self, path: str, **options: Any) -> Any:
        status, body = await self.call("GET", path, **options)
        assert status == 200, (status, body)
        return body

    async def post(self, path: str, body: object = None, **options: Any) -> Any:
        status, answer = await self.call("POST", path, body, **options)
        assert status == 200, (status, answer)
        return answer

    async def incident(self, symptom: str = "没有声音") -> str:
        """A person reports a fault (七-2): the incident it opens."""
        await self.post("/api/v1/fault-reports", {"component": "desk-7", "symptom": symptom})
        return max(name for name in self.state.incidents)

    async def waiting_run(self, runbook: str = "ask", incident: str = "") -> str:
        """A run that waits at its approval."""
        answer = await self.post("/api/v1/runs", {"runbook": runbook, "incident": incident})
        return next(fact["subject"] for fact in answer["facts"] if fact["kind"] == "run_started")

    async def ask(self, event: Event) -> tuple[Fact, ...]:
        return await self.controller.engine.ask(event)

    async def until(self, what: Callable[[], object], within: float = 20.0) -> None:
        """Wait for something of the state that other parts of the controller bring about."""
        async with asyncio.timeout(within):
            while not what():
                await asyncio.sleep(0.01)

    async def led(self) -> None:
        """Until this node holds its lease: before, it pages nobody."""
        await self.until(lambda: self.state.lease_deadline is not None)

    async def edges_read(self) -> None:
        """Until the edges were asked once: before, why they stand in the way is not known."""
        await self.until(lambda: self.state.groups["calls"].unreachable_edges)

    async def sides_seen(self) -> None:
        """Until both sides are known to be up."""
        up = HealthState.UP
        keys = [RungKey(side, "port") for side in ("primary", "backup")]
        await self.until(
            lambda: all((view := self.state.rungs.get(key)) and view.state is up for key in keys)
        )


def settings_of(path: Path) -> Settings:
    """The settings, on a port that the system chooses."""
    settings = app.load_settings(path)
    return replace(settings, node=replace(settings.node, http=replace(settings.node.http, port=0)))


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """A controller until the block is left; an error that ends it is raised here. It probes in this process: a child
    for each of many tests would take most of their time, and its own tests are elsewhere."""
    controller = app.Controller(settings)
    controller.prober = LocalProber(  # type: ignore[assignment]
        settings.node.name, controller.clock, lambda kind: registry.load("probe", kind)
    )
    loop = asyncio.get_running_loop()
    address: asyncio.Future[str] = loop.create_future()
    stop = asyncio.Event()
    task = asyncio.create_task(controller.run(address.set_result, stop))
    try:
        await asyncio.wait([task, address], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            made = Running(controller, address.result(), session)
            await made.led()
            yield made
    finally:
        stop.set()
        await task


Result = TypeVar("Result")


class Beside:
    """A controller in a thread beside the test, for what is driven from outside: a command, a browser."""

    def __init__(self, controller: Running, loop: asyncio.AbstractEventLoop) -> None:
        self.controller = controller
        self.address = controller.address
        self.socket = str(controller.controller.settings.node.control)
        self._loop = loop

    def do(self, what: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the controller's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    @property
    def state(self) -> Any:
        return self.controller.state

    def link(self, incident: str, person: str = "li", *, ago: float = 0.0) -> str:
        """The address of an acknowledge link made `ago` seconds ago."""
        now = self.controller.desk.clock.now().wall
        return f"{self.address}/a/{self.controller.controller.links.make(incident, person, now - ago)}"


@contextmanager
def beside(settings: Settings) -> Iterator[Beside]:
    """A controller in a thread of its own until the block is left."""
    up = threading.Event()
    made: list[Beside] = []
    failed: list[BaseException] = []
    leave: list[Callable[[], object]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        leave.append(lambda: loop.call_soon_threadsafe(stop.set))
        async with running(settings) as controller:
            made.append(Beside(controller, loop))
            up.set()
            await stop.wait()

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            failed.append(error)
        finally:
            up.set()

    thread = threading.Thread(target=main, name="controller")
    thread.start()
    try:
        assert up.wait(30), "the controller did not come up"
        if made:
            yield made[0]
    finally:
        if leave:
            leave[0]()
        thread.join(30)
    if failed:
        raise failed[0]
