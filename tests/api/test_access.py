"""Who gets in, and what they may do there."""

from __future__ import annotations

import base64
import time

import aiohttp
import pytest

from tests.builders.consoles import TOKENS, Running

HTML = {"Accept": "text/html,application/xhtml+xml"}


async def sign_in(controller: Running, token: str, target: str = "/") -> aiohttp.ClientResponse:
    form = {"token": token, "next": target}
    return await controller.session.post(controller.address + "/login", data=form, allow_redirects=False)


async def cookie(controller: Running, account: str = "operator") -> dict[str, str]:
    answer = await sign_in(controller, TOKENS[account])
    return {"Cookie": f"thirdring={answer.cookies['thirdring'].value}"}


async def test_nobody_gets_in_without_an_account(controller: Running) -> None:
    for path in ("/api/v1/status", "/api/v1/events", "/metrics", "/", "/groups/calls"):
        status, body = await controller.call("GET", path, account="")
        assert status == 401 and "Authorization" in body["detail"], path
        status, _ = await controller.call("GET", path, account="", headers={"Authorization": "Bearer wrong"})
        assert status == 401, path
    status, _ = await controller.call("POST", "/api/v1/groups/calls/arm", account="")
    assert status == 401


@pytest.mark.filterwarnings("error::aiohttp.web.NotAppKeyWarning")
async def test_the_account_of_a_request_is_kept_under_a_key_of_its_own_type(controller: Running) -> None:
    status, _ = await controller.call("GET", "/api/v1/status")
    assert status == 200


async def test_a_browser_is_sent_to_the_login_and_back(controller: Running) -> None:
    async with controller.session.get(
        controller.address + "/groups/calls", headers=HTML, allow_redirects=False
    ) as answer:
        assert answer.status == 303
        assert answer.headers["Location"] == "/login?next=/groups/calls"
    answer = await sign_in(controller, TOKENS["operator"], "/groups/calls")
    assert (answer.status, answer.headers["Location"]) == (303, "/groups/calls")
    set_cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in set_cookie and "SameSite=Lax" in set_cookie
    assert TOKENS["operator"] not in set_cookie


async def test_a_wrong_token_is_told_so(controller: Running) -> None:
    answer = await sign_in(controller, "nonsense")
    assert answer.status == 401
    assert "令牌不对" in await answer.text()
    assert "thirdring" not in answer.cookies


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/a\r\nb",
        "http://[",
    ],
)
async def test_the_login_leads_nowhere_else(controller: Running, target: str) -> None:
    answer = await sign_in(controller, TOKENS["operator"], target)
    assert answer.headers["Location"] == "/"


async def test_a_session_reads_and_acts_and_ends(controller: Running) -> None:
    known = await cookie(controller)
    status, _ = await controller.call("GET", "/", account="", headers=known)
    assert status == 200
    status, body = await controller.call("POST", "/api/v1/groups/calls/disarm", account="", headers=known)
    assert status == 200, body
    now = time.time()
    access = controller.controller._access()
    value = known["Cookie"].removeprefix("thirdring=")
    assert access.by_session(value, now) is not None
    assert access.by_session(value, now + 13 * 3600) is None
    assert access.by_session(value[:-1] + ("0" if value[-1] != "0" else "1"), now) is None
    assert access.by_session("", now) is None


async def test_a_viewer_reads_and_does_nothing(controller: Running) -> None:
    await controller.get("/api/v1/status", account="viewer")
    for method, path in (
        ("POST", "/api/v1/groups/calls/arm"),
        ("POST", "/api/v1/holds"),
        ("DELETE", "/api/v1/holds/calls"),
        ("POST", "/groups/calls/arm"),
    ):
        status, body = await controller.call(method, path, account="viewer")
        assert (status, body["title"]) == (403, "Not allowed"), path
    page = await controller.get("/groups/calls", account="viewer", headers=HTML)
    assert "只能查看" in page and "/groups/calls/switch" not in page


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({}, True),
    ],
)
async def test_another_site_can_not_act_with_somebodys_cookie(
    controller: Running, headers: dict[str, str], allowed: bool
) -> None:
    known = await cookie(controller)
    status, body = await controller.call(
        "POST", "/api/v1/groups/calls/disarm", account="", headers={**known, **headers}
    )
    assert status == (200 if allowed else 403), body
    basic = "Basic " + base64.b64encode(f"me:{TOKENS['operator']}".encode()).decode()
    status, _ = await controller.call(
        "POST", "/api/v1/groups/calls/disarm", account="", headers={"Authorization": basic, **headers}
    )
    assert status == (200 if allowed else 403), "a browser sends basic credentials by itself as well"
    status, _ = await controller.call("POST", "/api/v1/groups/calls/disarm", headers=headers)
    assert status == 200, "a bearer token is never sent by itself"


async def test_nobody_is_signed_in_by_another_site(controller: Running) -> None:
    status, _ = await controller.call("POST", "/login", account="", headers={"Sec-Fetch-Site": "cross-site"})
    assert status == 403


async def test_every_page_says_what_a_browser_may_do_with_it(controller: Running) -> None:
    async with controller.session.get(
        controller.address + "/", headers={**HTML, "Authorization": f"Bearer {TOKENS['viewer']}"}
    ) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "script-src 'self';" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        # With "no-referrer" browsers would send `Origin: null` from our own forms.
        assert answer.headers["Referrer-Policy"] == "same-origin"
