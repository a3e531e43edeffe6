"""Every frame that the switch gets, with the moment it came, on one clock.

Frames carry the kernel's time of arrival, so that a busy machine does not make them late.
"""

import contextlib
import ctypes
import fcntl
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from typing import Final

from lab.network import Network
from lab.topology import Host

ETH_P_ALL: Final = 3
SOL_PACKET: Final = 263
PACKET_ADD_MEMBERSHIP: Final = 1
PACKET_MR_PROMISC: Final = 1
SO_TIMESTAMPNS: Final = 35
SO_RCVBUFFORCE: Final = 33
SO_ATTACH_FILTER: Final = 26

Program = Sequence[tuple[int, int, int, int]]
"""Classic BPF (bpf(4)): code, jump if true, jump if false, operand."""


class Tap:
    """A socket on the bridge. A frame is seen as it comes in, also when the port it is for is down or fenced.

    `program`: which frames are wanted; all, if None.
    """

    def __init__(self, network: Network, program: Program | None = None) -> None:
        self._socket = network.socket(Host.SWITCH, socket.SOCK_RAW, socket.AF_PACKET, socket.htons(ETH_P_ALL))
        if program is not None:
            attach(self._socket, program)
        self._socket.bind(("br0", ETH_P_ALL))
        self._socket.setblocking(False)
        index = struct.unpack("i", _interface_index(self._socket))[0]
        member = struct.pack("iHH8s", index, PACKET_MR_PROMISC, 0, b"")
        self._socket.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, member)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)

    @property
    def hardware_address(self) -> bytes:
        """The bridge's own."""
        return bytes(self._socket.getsockname()[4])

    def send(self, frame: bytes) -> None:
        """A frame that can't be sent is lost, like any other."""
        with contextlib.suppress(OSError):
            self._socket.send(frame)

    def wait(self, seconds: float) -> None:
        """For a frame, at most this long."""
        select.select([self._socket], [], [], max(0.0, seconds))

    def frames(self, size: int) -> Iterator[tuple[float, bytes]]:
        """What has come: a second of the machine's monotonic clock, and the frame's first `size` bytes."""
        while True:
            try:
                frame, extra, _, _ = self._socket.recvmsg(size, 64)
            except BlockingIOError:
                return
            yield _monotonic(extra), frame

    def close(self) -> None:
        self._socket.close()


def attach(sock: socket.socket, program: Program) -> None:
    """Only the frames that the program accepts are queued from now on."""
    code = ctypes.create_string_buffer(
        b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    )
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code))
    )


def _monotonic(extra: list[tuple[int, int, bytes]]) -> float:
    """The kernel's stamp is of the wall clock; both are read here, so that a step of it moves nothing but this frame."""
    now, wall = time.monotonic(), time.time()
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("ll", data[:16])
            return now - (wall - seconds - nanoseconds / 1e9)
    return now


def _interface_index(sock: socket.socket) -> bytes:
    """Of br0 in the socket's own namespace (netdevice(7), SIOCGIFINDEX)."""
    request = struct.pack("16si", b"br0", 0)
    return fcntl.ioctl(sock.fileno(), 0x8933, request)[16:20]
