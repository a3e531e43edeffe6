"""Call servers as protocol simulators: Asterisk's manager interface and FreeSWITCH's event socket, over real sockets, with
the traps both are known for. Neither can be installed here; what they say follows their documentation and sources."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote

from controller.actions.asterisk import Asterisk
from controller.actions.asterisk.parameters import AsteriskParameters
from controller.actions.freeswitch import Freeswitch
from controller.actions.freeswitch.parameters import FreeswitchParameters
from controller.actions.routed import RoutedSwitch
from controller.model.policy import GroupPolicy
from tests.builders.outside import Marks
from tests.builders.platform import group_policy
from tests.builders.responders import free_port

SECRET = "n0t-the-shipped-one"
TRUNKS = ("carrier-a", "carrier-b")


class Trunk(StrEnum):
    REGISTERED = "registered"
    WITHDRAWN = "withdrawn"
    TRYING = "trying"


class Quirk(StrEnum):
    SILENT = "silent"  # accepts connections and says nothing: a hung process
    CLOSES = "closes"  # closes under the next change, nothing was done
    CLOSES_AFTER = "closes_after"  # does the next change and closes without an answer
    STRANGER = "stranger"  # is something else altogether
    OLD = "old"  # a version that is too old
    REJECTS = "rejects"  # the address or the password


@dataclass
class CallServer:
    """What both simulators show. `answers_after`: looks until a carrier has answered a registration; negative: never.
    `allowed`: whether the user may change anything."""

    port: int
    trunks: dict[str, Trunk]
    calls: int = 0
    store: dict[str, str] = field(default_factory=dict)
    quirk: Quirk | None = None
    answers_after: int = 1
    allowed: bool = True
    again_by_itself: bool = False
    paused: bool = False
    log: list[str] = field(default_factory=list)
    logins: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _wanted: dict[str, tuple[Trunk, int]] = field(default_factory=dict)
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._open):
                writer.close()
            await self._server.wait_closed()
            self._server = None

    def hang_up(self) -> None:
        """The last call ends; a server that was asked to stop then does."""
        self.calls = 0
        self.ended.set()

    def ask(self, trunk: str, wanted: Trunk) -> None:
        self.log.append(f"{'register' if wanted is Trunk.REGISTERED else 'unregister'} {trunk}")
        self._wanted[trunk] = (wanted, self.answers_after)
        if self.answers_after == 0:
            self.trunks[trunk] = wanted
        elif self.trunks[trunk] is not wanted:
            self.trunks[trunk] = Trunk.TRYING

    def look(self) -> None:
        """Time passes by being looked at: no test waits for a clock."""
        for trunk, (wanted, left) in tuple(self._wanted.items()):
            if left == 1:
                self.trunks[trunk] = wanted
            self._wanted[trunk] = (wanted, left - 1)

    def disconnect(self) -> None:
        for writer in tuple(self._open):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self.quirk is Quirk.SILENT:
                while await reader.read(1024):
                    pass
                return
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("a protocol is needed")

    def _closes(self, after: bool) -> bool:
        """Whether it closes now, once."""
        if self.quirk is (Quirk.CLOSES_AFTER if after else Quirk.CLOSES):
            self.quirk = None
            return True
        return False


async def pieces(writer: asyncio.StreamWriter, text: str) -> None:
    """In parts that end in the middle of a line."""
    data = text.encode()
    for start in range(0, len(data), 37):
        writer.write(data[start : start + 37])
        await writer.drain()
        await asyncio.sleep(0)


class ManagerServer(CallServer):
    """Asterisk's."""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        banner = {Quirk.STRANGER: "SSH-2.0-OpenSSH_9.2", Quirk.OLD: "Asterisk Call Manager/2.10.6"}
        await pieces(writer, banner.get(self.quirk, "Asterisk Call Manager/9.0.0") + "\r\n")  # type: ignore[arg-type]
        if self.quirk is Quirk.STRANGER:
            return
        challenge, inside = "840415273", False
        while True:
            action = _fields((await reader.readuntil(b"\r\n\r\n")).decode())
            name, number = action["Action"], action["ActionID"]
            if name == "Challenge":
                await self._say(writer, number, f"Response: Success\r\nChallenge: {challenge}")
            elif name == "Login":
                key = hashlib.md5((challenge + SECRET).encode()).hexdigest()
                inside = action.get("Key") == key and self.quirk is not Quirk.REJECTS
                if not inside:
                    await self._say(writer, number, "Response: Error\r\nMessage: Authentication failed")
                    return
                self.logins += 1
                await self._say(writer, number, "Response: Success\r\nMessage: Authentication accepted")
                await pieces(
                    writer, "Event: FullyBooted\r\nPrivilege: system,all\r\nStatus: Fully Booted\r\n\r\n"
                )
            elif not inside:
                await self._say(writer, number, "Response: Error\r\nMessage: Permission denied")
            elif not await self._act(writer, name, number, action):
                return

    async def _say(self, writer: asyncio.StreamWriter, number: str, text: str) -> None:
        """With what others make it send at the same time in between."""
        head, _, rest = text.partition("\r\n")
        await pieces(
            writer,
            "Event: Registry\r\nChannelType: PJSIP\r\nStatus: Registered\r\n\r\n"
            "Event: ContactListComplete\r\nActionID: of-another\r\nEventList: Complete\r\n\r\n"
            f"{head}\r\nActionID: {number}\r\n" + (f"{rest}\r\n" if rest else "") + "\r\n",
        )

    async def _act(
        self, writer: asyncio.StreamWriter, name: str, number: str, action: dict[str, str]
    ) -> bool:
        """False: the connection ends here."""
        changes = name in (
            "PJSIPRegister",
            "PJSIPUnregister",
            "DBPut",
            "Command",
            "QueuePause",
            "PJSIPSetMaintenance",
        )
        if changes and not self.allowed:
            await self._say(writer, number, "Response: Error\r\nMessage: Permission denied")
            return True
        if name in ("PJSIPRegister", "PJSIPUnregister") and self._closes(after=False):
            return False
        match name:
            case "PJSIPShowRegistrationsOutbound":
                self.look()
                await self._registrations(writer, number)
            case "PJSIPRegister" | "PJSIPUnregister":
                trunk = action["Registration"]
                if trunk not in self.trunks:
                    await self._say(
                        writer, number, "Response: Error\r\nMessage: Unable to retrieve registration entry"
                    )
                elif trunk == "full":
                    await self._say(
                        writer, number, "Response: Success\r\nMessage: Failed to queue registration"
                    )
                else:
                    self.ask(trunk, Trunk.REGISTERED if name == "PJSIPRegister" else Trunk.WITHDRAWN)
                    if self._closes(after=True):
                        return False
                    await self._say(writer, number, "Response: Success\r\nMessage: Registration queued")
            case "DBGet" if f"{action['Family']}/{action['Key']}" not in self.store:
                await self._say(writer, number, "Response: Error\r\nMessage: Database entry not found")
            case "DBGet":
                value = self.store[f"{action['Family']}/{action['Key']}"]
                await self._list(writer, number, "DBGet", [f"Event: DBGetResponse\r\nVal: {value}"])
            case "DBPut":
                self.store[f"{action['Family']}/{action['Key']}"] = action["Val"]
                await self._say(writer, number, "Response: Success\r\nMessage: Updated database successfully")
            case "CoreStatus":
                await self._say(writer, number, f"Response: Success\r\nCoreCurrentCalls: {self.calls}")
            case "Command":
                return await self._command(writer, number, action["Command"])
            case "QueuePause":
                self.store["queue"] = json.dumps(action)
                await self._say(writer, number, "Response: Success\r\nMessage: Interface paused successfully")
            case "QueueSummary":
                available = 1 if "queue" in self.store else 2
                await self._list(
                    writer, number, name, [f"Event: QueueSummary\r\nQueue: sales\r\nAvailable: {available}"]
                )
            case "PJSIPSetMaintenance":
                self.store["maintenance"] = f"{action['Endpoint']} {action['State']}"
                await self._say(writer, number, "Response: Success\r\nMessage: Maintenance mode set")
            case _:
                await self._say(
                    writer, number, f"Response: Error\r\nMessage: Invalid/unknown command: {name}"
                )
        return True

    async def _registrations(self, writer: asyncio.StreamWriter, number: str) -> None:
        events = []
        for trunk, state in self.trunks.items():
            word = {
                Trunk.REGISTERED: "Registered",
                Trunk.WITHDRAWN: "Unregistered",
                Trunk.TRYING: "Rejected",
            }[state]
            due = 3590 if state is Trunk.REGISTERED or self.again_by_itself else 0
            events.append(
                f"Event: OutboundRegistrationDetail\r\nObjectName: {trunk}\r\nStatus: {word}\r\nNextReg: {due}"
            )
            events.append("Event: AuthDetail\r\nObjectName: auth\r\nPassword: a: b")
        await self._list(writer, number, "OutboundRegistrationDetail", events)

    async def _list(self, writer: asyncio.StreamWriter, number: str, name: str, events: list[str]) -> None:
        await self._say(
            writer, number, "Response: Success\r\nEventList: start\r\nMessage: Following are Events"
        )
        for event in events:
            await self._say(writer, number, event)
        await self._say(
            writer, number, f"Event: {name}Complete\r\nEventList: Complete\r\nListItems: {len(events)}"
        )

    async def _command(self, writer: asyncio.StreamWriter, number: str, line: str) -> bool:
        self.log.append(line)
        match line:
            case "core stop gracefully":
                # It waits in this very session: no answer before it is over or taken back.
                self.paused = True
                self.ended.clear()
                if self.calls:
                    await self.ended.wait()
                if self.paused:
                    assert self._server is not None
                    self._server.close()
                    self.disconnect()
                    return False
            case "core abort shutdown":
                self.paused = False
                self.ended.set()
            case _:
                await self._say(
                    writer,
                    number,
                    f"Response: Error\r\nMessage: Command output follows\r\nOutput: No such command '{line}'",
                )
                return True
        await self._say(writer, number, "Response: Success\r\nMessage: Command output follows\r\nOutput: ")
        return True


