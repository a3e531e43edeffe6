"""One Asterisk as a side: its outbound registrations, its channels, its graceful stop."""

from __future__ import annotations

from controller.actions.asterisk.ami import Message
from controller.actions.asterisk.parameters import ManagerParameters
from controller.actions.asterisk.session import Manager, number
from controller.actions.points import Nonsense
from controller.actions.trunks import ExchangeView, TrunkState
from controller.model.errors import ActionError, ActionRefused, ActionUnknown

FAMILY = "thirdring"
"""Of Asterisk's own database, which survives a restart. Nothing there compares: the epoch is for all to see."""


class AsteriskExchange:
    """trunks.Exchange. `group`: the key under which the epoch is kept."""

    def __init__(self, parameters: ManagerParameters, trunks: tuple[str, ...], group: str) -> None:
        self.manager = Manager(parameters)
        self._trunks = trunks
        self._group = group

    async def look(self) -> ExchangeView:
        events = await self.manager.read("PJSIPShowRegistrationsOutbound", listed=True)
        shown = {
            event.get("ObjectName"): event
            for event in events
            if event.get("Event") == "OutboundRegistrationDetail"
        }
        trunks = {
            name: _state(shown[name]) if name in shown else (TrunkState.UNKNOWN_NAME, "unknown")
            for name in self._trunks
        }
        return ExchangeView(trunks=trunks, epoch=await self._epoch(), paused=None)

    async def register(self, trunk: str) -> None:
        await self._queue("PJSIPRegister", trunk)

    async def unregister(self, trunk: str) -> None:
        await self._queue("PJSIPUnregister", trunk)

    async def record(self, epoch: int) -> None:
        await self.manager.change("DBPut", ("Family", FAMILY), ("Key", self._group), ("Val", str(epoch)))

    async def calls(self) -> int:
        """Channels: none when there is no call, and then only."""
        (status,) = await self.manager.read("CoreStatus")
        return number(status, "CoreCurrentCalls")

    async def pause(self) -> None:
        """A graceful stop. The command answers only when it is over or taken back: no answer means under way, and one
        that is refused says so at once."""
        try:
            await self._command("core stop gracefully")
        except ActionUnknown:
            return

    async def resume(self) -> None:
        """Any graceful stop, another controller's too; nothing happens where there is none."""
        await self._command("core abort shutdown")

    async def close(self) -> None:
        await self.manager.close()

    async def _command(self, line: str) -> Message:
        answer = await self.manager.change("Command", ("Command", line))
        said = " ".join(answer.all("Output"))
        if said.startswith("No such command"):
            raise ActionRefused(f"{line}: {said:.120}")
        return answer

    async def _queue(self, action: str, trunk: str) -> None:
        """An order that could not be queued is reported as a success, in words."""
        answer = await self.manager.change(action, ("Registration", trunk))
        if answer.get("Message").lower().startswith("failed"):
            raise ActionError(f"{action} {trunk}: {answer.get('Message')}")

    async def _epoch(self) -> int:
        """Comes in an event after the response; a key that was never written is an error."""
        try:
            events = await self.manager.read("DBGet", ("Family", FAMILY), ("Key", self._group), listed=True)
        except ActionRefused as error:
            if "not found" in str(error).lower():
                return 0
            raise
        value = next((event.get("Val") for event in events if event.get("Event") == "DBGetResponse"), "")
        if not value.isdigit():
            raise Nonsense(f"{FAMILY}/{self._group} holds {value!r:.40}, which is no epoch")
        return int(value)


def _state(event: Message) -> tuple[TrunkState, str]:
    """Unregistered with a next registration due will register again by itself, as older versions do: that is no end."""
    status = event.get("Status")
    due = event.get("NextReg", "0")
    match status:
        case "Registered":
            return TrunkState.REGISTERED, status
        case "Unregistered" | "Stopped" if due in ("", "0"):
            return TrunkState.WITHDRAWN, status
        case "Unregistered" | "Stopped":
            return TrunkState.TRYING, f"{status}, again in {due} s"
    return TrunkState.TRYING, status or "without a status"
