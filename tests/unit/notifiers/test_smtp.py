from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from pydantic import ValidationError

from controller.model.errors import NotificationError
from controller.notifiers.smtp import Smtp, SmtpParameters
from tests.builders.mailboxes import COMMAND, PAGE, SmtpMailbox, smtp_mailbox


@pytest.fixture
def authority(tmp_path: Path) -> str:
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    made.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    return str(tmp_path / "ca.pem")


def serving(authority: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(authority).with_name("server.pem"))
    return context


def smtp(box: SmtpMailbox, **how: object) -> Smtp:
    given = {"host": "127.0.0.1", "port": box.port, "sender": "Third Ring <ring@b.test>", "to": ["li@b.test"]}
    return Smtp(SmtpParameters(**{**given, **how}))  # type: ignore[arg-type]


async def test_the_mail_itself() -> None:
    async with smtp_mailbox() as box:
        await smtp(box, security="none", to=["li@b.test", "李 <li2@b.test>"]).send(COMMAND, PAGE)
    (mail,) = box.mails
    assert mail["Subject"] == PAGE.subject
    assert mail["From"] == "Third Ring <ring@b.test>"
    assert mail["Message-ID"] == "<CMD-0007.PAGE-0001@b.test>"
    assert (mail["Auto-Submitted"], mail["Importance"]) == ("auto-generated", "high")
    assert mail["X-Third-Ring-Incident"] == "INC-0001"
    assert box.envelopes[0].rcpt_tos == ["li@b.test", "li2@b.test"]
    assert box.envelopes[0].mail_from == "ring@b.test"


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_encrypted_with_a_password(authority: str, security: str) -> None:
    context = serving(authority)
    offered = {"starttls": context} if security == "starttls" else {"tls": context}
    async with smtp_mailbox(login=True, **offered) as box:
        notifier = smtp(box, security=security, authorities=authority, username="ring", password="secret")
        assert "taken by" in await notifier.send(COMMAND, PAGE)
    assert box.logins == [("ring", "secret")]
    assert box.encrypted == [True]


async def test_a_wrong_password_is_permanent(authority: str) -> None:
    async with smtp_mailbox(login=True, starttls=serving(authority)) as box:
        notifier = smtp(box, authorities=authority, username="ring", password="wrong")
        with pytest.raises(NotificationError, match="535") as raised:
            await notifier.send(COMMAND, PAGE)
    assert raised.value.permanent
    assert "wrong" not in str(raised.value)


async def test_a_server_that_does_not_encrypt_gets_nothing() -> None:
    async with smtp_mailbox() as box:
        with pytest.raises(NotificationError, match="STARTTLS") as raised:
            await smtp(box, security="starttls").send(COMMAND, PAGE)
    assert raised.value.permanent
    assert box.mails == []


async def test_an_unknown_authority_is_not_trusted(authority: str) -> None:
    async with smtp_mailbox(starttls=serving(authority)) as box:
        with pytest.raises(NotificationError, match="certificate"):
            await smtp(box).send(COMMAND, PAGE)
    assert box.mails == []


async def test_one_refused_address_is_named_and_the_others_served() -> None:
    async with smtp_mailbox() as box:
        box.refused = {"gone@b.test"}
        said = await smtp(box, security="none", to=["gone@b.test", "li@b.test"]).send(COMMAND, PAGE)
        assert "refused gone@b.test (550 no such mailbox)" in said
        with pytest.raises(NotificationError, match=r"gone@b\.test") as raised:
            await smtp(box, security="none", to=["gone@b.test"]).send(COMMAND, PAGE)
    assert raised.value.permanent
    assert len(box.mails) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": []},
        {"to": ["nobody"]},
        {"sender": "a@b.test\r\nBcc: c@d.test"},
        {"security": "none", "username": "u", "host": "mail.example.org"},
        {"port": 0},
        {"cc": "x@y.z"},
        {"authorities": "/nowhere.pem"},
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, object]) -> None:
    given = {"host": "127.0.0.1", "sender": "a@b.test", "to": ["c@d.test"]}
    with pytest.raises(ValidationError):
        SmtpParameters(**{**given, **wrong})  # type: ignore[arg-type]
