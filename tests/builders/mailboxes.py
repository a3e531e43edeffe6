"""A page, and the far ends of pages: a real HTTP server and a real SMTP server on loopback that keep what they were given."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from controller.model.commands import Notify
from controller.model.pages import PageText
from controller.model.runbooks import Text
from controller.ports import RenderedPage

LINES = (
    "SEV1 主平台：呼叫平台宕机（INC-0001）",
    "影响：全部呼叫受影响",
    "已做：故障切换 primary → backup：真实呼叫验证",
    "需要：请确认收到",
)
PAGE = RenderedPage(
    subject="SEV1 主平台：呼叫平台宕机",
    lines=LINES,
    link="http://127.0.0.1:8080/a/abc.def",
    severity=1,
    drill=False,
    incident="INC-0001",
    person="li",
)
TEXT = PageText(
    **{
        name: Text(zh=line, en=line)
        for name, line in zip(("what", "impact", "did", "need"), LINES, strict=True)
    }
)
COMMAND = Notify(
    id="CMD-0007", page="PAGE-0001", incident="INC-0001", person="li", channel="x", text=TEXT, severity=1
)


@dataclass
class HttpMailbox:
    """`answers` are used up one a request, the last one for ever; `silent` never answers."""

    port: int = 0
    answers: list[tuple[int, str]] = field(default_factory=lambda: [(200, "ok")])
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    silent: bool = False

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.read()))
        if self.silent:
            await asyncio.Event().wait()
        status, text = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(
            status=status, text=text, headers={"Location": "/elsewhere"} if status == 302 else {}
        )


@contextlib.asynccontextmanager
async def http_mailbox(context: ssl.SSLContext | None = None) -> AsyncIterator[HttpMailbox]:
    box = HttpMailbox()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", box.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    box.port = runner.addresses[0][1]
    try:
        yield box
    finally:
        await runner.cleanup()


@dataclass
class SmtpMailbox:
    """`reply` is the answer to DATA; `refused` recipients get 550; `logins` are (user, password) pairs."""

    port: int = 0
    reply: str = "250 taken"
    refused: set[str] = field(default_factory=set)
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    good_password: str = "secret"

    async def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        if self.reply.startswith("250"):
            content = envelope.content
            assert isinstance(content, bytes)
            mail = email.message_from_bytes(content, policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
            self.envelopes.append(envelope)
            self.encrypted.append(
                session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None
            )
        return self.reply

    def authenticate(
        self, server: Any, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        good = data.password.decode() == self.good_password
        return AuthResult(success=good, handled=good)


@contextlib.asynccontextmanager
async def smtp_mailbox(
    *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None, login: bool = False
) -> AsyncIterator[SmtpMailbox]:
    box = SmtpMailbox()

    def serve() -> SMTP:
        return SMTP(
            box,
            hostname="mailbox.test",
            tls_context=starttls,
            require_starttls=starttls is not None,
            authenticator=box.authenticate if login else None,
            auth_require_tls=tls is None,
            enable_SMTPUTF8=True,
        )

    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", 0, ssl=tls)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        await server.wait_closed()
