"""ICMP echo packets, and the filter that lets only the answers to ours through."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence

ECHO_REQUEST, ECHO_REPLY = 8, 0  # RFC 792
ECHO_REQUEST_6, ECHO_REPLY_6 = 128, 129  # RFC 4443
SO_ATTACH_FILTER = 26
HEADER = struct.Struct("!BBHHH")


def echo_request(kind: int, identifier: int, sequence: int, payload: bytes) -> bytes:
    """An echo request with its checksum (RFC 1071); for ICMPv6 the kernel puts its own in."""
    packet = HEADER.pack(kind, 0, 0, identifier, sequence) + payload
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total & 0xFFFF) + (total >> 16)
    total += total >> 16
    return HEADER.pack(kind, 0, ~total & 0xFFFF, identifier, sequence) + payload


Instruction = tuple[int, int, int, int]
"""A classic BPF instruction: code, jump if true, jump if false, operand."""


def echo_reply_filter(family: int, identifier: int) -> list[Instruction]:
    """Passes only echo replies with our identifier: every raw socket gets a copy of all the host's ICMP."""
    if family == socket.AF_INET:
        return [
            (0xB1, 0, 0, 0),  # ldxb 4*([0]&0xf): the IP header's length
            (0x50, 0, 0, 0),  # ldb [x+0]: type
            (0x15, 0, 3, ECHO_REPLY),
            (0x48, 0, 0, 4),  # ldh [x+4]: identifier
            (0x15, 0, 1, identifier),
            (0x06, 0, 0, 0x40000),
            (0x06, 0, 0, 0),
        ]
    return [
        (0x30, 0, 0, 0),  # ldb [0]: type
        (0x15, 0, 3, ECHO_REPLY_6),
        (0x28, 0, 0, 4),  # ldh [4]: identifier
        (0x15, 0, 1, identifier),
        (0x06, 0, 0, 0x40000),
        (0x06, 0, 0, 0),
    ]


def attach_filter(sock: socket.socket, program: Sequence[Instruction]) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(buffer))
    )
