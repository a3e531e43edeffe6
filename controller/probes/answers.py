"""What a SIP response says about the one who sent it, and whether that counts as up."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import cache

from controller.model.health import Outcome

STATUSES = 700


class AnswerPolicy(StrEnum):
    """Which responses to OPTIONS count as up, as the vendor's own health check has it."""

    STRICT = "strict"  # 2xx
    KAMAILIO = "kamailio"  # 2xx; a 408 there is made locally, and accepting it hides real outages
    OPENSIPS = "opensips"  # 200
    ASTERISK = "asterisk"  # any final response
    FREESWITCH = "freeswitch"  # 200 to 599 but 408 and 503


def _outcome(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome.UP
    if 300 <= status < 400 or status == 404:
        return Outcome.MISROUTED
    match status:
        case 401 | 407:
            return Outcome.UP_AUTH
        case 408 | 504:
            return Outcome.NEXT_HOP_DOWN
        case 480 | 503 | 600:
            return Outcome.REFUSING
        case _:
            return Outcome.ERROR


OUTCOMES: tuple[Outcome, ...] = tuple(_outcome(status) for status in range(STATUSES))
"""By status code. Below 200 no verdict is meant."""


@cache
def _accepted(policy: AnswerPolicy, codes: frozenset[int], only_2xx: bool) -> tuple[bool, ...]:
    def accepts(status: int) -> bool:
        success = 200 <= status < 300
        match policy:
            case AnswerPolicy.STRICT:
                return success or status in codes
            case AnswerPolicy.KAMAILIO:
                return success or (status in codes and status != 408)
            case AnswerPolicy.OPENSIPS:
                return status == 200 or status in codes
            case AnswerPolicy.ASTERISK:
                return success or status in codes or (not only_2xx and status >= 200)
            case AnswerPolicy.FREESWITCH:
                return (200 <= status < 600 and status not in (408, 503)) or status in codes

    return tuple(accepts(status) for status in range(STATUSES))


def accepted(policy: AnswerPolicy, codes: Iterable[int] = (), *, only_2xx: bool = False) -> tuple[bool, ...]:
    """By status code: whether it counts as up. `codes` count too (`ds_ping_reply_codes`, `options_reply_codes`);
    `only_2xx` is Asterisk's `qualify_2xx_only`. Equal policies share one table."""
    return _accepted(policy, frozenset(codes), only_2xx)
