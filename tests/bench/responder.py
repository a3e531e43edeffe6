"""Answers OPTIONS with 200 as fast as one core of Python can: `responder.py PORTS [CORE]`, prints its ports."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys

RECEIVE_BUFFER = 16 * 1024 * 1024
SO_RCVBUFFORCE = 33
BATCH = 32


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if len(sys.argv) > 2:
        os.sched_setaffinity(0, {int(sys.argv[2])})
    sockets: dict[int, socket.socket] = {}
    poll = select.epoll()
    for _ in range(int(sys.argv[1])):
        each = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        each.setblocking(False)
        try:
            each.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        each.bind(("127.0.0.1", 0))
        sockets[each.fileno()] = each
        poll.register(each.fileno(), select.EPOLLIN)
    print(*(each.getsockname()[1] for each in sockets.values()), flush=True)
    # Its parent's end of this pipe closes with the parent, however that ends.
    poll.register(sys.stdin.fileno(), select.EPOLLIN | select.EPOLLHUP)
    while True:
        for number, _ in poll.poll():
            each = sockets.get(number)
            if each is None:
                return
            receive, send = each.recvfrom, each.sendto
            try:
                for _ in range(BATCH):
                    request, source = receive(2048)
                    # A response repeats Via, From, To, Call-ID and CSeq; what else it repeats hurts nobody.
                    send(b"SIP/2.0 200 OK" + request[request.index(b"\r\n") :], source)
            except BlockingIOError:
                continue


if __name__ == "__main__":
    main()
