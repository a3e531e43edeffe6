"""A whole call against an answerer made of the server's own building blocks."""

from dataclasses import replace

import pytest

from controller.sip import sdp
from controller.sip.call import Call, Phase
from controller.sip.call_plan import TEST_CALL_HEADER, CallPlan
from controller.sip.call_record import Answered, CallOutcome, CallOutput, Ended, Progress, Reply, Transmit
from controller.sip.digest import Challenge, Credentials, find_authorization, verify
from controller.sip.errors import SipParseError
from controller.sip.messages import Headers, Request, Response, parse_message
from controller.sip.replies import reply
from controller.sip.transactions import Timers

PLAN = CallPlan(
    uri="sip:echo@192.0.2.10",
    from_uri="sip:probe@192.0.2.1",
    sent_by="192.0.2.1:5062",
    offer=sdp.build_audio(address="192.0.2.1", port=4000, session_id=1),
    test_id="t-1",
    display_name='Test "call"',
    duration=3.0,
    ring_limit=10.0,
)
ANSWER = sdp.build_audio(address="192.0.2.10", port=6000, session_id=2, codecs=(sdp.PCMU,))
CONTACT = ("Contact", "<sip:echo@192.0.2.10:5070>")


def start(plan: CallPlan = PLAN) -> tuple[Call, Request]:
    call = Call(plan, token="token0123456789")
    return call, only_request(call.start(0.0))


def requests(outputs: list[CallOutput]) -> list[Request]:
    messages = [parse_message(output.datagram) for output in outputs if isinstance(output, Transmit)]
    assert all(isinstance(message, Request) for message in messages)
    return [message for message in messages if isinstance(message, Request)]


def only_request(outputs: list[CallOutput]) -> Request:
    (message,) = requests(outputs)
    return message


def answer(
    invite: Request, *, tag: str = "callee", headers: Headers = (CONTACT,), body: bytes = ANSWER
) -> Response:
    return reply(invite, 200, headers=headers, body=body, to_tag=tag)


def feed(call: Call, message: Request | Response, now: float) -> list[CallOutput]:
    """Over the wire and in."""
    return call.receive(parse_message(message.encode()), now)


def methods(outputs: list[CallOutput]) -> list[str]:
    return [message.method for message in requests(outputs)]


def test_invite_is_marked_as_a_test_call() -> None:
    _, invite = start()
    assert invite.method == "INVITE"
    assert invite.get(TEST_CALL_HEADER) == "t-1"
    assert invite.from_.display_name == 'Test "call"'
    assert sdp.parse_audio(invite.body).port == 4000


def test_whole_call() -> None:
    call, invite = start()
    assert [type(o) for o in feed(call, reply(invite, 100), 0.01)] == [Progress]
    feed(call, reply(invite, 180, to_tag="callee"), 0.2)
    outputs = feed(call, answer(invite, headers=(CONTACT, ("X-Side", "primary"))), 1.0)
    acknowledgement = only_request(outputs)
    assert (acknowledgement.method, acknowledgement.uri) == ("ACK", "sip:echo@192.0.2.10:5070")
    assert (acknowledgement.cseq.number, acknowledgement.to.tag) == (invite.cseq.number, "callee")
    assert acknowledgement.top_via.branch != invite.top_via.branch
    answered = outputs[1]
    assert isinstance(answered, Answered)
    assert answered.audio is not None and answered.audio.port == 6000
    assert call.next_deadline == 4.0
    assert call.wake(3.9) == []
    bye = only_request(call.wake(4.0))
    assert (bye.method, bye.uri, bye.cseq.number) == ("BYE", "sip:echo@192.0.2.10:5070", 2)
    assert bye.get(TEST_CALL_HEADER) == "t-1"
    assert feed(call, reply(bye, 200), 4.1) == [Ended(CallOutcome.COMPLETED)]
    record = call.record
    assert record.post_dial_delay == pytest.approx(0.2)
    assert record.answer_delay == pytest.approx(1.0)
    assert (record.status, record.bye_status, record.provisional) == (200, 200, (100, 180))
    assert record.header("x-side") == "primary"
    assert not record.retransmitted
    assert call.phase is Phase.ENDED


def test_lost_invite_is_sent_again() -> None:
    call, invite = start()
    assert methods(call.wake(0.5)) == ["INVITE"]
    feed(call, answer(invite), 0.6)
    assert call.record.retransmitted


def test_nobody_there() -> None:
    call, _ = start(replace(PLAN, timers=Timers(deadline=2.0)))
    outputs: list[CallOutput] = []
    while not outputs or not isinstance(outputs[-1], Ended):
        assert call.next_deadline is not None
        outputs = call.wake(call.next_deadline)
    assert outputs == [Ended(CallOutcome.NO_REPLY)]
    assert call.record.ended == 2.0
    assert call.record.invites_sent == 3


