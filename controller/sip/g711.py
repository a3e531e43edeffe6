"""G.711 companding, and a tone to recognise in it (ITU-T G.711, Goertzel's algorithm)."""

import math
from enum import Enum


class Law(Enum):
    """Value: the static payload type of RFC 3551."""

    MU = 0
    A = 8


_BIAS = 0x84
_CLIP = 32635


def _mu_encode(sample: int) -> int:
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), _CLIP) + _BIAS
    exponent = magnitude.bit_length() - 8
    mantissa = magnitude >> (exponent + 3) & 0x0F
    return ~(sign | exponent << 4 | mantissa) & 0xFF


def _mu_decode(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + _BIAS << (code >> 4 & 7)) - _BIAS
    return -magnitude if code & 0x80 else magnitude


def _a_encode(sample: int) -> int:
    sign = 0x80 if sample >= 0 else 0
    magnitude = min(sample if sample >= 0 else ~sample, 32767) >> 3
    exponent = max(0, magnitude.bit_length() - 5)
    mantissa = magnitude >> max(1, exponent) & 0x0F
    return (sign | exponent << 4 | mantissa) ^ 0x55


def _a_decode(code: int) -> int:
    code ^= 0x55
    exponent, mantissa = code >> 4 & 7, code & 0x0F
    magnitude = (mantissa << 4) + 8
    if exponent:
        magnitude = magnitude + 0x100 << (exponent - 1)
    return magnitude if code & 0x80 else -magnitude


_DECODED = {
    Law.MU: tuple(_mu_decode(code) for code in range(256)),
    Law.A: tuple(_a_decode(code) for code in range(256)),
}


def encode(samples: list[int], law: Law) -> bytes:
    """16-bit linear samples as G.711."""
    return bytes(map(_mu_encode if law is Law.MU else _a_encode, samples))


def decode(payload: bytes, law: Law) -> list[int]:
    """G.711 as 16-bit linear samples."""
    table = _DECODED[law]
    return [table[code] for code in payload]


def tone(*, frequency: float, samples: int, first: int = 0, amplitude: int = 8000) -> list[int]:
    """A sine at 8000 samples a second; `first` is the index of its first sample, so that packets join up."""
    step = 2 * math.pi * frequency / 8000
    return [round(amplitude * math.sin(step * (first + index))) for index in range(samples)]


def tone_share(samples: list[int], *, frequency: float) -> float:
    """How much of the energy lies at `frequency`: about 1.0 for that tone alone, near 0 for speech or silence."""
    energy = float(sum(sample * sample for sample in samples))
    if energy == 0.0:
        return 0.0
    coefficient = 2 * math.cos(2 * math.pi * frequency / 8000)
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + coefficient * last - before
    power = before * before + last * last - coefficient * before * last
    return min(1.0, 2 * power / (energy * len(samples)))
