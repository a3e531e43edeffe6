"""Proves, on this kernel and before anything is held, that the gate does what the protocol rests on.

In a network namespace of its own, on a pair of linked interfaces: a closed gate drops ARP, neighbour discovery and
packets both ways; an open one passes them; it closes by itself; extending fails once `held` or `armed` has died. Then on
each real interface that what leaves it passes the gate: with an address from the ranges for documentation (RFC 5737,
RFC 3849), in frames that are addressed to the interface itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_NODAD

from controller.agent.announce import hardware_address, link_socket
from controller.agent.frames import arp_request, echo_request, solicitation, source_of
from controller.agent.gate import ARMED, Address, FrozenTooLong, Gate, GateError, Guarded, HoldExpired
from controller.agent.nftables import Nftables, NftError
from controller.model.errors import ThirdRingError

GATED4: Final = IPv4Address("192.0.2.113")
GATED6: Final = IPv6Address("2001:db8:3::113")
CONTROL: Final = IPv4Address("192.0.2.115")  # not gated: what was sent before it has arrived, or was dropped
CALLER4: Final = IPv4Address("192.0.2.114")
CALLER6: Final = IPv6Address("2001:db8:3::114")
GATED: Final[tuple[Address, ...]] = (GATED4, GATED6)

HOLD: Final = 0.300
SLACK: Final = 0.050
"""Seconds that the kernel may be late with closing; it was 2 to 4 ms early when measured."""

_ALL_PROTOCOLS: Final = 3
_LINK_UP_TIMEOUT: Final = 2.0
_TABLE: Final = "thirdring_selftest"
_CLONE_NEWNET: Final = 0x40000000


class SelfTestFailed(ThirdRingError):
    """This host can't fence itself, so it must not hold an address. Says what failed."""


async def self_test(devices: Iterable[str]) -> None:
    """Takes about 0.6 s, in a thread. Raises SelfTestFailed."""
    wanted = tuple(sorted(set(devices)))
    finished = asyncio.Event()
    loop = asyncio.get_running_loop()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for device in wanted:
                _try_egress(device)
            _in_own_namespace()
        except (ThirdRingError, OSError, NetlinkError) as error:
            failures.append(error)
        except BaseException as error:
            failures.append(error)
            raise
        finally:
            loop.call_soon_threadsafe(finished.set)

    # A thread of its own, ended afterwards: the namespace it moves to is gone with it.
    threading.Thread(target=work, name="selftest", daemon=True).start()
    await finished.wait()
    if failures:
        raise SelfTestFailed(str(failures[0]) or type(failures[0]).__name__) from failures[0]


def _in_own_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise SelfTestFailed(f"no network namespace of its own: {os.strerror(number)}")
    with contextlib.closing(Nftables()) as nft, IPRoute() as route:
        peer = _wire(route)
        gate = Gate(nft, [Guarded(address=address, device="gate") for address in GATED], table=_TABLE)
        gate.make()
        with contextlib.closing(peer):
            _check_expiry(gate, peer)
            _check_refusals(gate)


def _wire(route: IPRoute) -> socket.socket:
    """gate === peer. Returns a socket that hears and speaks at the peer's end."""
    route.link("add", ifname="gate", kind="veth", peer="peer")
    gate, peer = (route.link_lookup(ifname=name)[0] for name in ("gate", "peer"))
    for index in (gate, peer):
        route.link("set", index=index, state="up")
    for address, length in ((GATED4, 24), (CONTROL, 24)):
        route.addr("replace", index=gate, address=str(address), prefixlen=length)
    route.addr("replace", index=gate, address=str(GATED6), prefixlen=64, IFA_FLAGS=IFA_F_NODAD)
    link = link_socket("peer", _ALL_PROTOCOLS)
    mac = hardware_address(link)
    for caller in (CALLER4, CALLER6):
        route.neigh("replace", dst=str(caller), lladdr=mac.hex(":"), ifindex=gate, state="permanent")
    return link


