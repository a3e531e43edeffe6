"""Session descriptions: an audio offer, and the reading of an answer (RFC 8866, RFC 3264)."""

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum

from controller.sip.errors import SdpError

CONTENT_TYPE = "application/sdp"


class Direction(Enum):
    """RFC 8866 6.7, from the side of the one who wrote the description."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        return self in (Direction.SENDRECV, Direction.RECVONLY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Codec:
    """A payload type and what it stands for; `clock_rate` in Hz."""

    payload_type: int
    name: str
    clock_rate: int


PCMU = Codec(payload_type=0, name="PCMU", clock_rate=8000)
PCMA = Codec(payload_type=8, name="PCMA", clock_rate=8000)
TELEPHONE_EVENT = Codec(payload_type=101, name="telephone-event", clock_rate=8000)

# RFC 3551 6; these need no rtpmap.
STATIC_CODECS = {
    0: PCMU,
    3: Codec(payload_type=3, name="GSM", clock_rate=8000),
    4: Codec(payload_type=4, name="G723", clock_rate=8000),
    8: PCMA,
    9: Codec(payload_type=9, name="G722", clock_rate=8000),
    13: Codec(payload_type=13, name="CN", clock_rate=8000),
    15: Codec(payload_type=15, name="G728", clock_rate=8000),
    18: Codec(payload_type=18, name="G729", clock_rate=8000),
}

_NUMBER = re.compile(r"[0-9]{1,5}")
_RTPMAP = re.compile(r"([0-9]{1,3}) ([^\s/]+)/([0-9]{1,7})(?:/[0-9]+)?\s*")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioDescription:
    """The first audio stream of a session description.

    `port` 0 means the stream is refused. `rtcp_port` is port + 1 unless a=rtcp says otherwise (RFC 3605), and
    equals `port` with a=rtcp-mux (RFC 5761). `ptime` in ms, None when not stated. `held` is the old way of
    holding, connection 0.0.0.0 (RFC 3264 8.4).
    """

    address: str
    port: int
    rtcp_port: int
    codecs: tuple[Codec, ...]
    direction: Direction
    ptime: int | None = None
    profile: str = "RTP/AVP"

    @property
    def held(self) -> bool:
        return self.address in ("0.0.0.0", "::")


def build_audio(
    *,
    address: str,
    port: int,
    session_id: int,
    version: int = 1,
    codecs: tuple[Codec, ...] = (PCMU, PCMA),
    direction: Direction = Direction.SENDRECV,
    ptime: int = 20,
    user: str = "-",
) -> bytes:
    """An offer, or with the chosen codecs an answer. `address` is a literal; `ptime` in ms."""
    family = "IP6" if ":" in address else "IP4"
    types = " ".join(str(codec.payload_type) for codec in codecs)
    lines = [
        "v=0",
        f"o={user} {session_id} {version} IN {family} {address}",
        "s=-",
        f"c=IN {family} {address}",
        "t=0 0",
        f"m=audio {port} RTP/AVP {types}",
        *(f"a=rtpmap:{c.payload_type} {c.name}/{c.clock_rate}" for c in codecs),
        f"a=ptime:{ptime}",
        f"a={direction.value}",
    ]
    return "\r\n".join((*lines, "")).encode()


def parse_audio(body: bytes) -> AudioDescription:
    """Read the first audio stream. Raises SdpError, also when there is none or it names no address.

    Bare LF line ends are accepted (RFC 8866 5 asks receivers to).
    """
    lines = [line for line in body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n") if line]
    if not lines or lines[0].strip() != "v=0":
        raise SdpError("not a session description of version 0")
    session: list[str] = []
    media: list[list[str]] = []
    for line in lines[1:]:
        if len(line) < 2 or line[1] != "=":
            raise SdpError(f"malformed line {line[:80]!r}")
        if line.startswith("m="):
            media.append([line])
        else:
            (media[-1] if media else session).append(line)
    for section in media:
        if section[0].startswith("m=audio "):
            return _audio(section, session)
    raise SdpError("no audio stream")


def choose_codec(offered: tuple[Codec, ...], answer: AudioDescription) -> Codec:
    """The codec to send with: the first of the answer that we offered. Raises SdpError if there is none.

    A dynamic payload type is matched by name and rate; the returned type is the answerer's.
    """
    for codec in answer.codecs:
        for ours in offered:
            if codec.name.lower() == ours.name.lower() and codec.clock_rate == ours.clock_rate:
                return codec
    raise SdpError("no codec in common")


def _audio(section: list[str], session: list[str]) -> AudioDescription:
    fields = section[0][2:].split()
    if len(fields) < 4:
        raise SdpError("malformed m= line")
    port = _port(fields[1].partition("/")[0])
    connection = _last("c=", section) or _last("c=", session)
    if connection is None:
        raise SdpError("no connection address")
    attributes = [line[2:] for line in (*session, *section) if line.startswith("a=")]
    direction = Direction.SENDRECV
    rtcp_port = port + 1 if port else 0
    ptime: int | None = None
    maps: dict[int, Codec] = {}
    # Media attributes come after the session's, so the later one wins.
    for attribute in attributes:
        name, _, value = attribute.partition(":")
        match name:
            case "sendrecv" | "sendonly" | "recvonly" | "inactive":
                direction = Direction(name)
            case "rtpmap":
                codec = _rtpmap(value)
                maps[codec.payload_type] = codec
            case "ptime":
                ptime = _ptime(value)
            case "rtcp":
                rtcp_port = _port((value.split() or [""])[0])
            case "rtcp-mux":
                rtcp_port = port
    codecs: list[Codec] = []
    for text in fields[3:]:
        if _NUMBER.fullmatch(text) is None or int(text) > 127:
            raise SdpError(f"malformed payload type {text[:20]!r}")
        known = maps.get(int(text)) or STATIC_CODECS.get(int(text))
        if known is not None:
            codecs.append(known)
    return AudioDescription(
        address=_connection(connection),
        port=port,
        rtcp_port=rtcp_port,
        codecs=tuple(codecs),
        direction=direction,
        ptime=ptime,
        profile=fields[2],
    )


def _last(prefix: str, lines: list[str]) -> str | None:
    found = [line[2:] for line in lines if line.startswith(prefix)]
    return found[-1] if found else None


def _connection(value: str) -> str:
    fields = value.split()
    if len(fields) != 3 or fields[0] != "IN" or fields[1] not in ("IP4", "IP6"):
        raise SdpError(f"malformed c= line {value[:80]!r}")
    address = fields[2].partition("/")[0]
    try:
        ipaddress.ip_address(address)
    except ValueError:
        # A host name is allowed (RFC 8866 5.7), though nearly nobody sends one.
        if _HOST.fullmatch(address) is None or address.replace(".", "").isdigit():
            raise SdpError(f"malformed connection address {address[:80]!r}") from None
    return address


def _port(text: str) -> int:
    if _NUMBER.fullmatch(text) is None or int(text) > 65535:
        raise SdpError(f"malformed port {text[:20]!r}")
    return int(text)


def _ptime(text: str) -> int | None:
    text = text.strip()
    if _NUMBER.fullmatch(text) is None:
        raise SdpError(f"malformed ptime {text[:20]!r}")
    return int(text)


def _rtpmap(value: str) -> Codec:
    match = _RTPMAP.fullmatch(value)
    if match is None or int(match[1]) > 127 or int(match[3]) == 0:
        raise SdpError(f"malformed rtpmap {value[:80]!r}")
    return Codec(payload_type=int(match[1]), name=match[2], clock_rate=int(match[3]))
