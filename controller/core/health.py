"""Probe results folded into health, with rise and fall hysteresis and a flapping mark.

The one stage that runs in the prober, once a result: it stays under 2 us where nothing changes.
"""

from __future__ import annotations

from controller.model.health import HealthState, Hysteresis, ProbeResult, RungHealth

UP, DOWN = HealthState.UP, HealthState.DOWN
SUSPECT, RECOVERING, UNKNOWN = HealthState.SUSPECT, HealthState.RECOVERING, HealthState.UNKNOWN


def fold(previous: RungHealth, result: ProbeResult, hysteresis: Hysteresis) -> RungHealth:
    """The health after one more result. A void result changes nothing: the very same value comes back.

    The first success of an UNKNOWN rung makes it UP at once. An UNKNOWN rung that fails stays UNKNOWN until `fall`
    failures in a row make it DOWN: what was never seen up can't become suspect. A SUSPECT rung is UP again with its
    first success; a DOWN one needs `rise` of them.

    A flip is a change between UP and DOWN, whatever lies between. The mark is set by `flap_count` flips within
    `flap_window` seconds and cleared when a whole window has passed without any.
    """
    up = result.up
    if up is None:
        return previous
    state = previous.state
    now = result.finished_at
    if up:
        successes = previous.successes + 1
        failures = 0
        if state is UP:
            following = UP
        elif state is DOWN or state is RECOVERING:
            following = UP if successes >= hysteresis.rise else RECOVERING
        else:
            following = UP
        flipped = following is UP and (state is DOWN or state is RECOVERING)
    else:
        successes = 0
        failures = previous.failures + 1
        if state is DOWN or state is RECOVERING or failures >= hysteresis.fall:
            following = DOWN
        else:
            following = UNKNOWN if state is UNKNOWN else SUSPECT
        flipped = following is DOWN and (state is UP or state is SUSPECT)
    flips = previous.flips
    flapping = previous.flapping
    if flipped or flips:
        flips, flapping = _flips(flips, flapping, flipped, now, hysteresis)
    return RungHealth(
        following,
        previous.since if following is state else now,
        successes,
        failures,
        result.outcome,
        result.code,
        result.latency,
        result.note,
        flips,
        flapping,
    )


def _flips(
    flips: tuple[float, ...], flapping: bool, flipped: bool, now: float, hysteresis: Hysteresis
) -> tuple[tuple[float, ...], bool]:
    """The flips that still count and the mark. No more than `flap_count` are kept: older ones decide nothing."""
    horizon = now - hysteresis.flap_window
    if flipped:
        flips = (*flips, now)[-max(1, hysteresis.flap_count) :]
    if flips[0] <= horizon:
        flips = tuple(flip for flip in flips if flip > horizon)
    if len(flips) >= hysteresis.flap_count:
        return flips, True
    return flips, flapping and bool(flips)