class _Caller:
    """At the peer's end: asks everything of the gated addresses and says which answers came."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._mac = hardware_address(peer)
        with contextlib.closing(link_socket("gate")) as gate:
            self._gate = hardware_address(gate)
        self._number = 0

    def answered(self) -> frozenset[Address]:
        """Raises SelfTestFailed when even the address without a gate says nothing."""
        questions = (
            arp_request(self._mac, CALLER4, GATED4),
            echo_request(self._mac, self._gate, CALLER4, GATED4, 1),
            solicitation(self._mac, CALLER6, GATED6),
            echo_request(self._mac, self._gate, CALLER6, GATED6, 1),
        )
        self._drain()
        for question in questions:
            self._peer.send(question)
        _speak(GATED4, CALLER4)
        _speak(GATED6, CALLER6)
        self._peer.send(echo_request(self._mac, self._gate, CALLER4, CONTROL, 1))
        heard: set[Address] = set()
        deadline = time.monotonic() + _LINK_UP_TIMEOUT
        while CONTROL not in heard:
            if not select.select([self._peer], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise SelfTestFailed("nothing passes between two linked interfaces")
            heard |= self._drain()
        return frozenset(heard - {CONTROL})

    def _drain(self) -> set[Address]:
        """Who has spoken since. What we sent ourselves is not heard by the socket that sent it."""
        found: set[Address] = set()
        while True:
            try:
                frame = self._peer.recv(2048)
            except BlockingIOError:
                return found
            source = source_of(frame)
            if frame[6:12] == self._gate and source in (*GATED, CONTROL):
                found.add(source)


def _speak(sender: Address, to: Address) -> None:
    """A datagram from a gated address; that it is dropped on its way out may be said or not."""
    family = socket.AF_INET if sender.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as speaker:
        speaker.bind((str(sender), 0))
        with contextlib.suppress(OSError):
            speaker.sendto(b"third ring", (str(to), 9))


def _check_expiry(gate: Gate, peer: socket.socket) -> None:
    caller = _Caller(peer)
    if passed := caller.answered():
        raise SelfTestFailed(f"a closed gate let {_named(passed)} pass")
    gate.arm(GATED)
    gate.extend(GATED, HOLD, first=True)
    since = time.monotonic()
    heard = caller.answered()
    took = time.monotonic() - since
    if took < HOLD - SLACK and heard != frozenset(GATED):
        raise SelfTestFailed(f"an open gate let only {_named(heard) or 'nothing'} pass")
    if took < HOLD - SLACK:
        gate.arm(GATED)
        gate.extend(GATED, HOLD)
        since = time.monotonic()
    time.sleep(max(0.0, since + HOLD + SLACK - time.monotonic()))
    if passed := caller.answered():
        raise SelfTestFailed(f"a gate that had run out let {_named(passed)} pass")


def _check_refusals(gate: Gate) -> None:
    gate.arm(GATED)
    _must_refuse(HoldExpired, lambda: gate.extend(GATED, HOLD), "a hold that had run out was extended")
    gate.arm(GATED)
    time.sleep(ARMED + SLACK)
    _must_refuse(
        FrozenTooLong,
        lambda: gate.extend(GATED, HOLD, first=True),
        "an extension that came too late was accepted",
    )


def _must_refuse(expected: type[GateError], attempt: Callable[[], None], otherwise: str) -> None:
    try:
        attempt()
    except expected:
        return
    except GateError as error:
        # The name of the refusal is part of the protocol, except that a slow machine may lose `armed` as well.
        if not isinstance(error, FrozenTooLong):
            raise
        return
    raise SelfTestFailed(otherwise)


def _try_egress(device: str) -> None:
    """On the real interface: nothing from a gated address leaves it, and it does once the gate is open."""
    try:
        with (
            contextlib.closing(Nftables()) as nft,
            contextlib.closing(link_socket(device)) as sender,
            contextlib.closing(link_socket(device, _ALL_PROTOCOLS)) as witness,
        ):
            gate = Gate(nft, [Guarded(address=address, device=device) for address in GATED], table=_TABLE)
            gate.make()
            try:
                if passed := _left(sender, witness):
                    raise SelfTestFailed(f"{device}: a closed gate let {_named(passed)} out")
                gate.arm(GATED)
                gate.extend(GATED, 1.0, first=True)
                if _left(sender, witness) != frozenset(GATED):
                    raise SelfTestFailed(f"{device}: nothing leaves through an open gate")
            finally:
                gate.remove()
    except (OSError, NftError) as error:
        raise SelfTestFailed(f"{device}: {error}") from error


def _left(sender: socket.socket, witness: socket.socket) -> frozenset[Address]:
    """Which gated addresses' frames went out. A frame that was let through is seen before `send` returns."""
    mac = hardware_address(sender)
    frames = (
        arp_request(mac, GATED4, CALLER4),
        echo_request(mac, mac, GATED4, CALLER4, 1),
        echo_request(mac, mac, GATED6, CALLER6, 1),
    )
    for frame in frames:
        to_itself = mac + frame[6:]
        with contextlib.suppress(OSError):
            sender.send(to_itself)
    found: set[Address] = set()
    while True:
        try:
            seen, (_, _, direction, *_) = witness.recvfrom(2048)
        except BlockingIOError:
            return frozenset(found)
        source = source_of(seen)
        if direction == socket.PACKET_OUTGOING and source in GATED:
            found.add(source)


def _named(addresses: Iterable[Address]) -> str:
    return ", ".join(sorted(str(ip_address(address)) for address in addresses))
