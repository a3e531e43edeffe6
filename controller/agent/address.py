"""The second lock: the address itself, with a lifetime that the kernel counts down.

`ip address replace ADDRESS/32 valid_lft 2 preferred_lft 2` (IPv6: /128, preferred_lft 0): in whole seconds, and gone 2.0 to
2.4 s after the last one. Alone it is no fence (a replace that was queued before a freeze puts the address back after it),
so it is refreshed only after the gate was extended. What it bounds is a table that somebody flushed on a host whose agent is frozen.
"""

from __future__ import annotations

import errno
from ipaddress import IPv4Address
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_NODAD, IFA_F_NOPREFIXROUTE

from controller.agent.gate import Address, Guarded
from controller.model.errors import ThirdRingError

LIFETIME: Final = 2
"""Seconds. One is gone after 1.01 to 1.30 s, which a round that waits for an election would not outlive."""


class AddressError(ThirdRingError):
    """The kernel refused to add or remove it, or there is no such interface."""


class Addresses:
    """The addresses of one host, through one netlink socket. `open` belongs to the running loop."""

    def __init__(self) -> None:
        self._route: AsyncIPRoute | None = None

    async def open(self) -> None:
        self._route = AsyncIPRoute()
        await self._route.setup_endpoint()

    async def refresh(self, guarded: Guarded) -> None:
        """Add it, or start its lifetime again. Idempotent. Raises AddressError."""
        lifetimes = {"ifa_preferred": LIFETIME, "ifa_valid": LIFETIME}
        extra: dict[str, Any] = {}
        if guarded.address.version == 6:
            # Deprecated from the start (RFC 4862 5.5.4): it answers, and what the host itself begins does not leave from
            # it. By the longest match (RFC 6724 5) even the heartbeats would, and end with the address.
            lifetimes["ifa_preferred"] = 0
            # Who may have it was settled elsewhere: duplicate detection would announce it, and wait a second.
            extra["IFA_FLAGS"] = IFA_F_NODAD | IFA_F_NOPREFIXROUTE
        await self._do("replace", guarded, IFA_CACHEINFO=lifetimes, **extra)

    async def remove(self, guarded: Guarded) -> None:
        """Idempotent. Raises AddressError."""
        try:
            await self._do("del", guarded)
        except AddressError as error:
            cause = error.__cause__
            if not isinstance(cause, NetlinkError) or cause.code != errno.EADDRNOTAVAIL:
                raise

    async def present(self, guarded: Guarded) -> bool:
        """Whether the interface has it now. Raises AddressError."""
        route = self._opened()
        index = await self._index(guarded.device)
        try:
            return any(
                [
                    message.get_attr("IFA_ADDRESS") == str(guarded.address)
                    async for message in await route.get_addr(index=index)
                ]
            )
        except NetlinkError as error:
            raise AddressError(f"{guarded.address} at {guarded.device}: {error}") from error

    async def close(self) -> None:
        route, self._route = self._route, None
        if route is not None:
            route.close()

    def _opened(self) -> AsyncIPRoute:
        if self._route is None:
            raise AddressError("the netlink socket is not open")
        return self._route

    async def _index(self, device: str) -> int:
        """Asked each time: an interface that was taken out and put back has another."""
        found = await self._opened().link_lookup(ifname=device)
        if not found:
            raise AddressError(f"there is no interface {device}")
        return int(found[0])

    async def _do(self, verb: str, guarded: Guarded, **attributes: Any) -> None:
        index = await self._index(guarded.device)
        try:
            await self._opened().addr(
                verb,
                index=index,
                address=str(guarded.address),
                prefixlen=host_prefix(guarded.address),
                **attributes,
            )
        except NetlinkError as error:
            raise AddressError(f"{guarded.address} at {guarded.device}: {error}") from error


def host_prefix(address: Address) -> int:
    return 32 if isinstance(address, IPv4Address) else 128
