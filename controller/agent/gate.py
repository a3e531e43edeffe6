"""The kernel gate: an address's traffic passes only while an nftables element lives, and the element dies unaided.

Extending it is a compare-and-extend made by the kernel, in two stages, so that an agent that was frozen anywhere can't
revive what has run out:

1. a confirmed write elsewhere, asked for at time s;
2. `arm`: an element that lives 50 ms;
3. rem = s + D - now;
4. `extend`: one transaction deletes `armed`, deletes `held` and adds `held` for rem. Deleting what has died fails the
   whole transaction (ENOENT).

Frozen before 3, rem is shorter by as much; frozen between 3 and 4, `armed` is dead after 50 ms. So whatever happens the
gate is closed by s + D + 50 ms. Never by a bare `add`: with the same time it does not extend an element that lives, and
with another one it does since Linux 6.12 (measured on 6.18), whether the element was alive or not.
The chains stand at netdev ingress and egress, before and after everything else on the host that could see a packet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from controller.agent.nftables import Nftables, NftError
from controller.model.errors import ThirdRingError

Address = IPv4Address | IPv6Address

ARMED: Final = 0.050
"""Seconds that stage one lives."""

TABLE: Final = "thirdring"


class GateError(ThirdRingError):
    """The gate could not be changed; it is as it was, and goes on running out."""


class FrozenTooLong(GateError):
    """`armed` had died: more than 50 ms passed between the two stages."""


class HoldExpired(GateError):
    """`held` had died, or no time was left to extend it by: the hold ended and must be taken afresh."""


class TableMissing(GateError):
    """Somebody removed the table: the gate stands open, and only the address's lifetime is left."""


class TableChanged(GateError):
    """Somebody changed the table's sets, chains or rules."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Guarded:
    """An address, and the one interface it may live on."""

    address: Address
    device: str


class Gate:
    """One table for all addresses of the host. Not thread-safe; a call takes some tenths of a millisecond."""

    def __init__(self, nftables: Nftables, guarded: Sequence[Guarded], *, table: str = TABLE) -> None:
        self.guarded = tuple(guarded)
        self.table = table
        self._nft = nftables
        self._structure = ""

    def make(self) -> None:
        """The whole table in one transaction, in place of any older one: there is no instant without it, and every
        address is closed in it. Raises GateError."""
        try:
            self._nft.run(ruleset(self.guarded, self.table))
            self._structure = self._nft.structure(f"netdev {self.table}")
        except NftError as error:
            raise GateError(f"the gate can't be made: {error}") from error

    def arm(self, addresses: Iterable[Address]) -> None:
        """Stage one. Raises TableMissing, GateError."""
        self._run(
            [
                f"add element {self._set('armed', kind)} {{ {key} timeout {ARMED * 1000:.0f}ms }}"
                for kind, key in keys(addresses)
            ]
        )

    def extend(self, addresses: Iterable[Address], seconds: float, *, first: bool = False) -> None:
        """Stage two: `seconds` from now. `first`: nothing is held, so nothing is deleted from `held`.

        Raises FrozenTooLong, HoldExpired, TableMissing, GateError.
        """
        milliseconds = int(seconds * 1000)
        if milliseconds < 1:
            raise HoldExpired("no time is left to extend the hold by")
        pairs = keys(addresses)
        stages = ("armed",) if first else ("armed", "held")
        deleted = [
            f"delete element {self._set(stage, kind)} {{ {key} }}" for stage in stages for kind, key in pairs
        ]
        added = [
            f"add element {self._set('held', kind)} {{ {key} timeout {milliseconds}ms }}"
            for kind, key in pairs
        ]
        self._run(deleted + added)

    def shut(self, addresses: Iterable[Address]) -> None:
        """Close now, whatever lives in it. Raises TableMissing, GateError."""
        # Adding what is there changes nothing, so that the deletion always finds something.
        self._run(
            [
                command
                for kind, key in keys(addresses)
                for name in (self._set("armed", kind), self._set("held", kind))
                for command in (
                    f"add element {name} {{ {key} timeout 1s }}",
                    f"delete element {name} {{ {key} }}",
                )
            ]
        )

    def verify(self) -> None:
        """That the table is what `make` made. Raises TableMissing, TableChanged."""
        try:
            found = self._nft.structure(f"netdev {self.table}")
        except NftError as error:
            raise TableMissing(f"table netdev {self.table}: {error}") from error
        if found != self._structure:
            raise TableChanged(f"table netdev {self.table} is not as it was made")

    def remove(self) -> None:
        """Only where no address is left to guard. Raises GateError."""
        try:
            self._nft.run(f"add table netdev {self.table}\ndelete table netdev {self.table}\n")
        except NftError as error:
            raise GateError(f"table netdev {self.table}: {error}") from error

    def _set(self, stage: str, kind: str) -> str:
        return f"netdev {self.table} {stage}_{kind}"

    def _run(self, commands: Sequence[str]) -> None:
        try:
            self._nft.transaction(commands)
        except NftError as error:
            raise self._named(error) from error

    def _named(self, error: NftError) -> GateError:
        if not error.missing:
            return GateError(str(error))
        try:
            self._nft.structure(f"netdev {self.table}")
        except NftError as gone:
            return TableMissing(f"table netdev {self.table}: {gone}")
        for command in error.commands:
            if command.startswith(f"delete element netdev {self.table} armed_"):
                return FrozenTooLong(f"more than {ARMED * 1000:.0f} ms passed between the two stages")
            if command.startswith(f"delete element netdev {self.table} held_"):
                return HoldExpired("the hold had run out")
        return TableChanged(str(error))


def keys(addresses: Iterable[Address]) -> tuple[tuple[str, str], ...]:
    """(set, element) of each address: an IPv6 address is a second time an element as neighbour discovery's target."""
    pairs: list[tuple[str, str]] = []
    for address in addresses:
        if isinstance(address, IPv4Address):
            pairs.append(("ip4", str(address)))
        else:
            pairs += [("ip6", str(address)), ("nd", f"{int(address):#034x}")]
    return tuple(pairs)