class SocketServer(CallServer):
    """FreeSWITCH's."""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.quirk is Quirk.STRANGER:
            await pieces(writer, "SSH-2.0-OpenSSH_9.2\n\n")
            return
        if self.quirk is Quirk.REJECTS:
            body = "Access Denied, go away.\n"
            await pieces(writer, f"Content-Type: text/rude-rejection\nContent-Length: {len(body)}\n\n{body}")
            return
        await pieces(writer, "Content-Type: auth/request\n\n")
        if (await self._line(reader)).split("\n")[0] != f"auth {SECRET}":
            await self._reply(writer, "-ERR invalid")
            await self._goodbye(writer)
            return
        self.logins += 1
        await self._reply(writer, "+OK accepted")
        while True:
            command, *headers = (await self._line(reader)).split("\n")
            if command.startswith("event "):
                await self._reply(writer, "+OK event listener enabled plain")
                continue
            given = dict(header.split(": ", 1) for header in headers)
            verb, _, api = command.partition(" ")
            assert verb == "bgapi", "a plain api would hold the socket"
            if api.startswith("sofia profile ") and self._closes(after=False):
                return
            said = await self._do(api)
            if said is None:
                await self._goodbye(writer)
                return
            if api.startswith("sofia profile ") and self._closes(after=True):
                return
            # Another's job, an event in between, and sometimes the result before the reply.
            await self._event(writer, "7f4db78a-17d7-11dd-b7a0-db4edd065621", "+OK of another\n")
            early = api.startswith("show ")
            if early:
                await self._event(writer, given["Job-UUID"], said)
            await self._reply(writer, f"+OK Job-UUID: {given['Job-UUID']}")
            if not early:
                await self._event(writer, given["Job-UUID"], said)

    async def _line(self, reader: asyncio.StreamReader) -> str:
        return (await reader.readuntil(b"\n\n")).decode().strip("\n")

    async def _reply(self, writer: asyncio.StreamWriter, text: str) -> None:
        await pieces(writer, f"Content-Type: command/reply\nReply-Text: {text}\n\n")

    async def _event(self, writer: asyncio.StreamWriter, job: str, result: str) -> None:
        """Its values are URL encoded and its lengths are octets, not characters."""
        inner = (
            f"Event-Name: BACKGROUND_JOB\nJob-UUID: {job}\nCore-Name: {quote('总机: 1')}\n"
            f"Content-Length: {len(result.encode())}\n\n{result}"
        )
        await pieces(
            writer, f"Content-Length: {len(inner.encode())}\nContent-Type: text/event-plain\n\n{inner}"
        )

    async def _goodbye(self, writer: asyncio.StreamWriter) -> None:
        body = "Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"
        await pieces(writer, f"Content-Type: text/disconnect-notice\nContent-Length: {len(body)}\n\n{body}")

    async def _do(self, api: str) -> str | None:
        """What it prints; None: the process has ended."""
        words = api.split()
        match words:
            case ["sofia", "status", "gateway", name]:
                self.look()
                if name not in self.trunks:
                    return "Invalid Gateway!\n"
                word = {Trunk.REGISTERED: "REGED", Trunk.WITHDRAWN: "NOREG", Trunk.TRYING: "TRYING"}
                return f"{'=' * 80}\nName    \t{name} 总\nState   \t{word[self.trunks[name]]}\nStatus  \tUP\n{'=' * 80}\n"
            case ["sofia", "profile", "external", _, _] if not self.allowed:
                return "-ERR permission denied\n"
            case ["sofia", "profile", "external", "register" | "unregister" as verb, name]:
                if name not in self.trunks:
                    return "Invalid gateway!\n"
                self.ask(name, Trunk.REGISTERED if verb == "register" else Trunk.WITHDRAWN)
                return "+OK\n"
            case ["sofia", "profile", "external", "killgw", name]:
                self.trunks.pop(name, None)
                return "+OK gateway marked for deletion.\n"
            case ["sofia", "profile", profile, *_]:
                return f"Invalid Profile [{profile}]\n"
            case ["db", what]:
                verb, realm, key, *value = what.split("/")
                if verb == "insert":
                    self.store[f"{realm}/{key}"] = value[0]
                    return "+OK\n"
                return self.store.get(f"{realm}/{key}", "")
            case ["show", "calls", "count"]:
                return f"\n{self.calls} total.\n"
            case ["fsctl", "pause_check", "inbound"]:
                return str(self.paused).lower()
            case ["fsctl", "pause" | "resume" as verb, "inbound"]:
                self.log.append(api)
                self.paused = verb == "pause"
                return "+OK\n"
            case ["fsctl", "recover"]:
                self.log.append(api)
                recovered, self.store["lost calls"] = self.store.get("lost calls", "0"), "0"
                return f"+OK recovered {recovered} call(s)\n"
            case ["fsctl", "shutdown", "asap"]:
                self.log.append(api)
                if self.calls:
                    await self.ended.wait()
                assert self._server is not None
                self._server.close()
                return None
        return "-USAGE: no such command\n"


