"""Speech quality from delay and loss: the reduced E-model (ITU-T G.107, G.113 Appendix I)."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Impairment:
    """A codec's equipment impairment `ie` and its packet-loss robustness `bpl` (percent)."""

    ie: float
    bpl: float


G711 = Impairment(ie=0.0, bpl=4.3)
G711_PLC = Impairment(ie=0.0, bpl=25.1)
G729A_VAD = Impairment(ie=11.0, bpl=19.0)
G723_1 = Impairment(ie=15.0, bpl=16.1)


def r_factor(
    *, one_way_delay_ms: float, loss_percent: float, codec: Impairment, burst_ratio: float = 1.0
) -> float:
    """Transmission rating R, 0 to 93.2.

    `loss_percent` is in percent, 0 to 100: with a fraction the formula silently hides all loss.
    `burst_ratio` is 1 for random loss. Raises ValueError for values outside their ranges.
    """
    if not 0.0 <= loss_percent <= 100.0:
        raise ValueError(f"loss of {loss_percent} is not a percentage")
    if one_way_delay_ms < 0 or burst_ratio <= 0:
        raise ValueError("negative delay, or a burst ratio that isn't positive")
    delay = 0.024 * one_way_delay_ms
    if one_way_delay_ms > 177.3:
        delay += 0.11 * (one_way_delay_ms - 177.3)
    effective = codec.ie + (95 - codec.ie) * loss_percent / (loss_percent / burst_ratio + codec.bpl)
    return max(0.0, 93.2 - delay - effective)


def mos(r: float) -> float:
    """Mean opinion score, 1.0 to 4.5, of a rating R (G.107 Annex B)."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return min(4.5, max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6))
