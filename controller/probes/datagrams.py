"""One raw non-blocking datagram socket for very many targets: drained in batches, with its error queue."""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

BATCH = 64
"""Datagrams read in one wake-up of the loop; the timers come between."""

MOST_DRAINED = 50_000
"""Datagrams read in one drain: a flood must not hold the timers up for ever."""

LARGEST = 8192
"""Bytes; what is longer than any sane answer is cut, and then does not parse."""

RECEIVE_BUFFER = 8 * 1024 * 1024
"""Bytes; the kernel gives what its rmem_max allows, unless we may exceed it."""

IP_RECVERR = 11
IPV6_RECVERR = 25
SO_RCVBUFFORCE = 33
SO_MEMINFO = 55
_MEMINFO_DROPS = 8  # index of the drop counter among SO_MEMINFO's nine words (sock_diag(7))
_EXTENDED_ERROR = struct.Struct("=IBBBBII")  # struct sock_extended_err (ip(7))

Address = tuple[Any, ...]
"""As the socket module gives it: (host, port), or four parts for IPv6."""

Received = Callable[[bytes, Address], None]
Failed = Callable[[bytes, Address, int], None]
"""(the datagram that could not be delivered, or its beginning; where it went; errno)."""


class DatagramSocket:
    """`sock` is owned from now on, and bound already. `received` is called for every datagram."""

    def __init__(
        self, sock: socket.socket, loop: asyncio.AbstractEventLoop, received: Received, failed: Failed
    ) -> None:
        self.socket = sock
        self.undelivered = 0
        self.overflows = 0
        self._loop = loop
        self._received = received
        self._failed = failed
        self._drops = 0
        self._overflowed_at = 0.0
        self._checked_at = time.monotonic()
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        # A socket with a waiting error reports POLLERR, at which libuv stops polling it for good. An epoll set that
        # holds the socket is only ever readable.
        self._epoll = select.epoll()
        self._epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLERR)
        loop.add_reader(self._epoll.fileno(), self._readable)

    def send(self, datagram: bytes, address: Address) -> int:
        """Send one datagram. Returns 0 or the errno that is this very datagram's own."""
        try:
            self.socket.sendto(datagram, address)
            return 0
        except OSError:
            # Most likely an earlier datagram's, reported at the first call since: take it off and try again.
            self._read_errors()
        try:
            self.socket.sendto(datagram, address)
            return 0
        except OSError as error:
            return error.errno or errno.EIO

    def drain(self) -> None:
        """Read everything that waits, errors included."""
        self._read(MOST_DRAINED)

    def lost_since(self, instant: float) -> bool:
        """Whether the kernel dropped datagrams for want of room since `instant`, monotonic seconds.

        Told by a counter that is read now and then, and so says yes rather too often than too seldom."""
        self.check_overflow()
        return self._overflowed_at >= instant

    def check_overflow(self) -> None:
        words = struct.unpack("=9I", self.socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))
        if words[_MEMINFO_DROPS] != self._drops:
            self.overflows += (words[_MEMINFO_DROPS] - self._drops) & 0xFFFFFFFF
            self._drops = words[_MEMINFO_DROPS]
            self._overflowed_at = time.monotonic()

    def close(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self.socket.close()

    def _readable(self) -> None:
        self._read(BATCH)

    def _read(self, most: int) -> None:
        receive = self.socket.recvfrom
        received = self._received
        for _ in range(most):
            try:
                datagram, address = receive(LARGEST)
            except BlockingIOError:
                return
            except OSError:
                # The error of some datagram sent earlier, never of what waits to be read.
                self._read_errors()
                continue
            received(datagram, address)

    def _read_errors(self) -> None:
        """Empty the error queue (IP_RECVERR): every entry carries the datagram and where it went."""
        for _ in range(MOST_DRAINED):
            try:
                datagram, controls, _, address = self.socket.recvmsg(LARGEST, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return
            for level, kind, data in controls:
                recverr = (level, kind) in (
                    (socket.IPPROTO_IP, IP_RECVERR),
                    (socket.IPPROTO_IPV6, IPV6_RECVERR),
                )
                if recverr and len(data) >= _EXTENDED_ERROR.size:
                    self.undelivered += 1
                    self._failed(datagram, address, _EXTENDED_ERROR.unpack_from(data)[0])
