"""The calls that are offered to each side, seen at the switch on one clock: whoever sends them, and whatever the side makes
of them.

    with Offered(lab.network) as offered:
        ...
    offered.calls(Host.PRIMARY, since=injected.applied_at)      # their Call-IDs

A side is known by its hardware address: the same measure for sides behind edges and for the holder of a virtual address.
"""

import threading
from collections.abc import Set
from types import TracebackType
from typing import Final, NamedTuple, Self

from lab.arrivals import FILTER, parse_invite
from lab.network import Network
from lab.tap import Tap
from lab.topology import EDGES, SIDES, Host, address

HEADERS: Final = 2048
"""Bytes of a frame that hold all headers of an INVITE."""

LOOK_EVERY_S: Final = 0.02


class Offer(NamedTuple):
    """An INVITE on its way to a side, at a second of the machine's monotonic clock."""

    at: float
    side: Host
    call_id: str


class Offered:
    """Captures while the context is open: what edges and callers send, not what a controller tries by itself."""

    def __init__(self, network: Network) -> None:
        self._offers: list[Offer] = []
        self._sides = {network.hardware_address(side): side for side in SIDES}
        self._sources = {address(host) for host in (*EDGES, Host.CALLER)}
        self._tap = Tap(network, FILTER)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="offered")

    def calls(self, side: Host, *, since: float, until: float = float("inf")) -> Set[str]:
        """The Call-IDs of the calls with an INVITE to this side in [since, until); one sent again counts once."""
        return {o.call_id for o in self._offers[:] if o.side is side and since <= o.at < until}

    def first(self, side: Host, *, since: float) -> float | None:
        """When this side was first offered a call."""
        return next((o.at for o in self._offers[:] if o.side is side and o.at >= since), None)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._tap.wait(LOOK_EVERY_S)
            self._drain()
        self._drain()

    def _drain(self) -> None:
        for at, frame in self._tap.frames(HEADERS):
            side = self._sides.get(frame[:6])
            invite = None if side is None else parse_invite(frame, at)
            if side is not None and invite is not None and invite.source in self._sources:
                self._offers.append(Offer(at, side, invite.call_id))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._tap.close()