def test_hang_up_before_any_response_waits_with_cancel() -> None:
    call, invite = start()
    assert call.hang_up(0.1) == []
    outputs = feed(call, reply(invite, 100), 0.2)
    cancel = only_request(outputs)
    assert cancel.method == "CANCEL"
    assert cancel.top_via.branch == invite.top_via.branch
    assert feed(call, reply(cancel, 200), 0.3) == []
    outputs = feed(call, reply(invite, 487, to_tag="callee"), 0.4)
    assert methods(outputs) == ["ACK"]
    assert outputs[-1] == Ended(CallOutcome.NO_ANSWER)


def test_ring_limit_cancels() -> None:
    call, invite = start()
    feed(call, reply(invite, 180, to_tag="callee"), 0.2)
    assert call.next_deadline == 10.0
    assert methods(call.wake(10.0)) == ["CANCEL"]


def test_cancel_that_is_never_answered_ends_all_the_same() -> None:
    call, invite = start(replace(PLAN, timers=Timers(deadline=2.0)))
    feed(call, reply(invite, 180, to_tag="callee"), 0.2)
    call.wake(10.0)
    assert call.wake(12.0)[-1] == Ended(CallOutcome.NO_ANSWER)


def test_answer_that_crosses_a_cancel_is_hung_up() -> None:
    call, invite = start()
    feed(call, reply(invite, 180, to_tag="callee"), 0.2)
    assert methods(call.hang_up(1.0)) == ["CANCEL"]
    outputs = feed(call, answer(invite), 1.1)
    assert methods(outputs) == ["ACK", "BYE"]
    assert feed(call, reply(requests(outputs)[1], 200), 1.2) == [Ended(CallOutcome.NO_ANSWER)]


def test_answer_after_the_end_is_hung_up() -> None:
    call, invite = start(replace(PLAN, timers=Timers(deadline=1.0)))
    call.wake(1.0)
    assert call.phase is Phase.ENDED
    outputs = feed(call, answer(invite), 5.0)
    assert methods(outputs) == ["ACK", "BYE"]
    assert not any(isinstance(output, Ended) for output in outputs)


def test_repeated_answer_is_acknowledged_again() -> None:
    call, invite = start()
    first = only_request(feed(call, answer(invite), 1.0))
    outputs = feed(call, answer(invite), 1.5)
    assert only_request(outputs) == first
    assert len(outputs) == 1


def test_second_answer_of_a_fork_is_hung_up() -> None:
    call, invite = start()
    feed(call, answer(invite), 1.0)
    other = answer(invite, tag="other", headers=(("Contact", "<sip:x@192.0.2.11>"),))
    outputs = feed(call, other, 1.1)
    assert [(m.method, m.uri, m.to.tag) for m in requests(outputs)] == [
        ("ACK", "sip:x@192.0.2.11", "other"),
        ("BYE", "sip:x@192.0.2.11", "other"),
    ]
    assert feed(call, reply(requests(outputs)[1], 200), 1.2) == []
    assert call.phase is Phase.ANSWERED


@pytest.mark.parametrize("status", [403, 486, 503, 604])
def test_rejection(status: int) -> None:
    call, invite = start()
    outputs = feed(call, reply(invite, status, to_tag="callee"), 0.3)
    assert methods(outputs) == ["ACK"]
    assert outputs[-1] == Ended(CallOutcome.REJECTED)
    assert call.record.status == status
    assert call.record.post_dial_delay is None


CHALLENGE = Challenge(realm="pbx", nonce="n1")


def challenge(request: Request, text: str = str(CHALLENGE)) -> Response:
    return reply(request, 407, headers=(("Proxy-Authenticate", text),), to_tag="proxy")


def test_digest_once_and_in_ack_and_bye() -> None:
    call, invite = start(replace(PLAN, credentials=Credentials(username="probe", password="pw")))
    outputs = feed(call, challenge(invite), 0.1)
    assert methods(outputs) == ["ACK", "INVITE"]
    second = requests(outputs)[1]
    assert second.cseq.number == 2
    assert second.top_via.branch != invite.top_via.branch
    authorization = find_authorization(second, realm="pbx", proxy=True)
    assert authorization is not None
    assert verify(authorization, CHALLENGE, password="pw", method="INVITE")
    acknowledgement = only_request(feed(call, answer(second), 0.5))
    assert acknowledgement.get("Proxy-Authorization") == second.get("Proxy-Authorization")
    bye = only_request(call.wake(3.5))
    assert bye.cseq.number == 3
    in_bye = find_authorization(bye, realm="pbx", proxy=True)
    assert in_bye is not None and in_bye.nonce_count == 2
    # A server that hands out a new nonce for each request gets its answer.
    again = only_request(feed(call, challenge(bye, str(Challenge(realm="pbx", nonce="n2"))), 3.6))
    assert (again.method, again.cseq.number) == ("BYE", 4)
    assert feed(call, reply(again, 200), 3.7) == [Ended(CallOutcome.COMPLETED)]


def test_wrong_password_is_not_tried_for_ever() -> None:
    call, invite = start(replace(PLAN, credentials=Credentials(username="probe", password="pw")))
    second = requests(feed(call, challenge(invite), 0.1))[1]
    assert feed(call, challenge(second), 0.2)[-1] == Ended(CallOutcome.UNAUTHORIZED)


