"""REGISTER against a registrar made of the server's own building blocks."""

from dataclasses import replace

import pytest

from controller.sip.digest import Algorithm, Challenge, Credentials, find_authorization, verify
from controller.sip.messages import Headers, Request, Response, parse_message
from controller.sip.register import (
    Registered,
    Registration,
    RegistrationOutcome,
    RegistrationOutput,
    RegistrationPlan,
)
from controller.sip.replies import reply
from controller.sip.transactions import Send, Timers

PLAN = RegistrationPlan(
    registrar="sip:example.com",
    aor="sip:probe@example.com",
    sent_by="192.0.2.1:5062",
    contact="sip:probe@192.0.2.1:5062",
    credentials=Credentials(username="probe", password="pw"),
)
CHALLENGE = Challenge(realm="example.com", nonce="n1", algorithm=Algorithm.SHA_256)


def start(plan: RegistrationPlan = PLAN) -> tuple[Registration, Request]:
    registration = Registration(plan, token="token0123456789")
    return registration, sent(registration.start(0.0))


def sent(outputs: list[RegistrationOutput]) -> Request:
    (output,) = outputs
    assert isinstance(output, Send)
    message = parse_message(output.datagram)
    assert isinstance(message, Request)
    return message


def result(outputs: list[RegistrationOutput]) -> Registered:
    (output,) = outputs
    assert isinstance(output, Registered)
    return output


def challenge(request: Request, value: Challenge = CHALLENGE) -> Response:
    return reply(request, 401, headers=(("WWW-Authenticate", str(value)),), to_tag="r")


def accept(request: Request, headers: Headers) -> Response:
    return reply(request, 200, headers=headers, to_tag="r")


def test_registration_with_digest() -> None:
    registration, first = start()
    assert (first.get("Contact"), first.get("Expires")) == ("<sip:probe@192.0.2.1:5062>", "60")
    second = sent(registration.receive(challenge(first), 0.1))
    assert second.cseq.number == first.cseq.number + 1
    assert (second.call_id, second.from_.tag) == (first.call_id, first.from_.tag)
    authorization = find_authorization(second, realm="example.com")
    assert authorization is not None
    assert verify(authorization, CHALLENGE, password="pw", method="REGISTER")
    bindings = (("Contact", "<sip:probe@198.51.100.1>;expires=3000, <sip:probe@192.0.2.1:5062>;expires=55"),)
    done = result(registration.receive(accept(second, bindings), 0.2))
    assert (done.outcome, done.granted) == (RegistrationOutcome.REGISTERED, 55)
    assert (done.challenged, done.attempts) == (True, 2)
    assert registration.next_deadline is None
    assert registration.receive(accept(second, bindings), 0.3) == []


def test_expiry_from_the_header() -> None:
    registration, first = start()
    headers = (("Contact", "<sip:probe@192.0.2.1:5062>"), ("Expires", "120"))
    done = result(registration.receive(accept(first, headers), 0.1))
    assert (done.granted, done.challenged) == (120, False)


def test_binding_that_is_not_there_grants_nothing() -> None:
    registration, first = start()
    headers = (("Contact", "<sip:other@192.0.2.1:5062>;expires=60"),)
    assert result(registration.receive(accept(first, headers), 0.1)).granted is None


def test_wrong_password() -> None:
    registration, first = start()
    second = sent(registration.receive(challenge(first), 0.1))
    done = result(registration.receive(challenge(second), 0.2))
    assert (done.outcome, done.response and done.response.status) == (RegistrationOutcome.UNAUTHORIZED, 401)


def test_stale_nonce_is_answered_again() -> None:
    registration, first = start()
    second = sent(registration.receive(challenge(first), 0.1))
    fresh = replace(CHALLENGE, nonce="n2", stale=True)
    third = sent(registration.receive(challenge(second, fresh), 0.2))
    authorization = find_authorization(third, realm="example.com")
    assert authorization is not None
    assert (authorization.nonce, authorization.nonce_count) == ("n2", 1)


def too_brief(request: Request, minimum: str) -> Response:
    return reply(request, 423, headers=(("Min-Expires", minimum),), to_tag="r")


def test_interval_too_brief_is_raised_once() -> None:
    registration, first = start()
    second = sent(registration.receive(too_brief(first, "300"), 0.1))
    assert second.get("Expires") == "300"
    done = result(registration.receive(too_brief(second, "600"), 0.2))
    assert done.outcome is RegistrationOutcome.REJECTED


@pytest.mark.parametrize("minimum", ["30", "x", ""])
def test_useless_minimum_is_a_rejection(minimum: str) -> None:
    registration, first = start()
    done = result(registration.receive(too_brief(first, minimum), 0.1))
    assert done.outcome is RegistrationOutcome.REJECTED


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (403, RegistrationOutcome.UNAUTHORIZED),
        (404, RegistrationOutcome.REJECTED),
        (503, RegistrationOutcome.REJECTED),
    ],
)
def test_refusals(status: int, outcome: RegistrationOutcome) -> None:
    registration, first = start()
    assert result(registration.receive(reply(first, status, to_tag="r"), 0.1)).outcome is outcome


def test_provisional_response_is_waited_through() -> None:
    registration, first = start()
    assert registration.receive(reply(first, 100), 0.1) == []
    assert registration.result is None


def test_no_reply() -> None:
    registration, _ = start(replace(PLAN, timers=Timers(deadline=2.0)))
    outputs: list[RegistrationOutput] = []
    while registration.next_deadline is not None:
        outputs = registration.wake(registration.next_deadline)
    done = result(outputs)
    assert (done.outcome, done.attempts, done.response) == (RegistrationOutcome.NO_REPLY, 3, None)


def test_transport_failure_and_strangers() -> None:
    registration, first = start()
    other = Registration(PLAN, token="another")
    assert registration.receive(reply(sent(other.start(0.0)), 200), 0.1) == []
    assert registration.receive(first, 0.1) == []
    assert result(registration.fail("refused", 0.2)).outcome is RegistrationOutcome.TRANSPORT


def test_query_leaves_bindings_alone() -> None:
    _, first = start(replace(PLAN, contact=None))
    assert first.get("Contact") is None
    assert first.get("Expires") is None
