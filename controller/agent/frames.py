"""Ethernet frames that the kernel does not make for us: announcements, and what the self-test sends at the gate."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from controller.agent.gate import Address

BROADCAST: Final = b"\xff" * 6
ARP: Final = 0x0806
IPV4: Final = 0x0800
IPV6: Final = 0x86DD
ALL_NODES: Final = IPv6Address("ff02::1")
ALL_NODES_MAC: Final = bytes.fromhex("333300000001")

_ICMP: Final = 1
_ICMPV6: Final = 58
_SOLICITATION: Final = 135
_ADVERTISEMENT: Final = 136
_OVERRIDE: Final = 0x20000000
_SOURCE_LINK_LAYER: Final = 1
_TARGET_LINK_LAYER: Final = 2


def announcement(mac: bytes, address: Address) -> bytes:
    """To everybody on the link: `address` is at `mac` now."""
    if isinstance(address, IPv4Address):
        # RFC 5227 2.3: an announcement is a request for one's own address.
        return arp_request(mac, address, address)
    # RFC 4861 7.2.6: unsolicited, to all nodes, with the override flag.
    body = struct.pack("!I", _OVERRIDE) + address.packed + bytes((_TARGET_LINK_LAYER, 1)) + mac
    return _icmpv6(mac, ALL_NODES_MAC, address, ALL_NODES, _ADVERTISEMENT, body)


def arp_request(mac: bytes, sender: IPv4Address, target: IPv4Address) -> bytes:
    """RFC 826, broadcast."""
    fixed = struct.pack("!HHBBH", 1, IPV4, 6, 4, 1)
    return _ethernet(BROADCAST, mac, ARP, fixed + mac + sender.packed + bytes(6) + target.packed)


def solicitation(mac: bytes, sender: IPv6Address, target: IPv6Address) -> bytes:
    """RFC 4861 4.3, to the target's solicited-node group."""
    low = target.packed[-3:]
    group = IPv6Address(bytes.fromhex("ff0200000000000000000001ff") + low)
    body = bytes(4) + target.packed + bytes((_SOURCE_LINK_LAYER, 1)) + mac
    return _icmpv6(mac, b"\x33\x33\xff" + low, sender, group, _SOLICITATION, body)


def echo_request(mac: bytes, to: bytes, sender: Address, target: Address, identifier: int) -> bytes:
    """A ping. RFC 792, RFC 4443 4.1."""
    body = struct.pack("!HH", identifier, 1) + b"third ring"
    if isinstance(sender, IPv6Address) and isinstance(target, IPv6Address):
        return _icmpv6(mac, to, sender, target, 128, body)
    plain = struct.pack("!BBH", 8, 0, 0) + body
    message = plain[:2] + struct.pack("!H", checksum(plain)) + plain[4:]
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(message), 0, 0, 64, _ICMP, 0, sender.packed, target.packed
    )
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return _ethernet(to, mac, IPV4, header + message)


def source_of(frame: bytes) -> Address | None:
    """The address that a frame claims to come from: ARP's sender, the IP source. None for anything else."""
    kind = int.from_bytes(frame[12:14])
    if kind == ARP and len(frame) >= 32:
        return IPv4Address(frame[28:32])
    if kind == IPV4 and len(frame) >= 34:
        return IPv4Address(frame[26:30])
    if kind == IPV6 and len(frame) >= 54:
        return IPv6Address(frame[22:38])
    return None


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _ethernet(to: bytes, mac: bytes, kind: int, payload: bytes) -> bytes:
    return to + mac + struct.pack("!H", kind) + payload


def _icmpv6(mac: bytes, to: bytes, sender: IPv6Address, target: IPv6Address, kind: int, body: bytes) -> bytes:
    plain = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = sender.packed + target.packed + struct.pack("!II", len(plain), _ICMPV6)
    message = plain[:2] + struct.pack("!H", checksum(pseudo + plain)) + plain[4:]
    # RFC 4861: neighbour discovery is discarded unless its hop limit is 255.
    header = struct.pack("!IHBB16s16s", 0x60000000, len(message), _ICMPV6, 255, sender.packed, target.packed)
    return _ethernet(to, mac, IPV6, header + message)
