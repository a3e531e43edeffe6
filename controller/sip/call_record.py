"""What an outgoing call reports: its steps as outputs, its measurements, and how it ended."""

from dataclasses import dataclass
from enum import Enum

from controller.sip.messages import Response
from controller.sip.sdp import AudioDescription
from controller.sip.uri import Uri


class CallOutcome(Enum):
    """How the call ended."""

    COMPLETED = "completed"  # answered, and over in an orderly way
    REJECTED = "rejected"  # a final response but 2xx
    UNAUTHORIZED = "unauthorized"  # 401 or 407 that we couldn't satisfy
    NO_REPLY = "no_reply"  # nothing at all came back
    NO_ANSWER = "no_answer"  # given up before an answer: the ring limit, or hang_up
    TRANSPORT = "transport"
    BAD_ANSWER = "bad_answer"  # answered with no usable session description


@dataclass(slots=True)
class CallRecord:
    """What was measured. Instants are monotonic seconds as passed in, None when it didn't happen."""

    started: float | None = None
    first_response: float | None = None
    alerted: float | None = None  # the first 180 to 183, or the answer
    answered: float | None = None
    ended: float | None = None
    invites_sent: int = 0
    provisional: tuple[int, ...] = ()
    final: Response | None = None
    bye_status: int | None = None
    hung_up_by_peer: bool = False
    answer_error: str | None = None

    @property
    def post_dial_delay(self) -> float | None:
        """Seconds from the INVITE to the first sign of ringing (RFC 6076 4.3)."""
        return self._since_start(self.alerted)

    @property
    def answer_delay(self) -> float | None:
        return self._since_start(self.answered)

    @property
    def status(self) -> int | None:
        """The final status of the INVITE."""
        return None if self.final is None else self.final.status

    @property
    def retransmitted(self) -> bool:
        return self.invites_sent > 1

    def header(self, name: str) -> str | None:
        """A header of the final response: which side answered, for one."""
        return None if self.final is None else self.final.get(name)

    def _since_start(self, instant: float | None) -> float | None:
        return None if instant is None or self.started is None else instant - self.started


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send a request. `next_hop` None: to the target of the call; else to this URI (RFC 3261 12.2.1.1)."""

    datagram: bytes
    next_hop: Uri | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """Send a response back to where the request just fed in came from."""

    datagram: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """A provisional response came in."""

    response: Response


@dataclass(frozen=True, slots=True)
class Answered:
    """The call stands. Start media towards `audio`; None when the description was of no use."""

    response: Response
    audio: AudioDescription | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over; comes once. Keep feeding late messages in for a while: they get ACK and BYE."""

    outcome: CallOutcome


CallOutput = Transmit | Reply | Progress | Answered | Ended
