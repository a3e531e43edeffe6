"""Proof that audio went both ways: every packet we send can be recognised when it comes back."""

from enum import Enum

from controller.sip import g711

TONE = 1004.0  # Hz, the field's test tone: no harmonic of 8000 and no DTMF frequency
_MARK_INDEX = 4  # bytes
_SHARE = 0.5


class MediaPath(Enum):
    """What the two directions of a call did."""

    BOTH_WAYS = "both_ways"  # our own audio came back
    NOT_HEARD = "not_heard"  # audio came, but none of it was ours: the far side may not hear us
    NOTHING_RECEIVED = "nothing_received"
    NOTHING_SENT = "nothing_sent"


class EchoProof:
    """Marks outgoing audio and recognises it in what comes back.

    An echoing server sends the payload back under its own numbers, so the mark is in the payload: `key`
    (8 bytes, random, one a call) and the packet's index, followed by a tone. A transcoding path destroys
    the mark; the tone is proof then, though a weaker one.
    """

    def __init__(self, key: bytes, *, law: g711.Law = g711.Law.MU) -> None:
        if len(key) != 8:
            raise ValueError("the key of an echo proof is 8 bytes")
        self.sent = 0
        self.echoed = 0  # distinct packets of ours that came back
        self.tones = 0  # packets without our mark that carry our tone
        self.foreign = 0  # packets with neither
        self.round_trips: list[float] = []  # seconds, in order of arrival
        self._key = key
        self._law = law
        self._departures: dict[int, float] = {}

    def payload(self, now: float, *, samples: int = 160) -> bytes:
        """The next packet's payload, sent at `now` in monotonic seconds."""
        index = self.sent
        self.sent += 1
        self._departures[index] = now
        mark = self._key + index.to_bytes(_MARK_INDEX, "big")
        audio = g711.tone(frequency=TONE, samples=samples - len(mark), first=index * samples + len(mark))
        return mark + g711.encode(audio, self._law)

    def receive(self, payload: bytes, now: float, *, law: g711.Law | None = None) -> None:
        """Judge a received payload; `law` if the far side sends another one than ours."""
        position = payload.find(self._key)
        if position >= 0:
            start = position + len(self._key)
            mark = payload[start : start + _MARK_INDEX]
            departure = self._departures.pop(int.from_bytes(mark, "big"), None)
            if departure is not None and len(mark) == _MARK_INDEX:
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
