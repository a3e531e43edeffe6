"""Whether the hold of a group's address is still renewed: the heartbeats that its holder's agent writes to the coordination
store. No prober looks at it: the node that leads reads it there. The holder writes them from its own host, by a path that
shares nothing with our probes', so that "nothing of it answers us" and "it renews no more" are two kinds of evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.probes.parameters import Strict


class HoldParameters(Strict):
    """Nothing: the group says whose address it is."""


class Hold:
    """ports.Probe, of which only the values are used."""

    Parameters = HoldParameters
    mass = False
    probed = False
    values: ClassVar[Mapping[str, str]] = {"age": "double"}
    """`age`: seconds since the last heartbeat that is known, on the reader's own clock."""

    def __init__(self, parameters: HoldParameters) -> None: ...

    async def run(self, key: RungKey, timeout: float) -> ProbeResult:
        return ProbeResult(key, 0.0, 0.0, Outcome.VOID, None, note="read from the coordination store")

    async def close(self) -> None: ...
