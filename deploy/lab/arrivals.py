"""The INVITEs that reach the agents' host, seen on the wire: which side sent each, and how old it was.

Runs as a process on that host (`python -m lab.arrivals FILE`) and writes one JSON object a line. It reads packets, not
the answerer's opinion, so that a repeated or stale INVITE is seen whatever the answerer makes of it.
"""

import json
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.tap import SO_RCVBUFFORCE, Program, attach
from lab.topology import SIP_PORT, Host

ETH_P_IP: Final = 0x0800
# Classic BPF: IPv4 over Ethernet, UDP, not a fragment, destination port 5060.
FILTER: Final[Program] = (
    (0x28, 0, 0, 12),
    (0x15, 0, 8, ETH_P_IP),
    (0x30, 0, 0, 23),
    (0x15, 0, 6, socket.IPPROTO_UDP),
    (0x28, 0, 0, 20),
    (0x45, 4, 0, 0x1FFF),
    (0xB1, 0, 0, 14),
    (0x48, 0, 0, 16),
    (0x15, 0, 1, SIP_PORT),
    (0x06, 0, 0, 0x40000),
    (0x06, 0, 0, 0),
)


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """An INVITE at the agents' host. Times are of the machine's monotonic clock, in seconds.

    `side` is by the header the side adds; `sent_at` by the header X-Sent of the caller, None if it is not one of ours.
    """

    at: float
    call_id: str
    source: str
    side: Host | None
    sent_at: float | None

    @property
    def age_s(self) -> float | None:
        """How long after the caller first sent it."""
        return None if self.sent_at is None else self.at - self.sent_at


def read_arrivals(path: Path) -> list[Arrival]:
    """The arrivals recorded so far, in order; a line still being written is left for the next reading."""
    arrivals = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            record = json.loads(line)
            side = None if record["side"] is None else Host(record["side"])
            arrivals.append(Arrival(**(record | {"side": side})))
    return arrivals


def parse_invite(frame: bytes, at: float) -> Arrival | None:
    """An Arrival if the Ethernet frame carries an INVITE over UDP."""
    header = (frame[14] & 0x0F) * 4
    payload = frame[14 + header + 8 :]
    if not payload.startswith(b"INVITE "):
        return None
    headers: dict[str, str] = {}
    for line in payload.partition(b"\r\n\r\n")[0].decode("utf-8", "replace").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    sent = headers.get("x-sent")
    side = headers.get("x-side")
    return Arrival(
        at=at,
        call_id=headers.get("call-id", ""),
        source=socket.inet_ntoa(frame[26:30]),
        side=None if side is None else Host(side),
        sent_at=None if sent is None else int(sent) / 1e9,
    )


def capture(path: Path, interface: str = "eth0") -> None:
    """Record arrivals until killed."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP)) as sock:
        attach(sock, FILTER)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        sock.bind((interface, ETH_P_IP))
        # The file appears once nothing can be missed any more.
        with path.open("a", buffering=1) as out:
            while True:
                frame, link = sock.recvfrom(65535)
                at = time.monotonic()
                arrival = None if link[2] == socket.PACKET_OUTGOING else parse_invite(frame, at)
                if arrival is not None:
                    out.write(json.dumps(vars(arrival)) + "\n")


if __name__ == "__main__":
    capture(Path(sys.argv[1]))
