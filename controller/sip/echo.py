"""Proof that audio went both ways: every packet we send can be recognised when it comes back."""

from enum import Enum
from functools import cache

from controller.sip import g711

TONE = 1004.0  # Hz, the field's test tone: no harmonic of 8000 and no DTMF frequency
_PERIOD = 2000  # samples after which the tone repeats: 8000 / gcd(8000, 1004)
_SHARE = 0.5
_KEY_CODES = 16
_INDEX_CODES = 8

# The sixteen quietest positive codes of each law: a mark written in them is no louder than line noise.
_QUIET = {g711.Law.MU: 0xF0, g711.Law.A: 0xD0}


@cache
def _tone_period(law: g711.Law) -> bytes:
    return g711.encode(g711.tone(frequency=TONE, samples=_PERIOD), law)


class MediaPath(Enum):
    """What the two directions of a call did."""

    BOTH_WAYS = "both_ways"  # our own audio came back
    NOT_HEARD = "not_heard"  # audio came, but none of it was ours: the far side may not hear us
    NOTHING_RECEIVED = "nothing_received"
    NOTHING_SENT = "nothing_sent"


class EchoProof:
    """Marks outgoing audio and recognises it in what comes back.

    An echoing server sends the payload back under its own numbers, so the mark is in the payload: `key`
    (8 bytes, random, one a call) and the packet's index, each half byte as a quiet sample, followed by a
    tone. A transcoding path destroys the mark; the tone is proof then, though a weaker one.
    """

    def __init__(self, key: bytes, *, law: g711.Law = g711.Law.MU) -> None:
        if len(key) != 8:
            raise ValueError("the key of an echo proof is 8 bytes")
        self.sent = 0
        self.echoed = 0  # distinct packets of ours that came back
        self.tones = 0  # packets without our mark that carry our tone
        self.foreign = 0  # packets with neither
        self.round_trips: list[float] = []  # seconds, in order of arrival
        self._law = law
        self._key = self._quiet(key)
        self._departures: dict[int, float] = {}

    def payload(self, now: float, *, samples: int = 160) -> bytes:
        """The next packet's payload of `samples` bytes, 24 or more, sent at `now` in monotonic seconds."""
        index = self.sent
        self.sent += 1
        self._departures[index] = now
        mark = self._key + self._quiet(index.to_bytes(_INDEX_CODES // 2, "big"))
        period = _tone_period(self._law)
        start = (index * samples + len(mark)) % _PERIOD
        repeats = (start + samples) // _PERIOD + 1
        return mark + (period * repeats)[start : start + samples - len(mark)]

    def receive(self, payload: bytes, now: float, *, law: g711.Law | None = None) -> None:
        """Judge a received payload; `law` if the far side sends another one than ours."""
        position = payload.find(self._key)
        if position >= 0:
            start = position + _KEY_CODES
            index = self._read_index(payload[start : start + _INDEX_CODES])
            departure = None if index is None else self._departures.pop(index, None)
            if departure is not None:
                self.echoed += 1
                self.round_trips.append(now - departure)
            # A mark seen before is a duplicate: proof already counted.
            return
        share = g711.tone_share(g711.decode(payload, law or self._law), frequency=TONE)
        if share >= _SHARE:
            self.tones += 1
        else:
            self.foreign += 1

    @property
    def path(self) -> MediaPath:
        if self.sent == 0:
            return MediaPath.NOTHING_SENT
        if self.echoed or self.tones:
            return MediaPath.BOTH_WAYS
        return MediaPath.NOT_HEARD if self.foreign else MediaPath.NOTHING_RECEIVED

    @property
    def round_trip_loss(self) -> float:
        """The share of our packets that did not come back, 0.0 to 1.0: both directions together."""
        return 1 - (self.echoed + self.tones) / self.sent if self.sent else 0.0

    def _quiet(self, data: bytes) -> bytes:
        base = _QUIET[self._law]
        return bytes(base | half for byte in data for half in (byte >> 4, byte & 0x0F))

    def _read_index(self, codes: bytes) -> int | None:
        if len(codes) < _INDEX_CODES or any(code & 0xF0 != _QUIET[self._law] for code in codes):
            return None
        index = 0
        for code in codes:
            index = index << 4 | code & 0x0F
        return index