def ruleset(guarded: Sequence[Guarded], table: str) -> str:
    """The table as a script for nft. Raises ValueError for a device that can't be quoted."""
    sets = "".join(
        f"  set {stage}_{kind} {{ {declared}; flags timeout; }}\n"
        for kind, declared in (
            ("ip4", "type ipv4_addr"),
            ("ip6", "type ipv6_addr"),
            # RFC 4861 4.3 and 4.4: the target follows 8 octets of ICMPv6. The library gained a name for it in 1.0.8.
            ("nd", "typeof @th,64,128"),
        )
        for stage in ("armed", "held")
    )
    chains = ""
    for number, device in enumerate(sorted({one.device for one in guarded})):
        if not device or any(letter in '"\n\\' for letter in device):
            raise ValueError(f"{device!r} is no interface name")
        inside = [one.address for one in guarded if one.device == device]
        for hook, rules in (("ingress", _ingress), ("egress", _egress)):
            lines = "".join(f"    {rule} drop\n" for address in inside for rule in rules(address))
            chains += (
                f"  chain {hook}_{number} {{\n"
                f'    type filter hook {hook} device "{device}" priority -500; policy accept;\n{lines}  }}\n'
            )
    return (
        f"add table netdev {table}\ndelete table netdev {table}\ntable netdev {table} {{\n{sets}{chains}}}\n"
    )


def _ingress(address: Address) -> Sequence[str]:
    if isinstance(address, IPv4Address):
        return (
            f"ip daddr {address} ip daddr != @held_ip4",
            f"arp daddr ip {address} arp daddr ip != @held_ip4",
        )
    target = f"@th,64,128 {int(address):#034x} @th,64,128 != @held_nd"
    return (
        f"ip6 daddr {address} ip6 daddr != @held_ip6",
        f"icmpv6 type nd-neighbor-solicit {target}",
    )


def _egress(address: Address) -> Sequence[str]:
    if isinstance(address, IPv4Address):
        return (
            f"ip saddr {address} ip saddr != @held_ip4",
            f"arp saddr ip {address} arp saddr ip != @held_ip4",
        )
    target = f"@th,64,128 {int(address):#034x} @th,64,128 != @held_nd"
    return (
        f"ip6 saddr {address} ip6 saddr != @held_ip6",
        f"icmpv6 type nd-neighbor-advert {target}",
    )
