"""One FreeSWITCH as a side: its gateways' registrations, its calls, its pause."""

from __future__ import annotations

import re
from collections.abc import Iterable

from controller.actions.freeswitch.parameters import GatewayParameters, SocketParameters
from controller.actions.freeswitch.session import Switch
from controller.actions.points import Nonsense
from controller.actions.trunks import ExchangeView, TrunkState
from controller.model.errors import ActionRefused

REALM = "thirdring"
"""Of mod_db, which survives a restart. Nothing there compares: the epoch is for all to see."""

STATE = re.compile(r"^State\s+(\S+)", re.MULTILINE)
TOTAL = re.compile(r"^(\d+) total\.", re.MULTILINE)
RECOVERED = re.compile(r"recovered (\d+) call", re.IGNORECASE)


class FreeswitchExchange:
    """trunks.Exchange. `group`: the key under which the epoch is kept."""

    def __init__(
        self, parameters: SocketParameters, gateways: Iterable[GatewayParameters], group: str
    ) -> None:
        self.switch = Switch(parameters)
        self._profiles = {gateway.gateway: gateway.profile for gateway in gateways}
        self._key = re.sub(r"[\s/]", "_", group)

    async def look(self) -> ExchangeView:
        trunks = {
            name: _state(await self.switch.read(f"sofia status gateway {name}")) for name in self._profiles
        }
        return ExchangeView(trunks=trunks, epoch=await self._epoch(), paused=await self.paused())

    async def register(self, trunk: str) -> None:
        await self.switch.change(f"sofia profile {self._profiles[trunk]} register {trunk}")

    async def unregister(self, trunk: str) -> None:
        await self.switch.change(f"sofia profile {self._profiles[trunk]} unregister {trunk}")

    async def record(self, epoch: int) -> None:
        await self.switch.change(f"db insert/{REALM}/{self._key}/{epoch}")

    async def calls(self) -> int:
        said = await self.switch.read("show calls count")
        found = TOTAL.search(said)
        if found is None:
            raise Nonsense(f"show calls count printed {said!r:.80}")
        return int(found[1])

    async def paused(self) -> bool:
        said = (await self.switch.read("fsctl pause_check inbound")).strip()
        if said not in ("true", "false"):
            raise Nonsense(f"fsctl pause_check printed {said!r:.80}")
        return said == "true"

    async def pause(self) -> None:
        """Raises ActionRefused when it does not show afterwards."""
        await self._set_pause("pause", wanted=True)

    async def resume(self) -> None:
        await self._set_pause("resume", wanted=False)

    async def recover(self) -> int:
        """How many calls came back; a second time there are none left to."""
        said = await self.switch.change("fsctl recover")
        found = RECOVERED.search(said)
        return int(found[1]) if found else 0

    async def close(self) -> None:
        await self.switch.close()

    async def _set_pause(self, verb: str, *, wanted: bool) -> None:
        await self.switch.change(f"fsctl {verb} inbound")
        if await self.paused() is not wanted:
            raise ActionRefused(f"fsctl {verb} inbound had no effect")

    async def _epoch(self) -> int:
        said = (await self.switch.read(f"db select/{REALM}/{self._key}")).strip()
        if said in ("", "-ERR no reply", "_undef_"):
            return 0
        if not said.isdigit():
            raise Nonsense(f"{REALM}/{self._key} holds {said!r:.40}, which is no epoch")
        return int(said)


def _state(said: str) -> tuple[TrunkState, str]:
    """`sofia status gateway NAME`. NOREG: neither registered nor going to be, what an unregistration ends in."""
    if said.strip().lower().startswith("invalid gateway"):
        return TrunkState.UNKNOWN_NAME, "unknown"
    found = STATE.search(said)
    if found is None:
        raise Nonsense(f"sofia status gateway printed {said!r:.80}")
    match found[1]:
        case "REGED":
            return TrunkState.REGISTERED, found[1]
        case "NOREG":
            return TrunkState.WITHDRAWN, found[1]
    return TrunkState.TRYING, found[1]
