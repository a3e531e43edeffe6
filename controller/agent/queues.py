"""How much waits in the receive queues of local sockets.

UDP from /proc/net; listening TCP sockets from the kernel's socket diagnosis (sock_diag(7)): /proc/net/tcp walks the table of
all connections there could be, which took 26 ms of the round's time here.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

PROC_NET: Final = Path("/proc/self/net")

# <linux/sock_diag.h>, <linux/inet_diag.h>, <linux/netlink.h>, <net/tcp_states.h>
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_ERROR: Final = 2
_DONE: Final = 3
_REQUEST_DUMP: Final = 0x301
_LISTEN: Final = 1 << 10
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBBI48x")
_PORT_AT: Final = 4
_QUEUE_AT: Final = 56


def waiting(ports: Collection[int], root: Path = PROC_NET) -> int:
    """Octets (UDP) and connections that nobody accepts (TCP) at these local ports. Raises OSError."""
    return _datagrams(ports, root) + sum(queued for port, queued in listening() if port in ports)


def listening() -> Iterator[tuple[int, int]]:
    """(port, connections that wait to be accepted) of each listening TCP socket of this network namespace. Raises
    OSError."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
        ) as link:
            body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _LISTEN)
            link.send(
                _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + body
            )
            yield from _answers(link)


def _answers(link: socket.socket) -> Iterator[tuple[int, int]]:
    while True:
        data = link.recv(65536)
        while len(data) >= _HEADER.size:
            length, kind, _, _, _ = _HEADER.unpack_from(data)
            body, data = data[_HEADER.size : length], data[(length + 3) & ~3 :]
            if kind == _DONE:
                return
            if kind == _ERROR:
                number = -struct.unpack_from("=i", body)[0]
                raise OSError(number, f"socket diagnosis: {os.strerror(number)}")
            yield int.from_bytes(body[_PORT_AT : _PORT_AT + 2]), struct.unpack_from("=I", body, _QUEUE_AT)[0]


def _datagrams(ports: Collection[int], root: Path) -> int:
    """proc_net_udp: columns 2 (local address) and 5 (queues)."""
    wanted = {f"{port:04X}" for port in ports}
    total = 0
    for name in ("udp", "udp6"):
        for line in (root / name).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].rpartition(":")[2] in wanted:
                total += int(fields[4].partition(":")[2], 16)
    return total
