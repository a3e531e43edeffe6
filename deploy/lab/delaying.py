"""The process behind `lab.jitter`: stands in for a switch port and hands each frame to its host a little later.

    python -m lab.delaying PORT MILLISECONDS

In the switch's namespace: a tap device takes the port's place on the bridge, and every frame for the host waits a random
time of at most so many milliseconds, so that frames also overtake each other. What the host sends goes on at once. Says
"ready" when the port is replaced; the tap goes with the process. By hand, as the kernel may lack netem.
"""

import fcntl
import heapq
import os
import random
import select
import socket
import struct
import sys
import time
from typing import Final

from lab.network import command

TUNSETIFF: Final = 0x400454CA
IFF_TAP: Final = 0x0002
IFF_NO_PI: Final = 0x1000
ETH_P_ALL: Final = 0x0003
PACKET_OUTGOING: Final = 4
LARGEST: Final = 65536
MOST_AT_ONCE: Final = 64
"""Frames of one direction before the other one is looked at."""


def tap_name(port: str) -> str:
    return f"j-{port}"


def main() -> None:
    port, most = sys.argv[1], float(sys.argv[2]) / 1000
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", tap_name(port).encode(), IFF_TAP | IFF_NO_PI))
    host = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    host.bind((port, ETH_P_ALL))
    host.setblocking(False)
    command(
        ["ip", "-batch", "-"], stdin=f"link set {port} nomaster\nlink set {tap_name(port)} master br0 up\n"
    )
    print("ready", flush=True)
    relay(tap, host, most)


def relay(tap: int, host: socket.socket, most: float) -> None:
    """Until killed. `most`: seconds."""
    waiting: list[tuple[float, int, bytes]] = []
    number = 0
    while True:
        left = None if not waiting else max(0.0, waiting[0][0] - time.monotonic())
        ready, _, _ = select.select([tap, host], [], [], left)
        if host in ready:
            _pass_on(tap, host)
        if tap in ready:
            for _ in range(MOST_AT_ONCE):
                try:
                    frame = os.read(tap, LARGEST)
                except BlockingIOError:
                    break
                number += 1
                heapq.heappush(waiting, (time.monotonic() + random.uniform(0.0, most), number, frame))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            frame = heapq.heappop(waiting)[2]
            try:
                host.send(frame)
            except OSError:
                continue  # the port is down: lost, as it would be


def _pass_on(tap: int, host: socket.socket) -> None:
    """What the host sends."""
    for _ in range(MOST_AT_ONCE):
        try:
            frame, source = host.recvfrom(LARGEST)
        except OSError:
            return  # nothing more, or the port is down
        if source[2] == PACKET_OUTGOING:
            continue
        try:
            os.write(tap, frame)
        except OSError:
            continue  # the tap is not up yet, or its queue is full


if __name__ == "__main__":
    main()
