from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
from pathlib import Path

import pytest
import trustme
from pydantic import ValidationError

from controller.model.errors import NotificationError
from controller.notifiers.webhook import Webhook, WebhookParameters
from tests.builders.mailboxes import COMMAND, PAGE, HttpMailbox, http_mailbox


def webhook(box: HttpMailbox, scheme: str = "http", **how: object) -> Webhook:
    url = f"{scheme}://127.0.0.1:{box.port}/hook/token?key=abc"
    return Webhook(WebhookParameters(url=url, **how))  # type: ignore[arg-type]


async def test_the_document_and_its_signature() -> None:
    async with http_mailbox() as box:
        notifier = webhook(box, secret="shared", headers={"X-Team": "night"})
        assert await notifier.send(COMMAND, PAGE) == "HTTP 200 ok"
        await notifier.close()
    ((headers, body),) = box.requests
    assert json.loads(body) == {
        "version": 1,
        "id": "CMD-0007",
        "page": "PAGE-0001",
        "incident": "INC-0001",
        "severity": 1,
        "drill": False,
        "person": "li",
        "subject": PAGE.subject,
        "what": PAGE.lines[0],
        "impact": PAGE.lines[1],
        "did": PAGE.lines[2],
        "need": PAGE.lines[3],
        "text": "\n".join(PAGE.lines),
        "acknowledge": PAGE.link,
    }
    signed = headers["X-Third-Ring-Timestamp"].encode() + b"." + body
    expected = hmac.new(b"shared", signed, hashlib.sha256).hexdigest()
    assert headers["X-Third-Ring-Signature"] == f"sha256={expected}"
    assert headers["X-Team"] == "night"
    assert headers["Idempotency-Key"] == "CMD-0007"
    assert headers["Content-Type"] == "application/json; charset=utf-8"


async def test_without_a_secret_nothing_is_signed() -> None:
    async with http_mailbox() as box:
        notifier = webhook(box)
        await notifier.send(COMMAND, PAGE)
        await notifier.close()
    assert "X-Third-Ring-Signature" not in box.requests[0][0]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_temporary_answers_are_tried_again(status: int) -> None:
    async with http_mailbox() as box:
        box.answers = [(status, "later"), (status, "later"), (201, "made")]
        notifier = webhook(box)
        assert await notifier.send(COMMAND, PAGE) == "HTTP 201 made"
        await notifier.close()
    assert [headers["Idempotency-Key"] for headers, _ in box.requests] == ["CMD-0007"] * 3


@pytest.mark.parametrize("status", [302, 400, 401, 404, 410, 413])
async def test_permanent_answers_are_not(status: int) -> None:
    async with http_mailbox() as box:
        box.answers = [(status, "no")]
        notifier = webhook(box)
        with pytest.raises(NotificationError, match=f"HTTP {status} no") as raised:
            await notifier.send(COMMAND, PAGE)
        await notifier.close()
    assert raised.value.permanent
    assert len(box.requests) == 1


async def test_an_error_names_the_host_and_keeps_the_token() -> None:
    async with http_mailbox() as box:
        box.answers = [(403, "")]
        notifier = webhook(box)
        with pytest.raises(NotificationError) as raised:
            await notifier.send(COMMAND, PAGE)
        await notifier.close()
    assert str(raised.value) == f"http://127.0.0.1:{box.port}: HTTP 403"


async def test_silence_is_temporary() -> None:
    async with http_mailbox() as box:
        box.silent = True
        notifier = webhook(box, timeout=0.2)
        with pytest.raises(NotificationError, match=r"did not answer in 0\.2 s") as raised:
            await notifier.send(COMMAND, PAGE)
        await notifier.close()
    assert not raised.value.permanent


async def test_an_untrusted_certificate_is_refused_and_a_named_authority_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with http_mailbox(context) as box:
        stranger = webhook(box, "https", attempts=1)
        with pytest.raises(NotificationError, match="certificate"):
            await stranger.send(COMMAND, PAGE)
        friend = webhook(box, "https", authorities=str(tmp_path / "ca.pem"))
        assert await friend.send(COMMAND, PAGE) == "HTTP 200 ok"
        await asyncio.gather(stranger.close(), friend.close())
    assert len(box.requests) == 1


@pytest.mark.parametrize(
    "host, name",
    [("oapi.dingtalk.com", "DingTalk"), ("qyapi.weixin.qq.com", "WeCom"), ("open.feishu.cn", "Feishu")],
)
def test_robots_that_answer_200_to_everything_are_refused(host: str, name: str) -> None:
    with pytest.raises(ValidationError, match=f"a {name} robot answers 200"):
        WebhookParameters(url=f"https://{host}/robot/send?access_token=x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://x/"},
        {"url": "http://x/", "secrett": "x"},
        {"url": "http://x/", "headers": {"X": "a\r\nB: c"}},
        {"url": "http://x/", "timeout": 60},
        {"url": "http://x/", "authorities": "/nowhere.pem"},
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WebhookParameters(**wrong)  # type: ignore[arg-type]
