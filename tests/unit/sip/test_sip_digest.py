"""Digest against the published vectors, and the client's rules for answering."""

import pytest

from controller.sip.authentication import ClientAuthentication
from controller.sip.digest import (
    Algorithm,
    Challenge,
    Credentials,
    answer_challenge,
    choose_challenge,
    compute_response,
    find_authorization,
    parse_authorization,
    parse_challenge,
    verify,
)
from controller.sip.errors import DigestError
from controller.sip.messages import Headers, Request, Response

ALICE = Credentials(username="alice", password="secret")


def test_rfc2617_example() -> None:
    response = compute_response(
        algorithm=Algorithm.MD5,
        username="Mufasa",
        realm="testrealm@host.com",
        password="Circle Of Life",
        method="GET",
        uri="/dir/index.html",
        nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
        cnonce="0a4f113b",
    )
    assert response == "6629fae49393a05397450978507c4ef1"


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (Algorithm.MD5, "8ca523f5e9506fed4657c9700eebdbec"),
        (Algorithm.SHA_256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_rfc7616_example(algorithm: Algorithm, expected: str) -> None:
    response = compute_response(
        algorithm=algorithm,
        username="Mufasa",
        realm="http-auth@example.org",
        password="Circle of Life",
        method="GET",
        uri="/dir/index.html",
        nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    assert response == expected


def test_sha_512_256_is_the_truncated_one() -> None:
    # FIPS 180-4 example value for "abc"; not the first half of SHA-512.
    expected = "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"
    assert Algorithm.SHA_512_256.hash("abc") == expected


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("qop", [True, False])
def test_answer_verifies_and_another_does_not(algorithm: Algorithm, qop: bool) -> None:
    challenge = Challenge(realm='a "b"', nonce="n\\1", algorithm=algorithm, qop=qop, opaque="o")
    again = parse_challenge(str(challenge))
    assert again == challenge
    answer = answer_challenge(again, ALICE, method="REGISTER", uri="sip:a", cnonce="c", nonce_count=3)
    received = parse_authorization(str(answer))
    assert received == answer if qop else received.response == answer.response
    assert verify(received, challenge, password="secret", method="REGISTER")
    assert not verify(received, challenge, password="Secret", method="REGISTER")
    assert not verify(received, challenge, password="secret", method="INVITE")
    other = Challenge(realm=challenge.realm, nonce="n2", algorithm=algorithm, qop=qop)
    assert not verify(received, other, password="secret", method="REGISTER")


def test_verification_refuses_an_answer_without_qop_when_it_was_offered() -> None:
    asked = Challenge(realm="r", nonce="n", qop=True)
    answered = answer_challenge(
        Challenge(realm="r", nonce="n", qop=False), ALICE, method="M", uri="u", cnonce="c"
    )
    assert not verify(answered, asked, password="secret", method="M")


def test_password_is_not_shown() -> None:
    assert "secret" not in repr(ALICE)


@pytest.mark.parametrize(
    "value",
    [
        "Basic realm=x",
        "Digest",
        'Digest realm="x"',
        'Digest realm="x", nonce="n", algorithm=SHA-1',
        'Digest realm="x", nonce="n", qop="auth-int"',
        'Digest realm="x, nonce="n"',
        'Digest realm="x" nonce="n"',
    ],
)
def test_unusable_challenge(value: str) -> None:
    with pytest.raises(DigestError):
        parse_challenge(value)


def challenged(status: int, *values: str) -> Response:
    name = "Proxy-Authenticate" if status == 407 else "WWW-Authenticate"
    return Response(status=status, reason="", headers=tuple((name, value) for value in values))


def test_topmost_supported_challenge_wins() -> None:
    response = challenged(
        401,
        'Digest realm="r", nonce="a", algorithm=SHA3-256',
        'Digest realm="r", nonce="b", algorithm=SHA-512-256, qop="auth,auth-int"',
        'Digest realm="r", nonce="c", algorithm=MD5',
    )
    assert choose_challenge(response).algorithm is Algorithm.SHA_512_256
    with pytest.raises(DigestError):
        choose_challenge(challenged(401))


def headers_of(authentication: ClientAuthentication) -> Headers:
    return authentication.headers(method="INVITE", uri="sip:a")


def test_client_answers_once() -> None:
    authentication = ClientAuthentication(ALICE, cnonce="c")
    assert headers_of(authentication) == ()
    refused = challenged(401, 'Digest realm="r", nonce="a", qop="auth"')
    assert authentication.accept(refused)
    assert [name for name, _ in headers_of(authentication)] == ["Authorization"]
    assert not authentication.accept(refused)


def test_client_answers_again_when_stale_but_not_for_ever() -> None:
    authentication = ClientAuthentication(ALICE, cnonce="c")
    assert authentication.accept(challenged(401, 'Digest realm="r", nonce="a", qop="auth"'))
    stale = [challenged(401, f'Digest realm="r", nonce="{n}", qop="auth", stale=TRUE') for n in range(4)]
    assert [authentication.accept(response) for response in stale] == [True, True, False, False]


def test_registrar_and_proxy_side_by_side() -> None:
    authentication = ClientAuthentication(ALICE, cnonce="c")
    assert authentication.accept(challenged(407, 'Digest realm="p", nonce="a", qop="auth"'))
    assert authentication.accept(challenged(401, 'Digest realm="r", nonce="b", qop="auth"'))
    request = Request(method="INVITE", uri="sip:a", headers=headers_of(authentication))
    proxy = find_authorization(request, realm="p", proxy=True)
    registrar = find_authorization(request, realm="r")
    assert proxy is not None and registrar is not None
    assert (proxy.nonce_count, registrar.nonce_count) == (1, 1)
    assert find_authorization(request, realm="other") is None


def test_nonce_count_grows() -> None:
    authentication = ClientAuthentication(ALICE, cnonce="c")
    authentication.accept(challenged(401, 'Digest realm="r", nonce="a", qop="auth"'))
    counts = [parse_authorization(headers_of(authentication)[0][1]).nonce_count for _ in range(3)]
    assert counts == [1, 2, 3]


def test_nobody_answers_without_credentials() -> None:
    assert not ClientAuthentication(None, cnonce="c").accept(challenged(401, 'Digest realm="r", nonce="a"'))
