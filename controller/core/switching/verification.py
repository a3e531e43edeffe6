"""Proof by real calls that the target side, and no other, serves callers."""

from __future__ import annotations

from collections.abc import Sequence

from controller.model.health import ProbeResult
from controller.model.policy import Verification


def shortfall(results: Sequence[ProbeResult], verification: Verification, side: str) -> str:
    """What the calls failed to prove; empty when every one of them proved everything.

    The answering side's own mark must be the target's: a call that the edge rerouted to the other side does not pass.
    """
    if len(results) < verification.calls:
        return f"{len(results)} of {verification.calls} calls were answered in time"
    for result in results:
        values = dict(result.values)
        if result.up is not True:
            return f"a call failed: {result.outcome} {result.code or ''}".rstrip()
        if values.get("side") != side:
            return f"answered by {values.get('side') or 'nobody known'}, not {side}"
        if values.get("one_way", "unmeasured") != "":
            return f"audio: {values.get('one_way') or 'not measured'}"
        if verification.codec and str(values.get("codec") or "").upper() != verification.codec.upper():
            return f"codec {values.get('codec') or 'unknown'}, not {verification.codec}"
    return ""