def _fields(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.strip().split("\r\n"))


class ExchangeWorld:
    """Two call servers and the driver over them. `kind`: "asterisk" or "freeswitch"."""

    def __init__(self, kind: str, directory: Path, **changes: Any) -> None:
        self.kind = kind
        self.marks = Marks(directory)
        simulator = ManagerServer if kind == "asterisk" else SocketServer
        self.servers: dict[str, CallServer] = {
            side: simulator(port=free_port(socket.SOCK_STREAM), trunks=dict.fromkeys(TRUNKS, state))
            for side, state in (("primary", Trunk.REGISTERED), ("backup", Trunk.WITHDRAWN))
        }
        self.group: GroupPolicy = group_policy(edges=(), step_timeout=30.0)
        self.written = {
            "sides": {side: {**self.side(side), "fence": self.marks.fence(side)} for side in self.servers},
            "settle": 5.0,
            **changes,
        }
        self.driver = self.second()

    def side(self, side: str) -> dict[str, Any]:
        if self.kind == "asterisk":
            return {"manager": self.access(side), "trunks": list(TRUNKS)}
        gateways = [{"profile": "external", "gateway": name} for name in TRUNKS]
        return {"socket": self.access(side), "gateways": gateways}

    def access(self, side: str) -> dict[str, Any]:
        place = {"address": "127.0.0.1", "port": self.servers[side].port, "timeout": 1.0}
        if self.kind == "asterisk":
            return {**place, "user": "third-ring", "secret": SECRET}
        return {**place, "password": SECRET}

    def second(self) -> RoutedSwitch:
        if self.kind == "asterisk":
            return Asterisk(self.group, AsteriskParameters.model_validate(self.written))
        return Freeswitch(self.group, FreeswitchParameters.model_validate(self.written))

    def at(self) -> dict[str, set[Trunk]]:
        return {side: set(server.trunks.values()) for side, server in self.servers.items()}

    async def start(self) -> None:
        for server in self.servers.values():
            await server.start()

    async def close(self) -> None:
        await self.driver.close()
        for server in self.servers.values():
            server.ended.set()
            with contextlib.suppress(ConnectionError):
                await server.stop()
