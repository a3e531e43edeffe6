"""Who answers as the virtual address, seen at the switch on one clock: by the source hardware address of every frame.

    with Holders(lab) as seen:
        ...
    seen.both()                     # must be empty: moments at which two hosts answered
    seen.last(Host.PRIMARY)         # when its last frame was captured

Both hosts are asked by ARP, each at its own hardware address, every few milliseconds: a holder is seen also while nobody
sends it calls.
"""

import socket
import struct
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NamedTuple, Self

from lab.laboratory import Lab
from lab.tap import Tap
from lab.topology import SIDES, VIP, Host

ETH_P_IP: Final = 0x0800
ETH_P_ARP: Final = 0x0806
ASK_EVERY_S: Final = 0.005
TOGETHER_S: Final = 0.5
"""An address that comes back to a host sooner than this after another had it was never away: no switch is that quick."""


class Seen(NamedTuple):
    """A frame from the virtual address, at a second of the machine's monotonic clock."""

    at: float
    host: Host


@dataclass(frozen=True, kw_only=True)
class Both:
    """`newer` answered at `since`; `older`, which had answered before, still did at `until`."""

    older: Host
    newer: Host
    since: float
    until: float


class Holders:
    """Captures while the context is open."""

    def __init__(self, lab: Lab) -> None:
        self._frames: list[Seen] = []
        self._hosts = {lab.network.hardware_address(side): side for side in SIDES}
        self._tap = Tap(lab.network)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="holders")

    def frames(self, since: float = 0.0, until: float = float("inf")) -> list[Seen]:
        """In the order of their arrival."""
        return [frame for frame in self._frames[:] if since <= frame.at < until]

    def last(self, host: Host, *, until: float = float("inf")) -> float | None:
        """When this host's last frame came."""
        return next((f.at for f in reversed(self._frames[:]) if f.host is host and f.at < until), None)

    def first(self, host: Host, *, since: float) -> float | None:
        return next((f.at for f in self._frames[:] if f.host is host and f.at >= since), None)

    def both(self, since: float = 0.0, until: float = float("inf")) -> list[Both]:
        """Where a host answered although another had begun to."""
        found = []
        newest: dict[Host, float] = {}
        began: dict[Host, float] = {}
        current: Host | None = None
        for frame in self.frames(since, until):
            if frame.host is not current:
                came = began.get(current) if current is not None else None
                left = newest.get(frame.host)
                if (
                    current is not None
                    and came is not None
                    and left is not None
                    and frame.at - left < TOGETHER_S
                ):
                    found.append(Both(older=frame.host, newer=current, since=came, until=frame.at))
                current = frame.host
                began[current] = frame.at
            newest[frame.host] = frame.at
        return found

    def both_s(self, since: float = 0.0, until: float = float("inf")) -> float:
        """Seconds from the first to the last moment at which two hosts answered."""
        found = self.both(since, until)
        return found[-1].until - found[0].since if found else 0.0

    def silence_s(self, since: float, until: float) -> float:
        """The longest time without a frame from any holder."""
        times = [since, *(frame.at for frame in self.frames(since, until)), until]
        return max(after - before for before, after in zip(times, times[1:], strict=False))

    def _run(self) -> None:
        own = self._tap.hardware_address
        address = socket.inet_aton(VIP)
        # A probe for the address (RFC 5227): nobody learns anything from its sender, 0.0.0.0.
        asked = struct.pack("!HHBBH6s4s6s4s", 1, ETH_P_IP, 6, 4, 1, own, bytes(4), bytes(6), address)
        questions = [mac + own + struct.pack("!H", ETH_P_ARP) + asked for mac in self._hosts]
        due = time.monotonic()
        while not self._stop.is_set():
            if (now := time.monotonic()) >= due:
                for question in questions:
                    self._tap.send(question)
                due = max(due + ASK_EVERY_S, now)
            self._tap.wait(due - time.monotonic())
            self._drain(address)

    def _drain(self, address: bytes) -> None:
        for at, frame in self._tap.frames(64):
            host = self._hosts.get(frame[6:12])
            if host is None:
                continue
            kind = int.from_bytes(frame[12:14])
            source = frame[26:30] if kind == ETH_P_IP else frame[28:32] if kind == ETH_P_ARP else b""
            if source == address:
                self._frames.append(Seen(at, host))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._tap.close()
