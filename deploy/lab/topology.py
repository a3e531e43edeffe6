"""Who is in the lab and under which address.

Every lab has the same addresses (198.18.0.0/15 is set aside for bench tests, RFC 2544): its network namespaces
have no uplink and no link to another lab's, so several labs may run at once.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Host(StrEnum):
    """A network namespace. SWITCH holds the bridge; the others hang on it by one interface, eth0."""

    SWITCH = "sw"
    EDGE1 = "edge1"
    EDGE2 = "edge2"
    PRIMARY = "primary"
    BACKUP = "backup"
    AGENTS = "agents"
    ECHO = "echo"
    CONTROLLER = "ctl"
    CALLER = "caller"
    OBSERVER = "observer"
    RING1 = "ring1"
    RING2 = "ring2"
    RING3 = "ring3"
    ETCD1 = "etcd1"
    ETCD2 = "etcd2"
    ETCD3 = "etcd3"


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """Who answers a call to `user`: SIP at `address`:5060, RTP echoed at `address`:`rtp_port`."""

    user: str
    host: Host
    address: str
    rtp_port: int


PREFIX_LENGTH: Final = 15
SIP_PORT: Final = 5060
RPC_PORT: Final = 8090
VIP: Final = "198.18.0.100"

ADDRESSES: Final[dict[Host, tuple[str, ...]]] = {
    Host.EDGE1: ("198.18.0.11",),
    Host.EDGE2: ("198.18.0.12",),
    Host.PRIMARY: ("198.18.0.21",),
    Host.BACKUP: ("198.18.0.22",),
    Host.AGENTS: ("198.18.0.31",),
    Host.ECHO: ("198.18.0.41", "198.18.0.42"),
    Host.CONTROLLER: ("198.18.0.51",),
    Host.CALLER: ("198.18.0.61",),
    Host.OBSERVER: ("198.18.0.71",),
    Host.RING1: ("198.18.0.81",),
    Host.RING2: ("198.18.0.82",),
    Host.RING3: ("198.18.0.83",),
    Host.ETCD1: ("198.18.0.91",),
    Host.ETCD2: ("198.18.0.92",),
    Host.ETCD3: ("198.18.0.93",),
}

EDGES: Final = (Host.EDGE1, Host.EDGE2)
SIDES: Final = (Host.PRIMARY, Host.BACKUP)
NODES: Final = (Host.RING1, Host.RING2, Host.RING3)
MEMBERS: Final = (Host.ETCD1, Host.ETCD2, Host.ETCD3)

EDGE_SHAPE: Final = tuple(host for host in ADDRESSES if host not in (*NODES, *MEMBERS))
"""One controller, and edges that choose the side."""

RING_SHAPE: Final = tuple(host for host in ADDRESSES if host not in EDGES)
"""Three controllers over three members of etcd, and sides that hold a virtual address. The controller's place is a
person's, and PostgreSQL's."""

# The last one is also where every other dialled user goes: real calls. The echoes are independent test destinations.
ANSWERERS: Final = (
    Answerer(user="echo1", host=Host.ECHO, address="198.18.0.41", rtp_port=6010),
    Answerer(user="echo2", host=Host.ECHO, address="198.18.0.42", rtp_port=6020),
    Answerer(user="agent", host=Host.AGENTS, address="198.18.0.31", rtp_port=6000),
)


def address(host: Host) -> str:
    """The host's first address."""
    return ADDRESSES[host][0]


def answerer(user: str) -> Answerer:
    """Who answers a call to `user`."""
    return next((a for a in ANSWERERS if a.user == user), ANSWERERS[-1])


def other(side: Host) -> Host:
    """The other side of the platform."""
    return Host.BACKUP if side is Host.PRIMARY else Host.PRIMARY