def test_challenge_without_credentials() -> None:
    call, invite = start()
    assert feed(call, challenge(invite), 0.1)[-1] == Ended(CallOutcome.UNAUTHORIZED)


def test_loose_route_set_is_reversed() -> None:
    call, invite = start()
    recorded = replace(
        invite,
        headers=(
            ("Record-Route", "<sip:edge2;lr>, <sip:edge1:5080;lr>"),
            *invite.headers,
        ),
    )
    outputs = feed(call, answer(recorded), 0.5)
    acknowledgement = only_request(outputs)
    assert acknowledgement.get_all("Route") == ("<sip:edge1:5080;lr>", "<sip:edge2;lr>")
    assert acknowledgement.uri == "sip:echo@192.0.2.10:5070"
    (transmit,) = [output for output in outputs if isinstance(output, Transmit)]
    assert transmit.next_hop is not None
    assert (transmit.next_hop.host, transmit.next_hop.port) == ("edge1", 5080)


def test_strict_router_gets_its_own_uri() -> None:
    call, invite = start()
    recorded = replace(invite, headers=(("Record-Route", "<sip:b;lr>, <sip:a;method=X>"), *invite.headers))
    acknowledgement = only_request(feed(call, answer(recorded), 0.5))
    assert acknowledgement.uri == "sip:a"
    assert acknowledgement.get_all("Route") == ("<sip:b;lr>", "<sip:echo@192.0.2.10:5070>")


def test_preloaded_route() -> None:
    _, invite = start(replace(PLAN, route=("<sip:edge;lr>",)))
    assert invite.get("Route") == "<sip:edge;lr>"


@pytest.mark.parametrize("body", [b"", b"nonsense"])
def test_answer_without_description_is_hung_up(body: bytes) -> None:
    call, invite = start()
    outputs = feed(call, answer(invite, body=body), 0.5)
    assert methods(outputs) == ["ACK", "BYE"]
    assert call.record.answer_error
    assert feed(call, reply(requests(outputs)[1], 200), 0.6) == [Ended(CallOutcome.BAD_ANSWER)]


def in_dialog(call: Call, invite: Request, method: str, *, to_tag: str | None = None) -> Request:
    return Request(
        method=method,
        uri=f"sip:{PLAN.sent_by}",
        headers=(
            ("Via", f"SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK{method}"),
            ("From", "<sip:echo@192.0.2.10>;tag=callee"),
            ("To", f"<sip:probe@192.0.2.1>;tag={to_tag or call.from_tag}"),
            ("Call-ID", invite.call_id),
            ("CSeq", f"1 {method}"),
        ),
    )


def reply_status(outputs: list[CallOutput]) -> int:
    (status,) = [
        message.status
        for output in outputs
        if isinstance(output, Reply) and isinstance(message := parse_message(output.datagram), Response)
    ]
    return status


def test_peer_hangs_up() -> None:
    call, invite = start()
    feed(call, answer(invite), 0.5)
    bye = in_dialog(call, invite, "BYE")
    outputs = feed(call, bye, 1.0)
    assert reply_status(outputs) == 200
    assert outputs[-1] == Ended(CallOutcome.COMPLETED)
    assert call.record.hung_up_by_peer
    assert reply_status(feed(call, bye, 1.5)) == 200
    assert call.wake(3.5) == []


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 200), ("INVITE", 488), ("REFER", 405)])
def test_other_requests_inside_the_call(method: str, status: int) -> None:
    call, invite = start()
    feed(call, answer(invite), 0.5)
    assert reply_status(feed(call, in_dialog(call, invite, method), 1.0)) == status
    assert call.phase is Phase.ANSWERED


def test_strangers_are_turned_away() -> None:
    call, invite = start()
    feed(call, answer(invite), 0.5)
    assert reply_status(feed(call, in_dialog(call, invite, "BYE", to_tag="wrong"), 1.0)) == 481
    stranger = replace(
        reply(invite, 200), headers=tuple((n, "other" if n == "Call-ID" else v) for n, v in invite.headers)
    )
    assert feed(call, stranger, 1.0) == []
    assert call.phase is Phase.ANSWERED


def test_bye_that_nobody_answers() -> None:
    call, invite = start(replace(PLAN, timers=Timers(deadline=1.0)))
    feed(call, answer(invite), 0.5)
    assert methods(call.wake(3.5)) == ["BYE"]
    assert methods(call.wake(4.0)) == ["BYE"]
    assert call.wake(4.5) == [Ended(CallOutcome.COMPLETED)]
    assert call.record.bye_status is None


def test_transport_failure() -> None:
    call, _ = start()
    assert call.fail("connection refused", 0.1) == [Ended(CallOutcome.TRANSPORT)]
    assert call.fail("connection refused", 0.2) == []


def test_misuse_is_refused() -> None:
    call, _ = start()
    with pytest.raises(RuntimeError):
        call.start(1.0)
    with pytest.raises(SipParseError):
        Call(replace(PLAN, uri="nonsense"), token="t")
