"""The arithmetic of several controllers: how long nobody decides when the one that leads is lost, or etcd's own leader.

    takeover = lease + look + notice + requests          (+ election + extension, when etcd's leader is lost as well)

The lease was renewed just before its holder was lost. Those that have run out are looked for by etcd's leader, which is
elected within two election timeouts when the one before is lost (raft draws each member's patience between one and two)
and then lengthens every lease by one (etcd: lessor.go, runLoop and Promote; no lease is shorter than one and a half).
etcd tells nobody what its election timeout is: it is declared, and what is worked out of it is as true as that.
Measured six times each on three members of 3.4.23, TTL 1, election 0.2: 1.35-1.43 s of 2.13; with etcd's leader killed
in the same moment 1.83-1.92 s of 2.73.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LOOK = 0.5
"""Seconds between two looks of etcd's leader for leases that have run out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Takeover:
    """Seconds. `ttl`: of leadership. `renewal`: between two renewals, and between two tries of a node that follows and was
    not told. `timeout`: of one request. `election`: etcd's election timeout, as declared."""

    ttl: float
    renewal: float
    timeout: float
    election: float

    @property
    def lease(self) -> float:
        """As long as etcd really makes it."""
        return max(self.ttl, float(math.ceil(1.5 * self.election)))

    @property
    def stall(self) -> float:
        """Without a leader of etcd nothing is written, so nothing is begun."""
        return 2 * self.election

    @property
    def gap(self) -> float:
        """From the loss of the controller that leads until another has read what was under way."""
        return self.lease + LOOK + self.renewal + self.timeout

    @property
    def gap_with_election(self) -> float:
        """The same with etcd's leader lost in the same moment."""
        return self.gap + self.stall + self.election


def shortest_hold(election: float) -> float:
    """Twice the time for which etcd takes no heartbeats: a holder of an address must outlive an election."""
    return 2 * 2 * election
