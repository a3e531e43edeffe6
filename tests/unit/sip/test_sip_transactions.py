"""Client transactions with time passed in (RFC 3261 17.1)."""

import pytest

from controller.sip.acknowledgement import AwaitedAcknowledgement
from controller.sip.messages import Request, Response, parse_message
from controller.sip.replies import reply
from controller.sip.transactions import (
    Deliver,
    InviteTransaction,
    NonInviteTransaction,
    Send,
    State,
    TimedOut,
    Timers,
    TransportFailed,
    cancel,
)


def request(method: str) -> Request:
    return Request(
        method=method,
        uri="sip:echo@example.com",
        headers=(
            ("Via", "SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bKx"),
            ("Max-Forwards", "70"),
            ("Route", "<sip:edge;lr>"),
            ("From", "<sip:probe@example.com>;tag=f"),
            ("To", "<sip:echo@example.com>"),
            ("Call-ID", "c1"),
            ("CSeq", f"1 {method}"),
        ),
    )


def response(method: str, status: int) -> Response:
    return reply(request(method), status, to_tag="t")


def run_out(transaction: InviteTransaction | NonInviteTransaction) -> tuple[list[float], float | None]:
    """Let time pass with no answer: when copies went out, and when it timed out."""
    sent = [0.0] if transaction.start(0.0) else []
    while (due := transaction.next_deadline) is not None:
        for output in transaction.wake(due):
            if isinstance(output, Send):
                sent.append(due)
            else:
                assert output == TimedOut()
                return sent, due
    return sent, None


def test_non_invite_retransmits_up_to_t2_and_gives_up_after_64_t1() -> None:
    transaction = NonInviteTransaction(request("OPTIONS"), Timers())
    assert run_out(transaction) == ([0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5], 32.0)
    assert transaction.state is State.TERMINATED
    assert transaction.next_deadline is None


def test_prober_deadline() -> None:
    assert run_out(NonInviteTransaction(request("OPTIONS"), Timers(deadline=2.5))) == ([0, 0.5, 1.5], 2.5)


def test_reliable_transport_sends_once() -> None:
    assert run_out(NonInviteTransaction(request("OPTIONS"), Timers(reliable=True))) == ([0], 32.0)
    assert run_out(InviteTransaction(request("INVITE"), Timers(reliable=True))) == ([0], 32.0)


def test_invite_doubles_without_bound() -> None:
    transaction = InviteTransaction(request("INVITE"), Timers())
    assert run_out(transaction) == ([0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5], 32.0)


def test_non_invite_slows_down_to_t2_after_a_provisional() -> None:
    transaction = NonInviteTransaction(request("OPTIONS"), Timers())
    transaction.start(0.0)
    provisional = response("OPTIONS", 100)
    assert transaction.receive(provisional, 0.1) == [Deliver(provisional)]
    assert [type(o) for o in transaction.wake(0.5)] == [Send]
    assert transaction.next_deadline == 4.5


def test_non_invite_delivers_the_final_response_once_and_lingers() -> None:
    transaction = NonInviteTransaction(request("OPTIONS"), Timers())
    transaction.start(0.0)
    final = response("OPTIONS", 200)
    assert transaction.receive(final, 0.7) == [Deliver(final)]
    assert transaction.receive(final, 0.8) == []
    assert transaction.next_deadline == pytest.approx(5.7)
    assert transaction.wake(5.7) == []
    assert transaction.state is State.TERMINATED


def test_waking_early_does_nothing() -> None:
    transaction = NonInviteTransaction(request("OPTIONS"), Timers())
    transaction.start(0.0)
    assert transaction.wake(0.4) == []
    assert transaction.sent == 1


def test_matching() -> None:
    transaction = NonInviteTransaction(request("OPTIONS"), Timers())
    assert transaction.matches(response("OPTIONS", 200))
    assert not transaction.matches(response("BYE", 200))
    good = response("OPTIONS", 200).encode()
    for old, new in ((b"z9hG4bKx", b"z9hG4bKy"), (b"Call-ID: c1", b"Call-ID: c2"), (b"tag=f", b"tag=g")):
        other = parse_message(good.replace(old, new))
        assert isinstance(other, Response)
        assert not transaction.matches(other)


def test_invite_stops_after_a_provisional() -> None:
    transaction = InviteTransaction(request("INVITE"), Timers())
    transaction.start(0.0)
    transaction.receive(response("INVITE", 180), 0.2)
    assert transaction.next_deadline is None


def test_failure_is_acknowledged_each_time_it_comes() -> None:
    transaction = InviteTransaction(request("INVITE"), Timers())
    transaction.start(0.0)
    busy = response("INVITE", 486)
    outputs = transaction.receive(busy, 1.0)
    assert isinstance(outputs[0], Send)
    assert outputs[1:] == [Deliver(busy)]
    acknowledgement = parse_message(outputs[0].datagram)
    assert isinstance(acknowledgement, Request)
    assert acknowledgement.method == "ACK"
    assert acknowledgement.top_via == transaction.request.top_via
    assert (acknowledgement.to.tag, acknowledgement.cseq.number) == ("t", 1)
    assert acknowledgement.get("Route") == "<sip:edge;lr>"
    assert transaction.receive(busy, 1.5) == [outputs[0]]
    assert transaction.receive(response("INVITE", 180), 1.6) == []
    assert transaction.next_deadline == 33.0
    transaction.wake(33.0)
    assert transaction.state is State.TERMINATED


def test_success_is_left_to_the_dialog() -> None:
    transaction = InviteTransaction(request("INVITE"), Timers())
    transaction.start(0.0)
    ok = response("INVITE", 200)
    assert transaction.receive(ok, 1.0) == [Deliver(ok)]
    assert transaction.state is State.TERMINATED


def test_transport_failure_ends_it_once() -> None:
    transaction = NonInviteTransaction(request("OPTIONS"), Timers())
    transaction.start(0.0)
    assert transaction.fail("refused") == [TransportFailed("refused")]
    assert transaction.fail("refused") == []
    assert transaction.next_deadline is None


def test_cancel_is_the_same_transaction() -> None:
    invite = request("INVITE")
    message = cancel(invite)
    assert (message.method, message.uri, message.cseq.number) == ("CANCEL", invite.uri, 1)
    assert message.vias == invite.vias
    assert message.to.tag is None
    assert message.get("Route") == "<sip:edge;lr>"


def test_answer_is_repeated_until_its_ack() -> None:
    answer = AwaitedAcknowledgement(b"200", Timers(), now=10.0)
    sent = []
    while answer.next_deadline is not None and len(sent) < 4:
        due = answer.next_deadline
        assert answer.wake(due) == b"200"
        sent.append(due)
    assert sent == [10.5, 11.5, 13.5, 17.5]
    answer.acknowledge()
    assert answer.next_deadline is None
    assert not answer.expired


def test_answer_without_ack_expires() -> None:
    answer = AwaitedAcknowledgement(b"200", Timers(t1=0.1, t2=0.4), now=0.0)
    assert answer.wake(0.05) is None
    while answer.next_deadline is not None:
        answer.wake(answer.next_deadline)
    assert answer.expired
    assert answer.repeats == 17


def test_failure_over_a_stream_is_not_repeated() -> None:
    answer = AwaitedAcknowledgement(b"486", Timers(reliable=True), now=0.0)
    assert answer.next_deadline == 32.0
    assert answer.wake(32.0) is None
    assert answer.expired
