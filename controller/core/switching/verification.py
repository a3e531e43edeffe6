"""Proof by real calls that the target side, and no other, serves callers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controller.model.health import ProbeResult
from controller.model.policy import Verification

PAUSE = 0.2
"""Seconds before the calls are made again."""


def patience(verification: Verification) -> float:
    """Seconds all attempts may take together, however many of them said nothing."""
    return verification.attempts * (verification.timeout + PAUSE)


def evidence_lacks(results: Sequence[ProbeResult], verification: Verification, side: str) -> bool:
    """Whether nothing speaks against the side, and some calls say nothing at all: our own loop lagged, our port failed."""
    spoke = [result for result in results if result.up is not None]
    return len(spoke) < len(results) and not shortfall(
        spoke, replace(verification, calls=min(len(spoke), verification.calls)), side
    )


def shortfall(results: Sequence[ProbeResult], verification: Verification, side: str) -> str:
    """What the calls failed to prove; empty when every one of them proved everything.

    The answering side's own mark must be the target's: a call that the edge rerouted to the other side does not pass.
    """
    if len(results) < verification.calls:
        return f"{len(results)} of {verification.calls} calls were answered in time"
    for result in results:
        values = dict(result.values)
        if result.up is None:
            return f"a call is no evidence: {result.note or result.outcome}"
        if result.up is not True:
            return f"a call failed: {result.outcome} {result.code or ''}".rstrip()
        if values.get("side") != side:
            return f"answered by {values.get('side') or 'nobody known'}, not {side}"
        if values.get("one_way", "unmeasured") != "":
            return f"audio: {values.get('one_way') or 'not measured'}"
        if verification.codec and str(values.get("codec") or "").upper() != verification.codec.upper():
            return f"codec {values.get('codec') or 'unknown'}, not {verification.codec}"
    return ""
