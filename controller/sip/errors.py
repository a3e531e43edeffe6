"""What can go wrong with input that the SIP room reads.

SipError(ValueError)
 ├─ SipParseError     a message, header or URI that is not SIP; carries the status a server would answer with
 ├─ DigestError       a challenge that cannot be read or answered
 ├─ SdpError          a session description that is not SDP, or not an answer to our offer
 └─ RtpError          a datagram that is not RTP or RTCP
"""


class SipError(ValueError):
    """Base of everything that malformed input raises in this package."""


class SipParseError(SipError):
    """Malformed SIP. `status` is the final response a server would give (RFC 3261 21.4, 21.5)."""

    def __init__(self, reason: str, *, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class DigestError(SipError):
    """A digest challenge or credentials that can't be read, or ask for what we don't speak."""


class SdpError(SipError):
    """A malformed session description (RFC 8866), or one that can't be used as an answer (RFC 3264)."""


class RtpError(SipError):
    """Not an RTP or RTCP packet (RFC 3550)."""
