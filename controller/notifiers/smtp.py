"""A page as a mail (RFC 5322), handed over by SMTP (RFC 5321) in a thread."""

from __future__ import annotations

import asyncio
import ipaddress
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from enum import StrEnum

from pydantic import Field, SecretStr, field_validator, model_validator

from controller.model.commands import Notify
from controller.model.errors import NotificationError
from controller.notifiers.parameters import Strict, trust
from controller.ports import RenderedPage


class Security(StrEnum):
    TLS = "tls"  # from the first byte (RFC 8314), usually port 465
    STARTTLS = "starttls"  # RFC 3207, usually port 587; refused when the server does not offer it
    NONE = "none"


class SmtpParameters(Strict):
    """`timeout` in seconds, of each wait for the server. `to`: one person's addresses."""

    host: str = Field(min_length=1)
    port: int = Field(default=587, ge=1, le=65535)
    security: Security = Security.STARTTLS
    username: str = ""
    password: SecretStr = SecretStr("")
    sender: str
    to: tuple[str, ...] = Field(min_length=1)
    timeout: float = Field(default=8.0, gt=0, le=15)
    authorities: str = ""

    @field_validator("sender")
    @classmethod
    def _sender(cls, sender: str) -> str:
        return _address(sender)

    @field_validator("to")
    @classmethod
    def _to(cls, to: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_address(address) for address in to)

    @field_validator("authorities")
    @classmethod
    def _readable(cls, authorities: str) -> str:
        if authorities:
            trust(authorities)
        return authorities

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> SmtpParameters:
        if self.username and self.security is Security.NONE and not _loopback(self.host):
            raise ValueError(
                "a password would cross the network unencrypted: set security to tls or starttls"
            )
        return self


class Smtp:
    """ports.Notifier. Sent means that the server took it over, never that it was read."""

    Parameters = SmtpParameters

    def __init__(self, parameters: SmtpParameters) -> None:
        self._parameters = parameters

    async def send(self, command: Notify, rendered: RenderedPage) -> str:
        """A 5yz reply is permanent, as is a server without the encryption that was asked for; all else is temporary."""
        return await asyncio.to_thread(self._send, self.message(command, rendered))

    def message(self, command: Notify, rendered: RenderedPage) -> EmailMessage:
        parameters = self._parameters
        mail = EmailMessage()
        mail["From"] = parameters.sender
        mail["To"] = ", ".join(parameters.to)
        mail["Subject"] = " ".join(rendered.subject.split())
        mail["Date"] = formatdate()
        domain = parseaddr(parameters.sender)[1].rpartition("@")[2]
        # The same for every attempt at one sending, so that a repeated hand-over shows once.
        mail["Message-ID"] = f"<{command.id}.{command.page}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday replies
        mail["X-Third-Ring-Incident"] = " ".join(rendered.incident.split())
        if rendered.severity <= 2:
            mail["Importance"] = "high"
        lines = [*rendered.lines, "", rendered.link] if rendered.link else list(rendered.lines)
        mail.set_content("\n".join(lines) + "\n", charset="utf-8")
        return mail

    def _send(self, mail: EmailMessage) -> str:
        parameters = self._parameters
        where = f"{parameters.host}:{parameters.port}"
        try:
            with self._connect() as server:
                if parameters.security is Security.STARTTLS:
                    server.starttls(context=trust(parameters.authorities))
                if parameters.username:
                    server.login(parameters.username, parameters.password.get_secret_value())
                refused = server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise NotificationError(
                f"{where} refused {_refusals(error.recipients)}", permanent=all(code >= 500 for code in codes)
            ) from error
        except smtplib.SMTPResponseException as error:
            raise NotificationError(
                f"{where}: {error.smtp_code} {_text(error.smtp_error)}", permanent=error.smtp_code >= 500
            ) from error
        except smtplib.SMTPNotSupportedError as error:
            raise NotificationError(f"{where}: {error}", permanent=True) from error
        except (smtplib.SMTPException, OSError) as error:
            raise NotificationError(f"{where}: {error or type(error).__name__}") from error
        return f"taken by {where}" + (f"; refused {_refusals(refused)}" if refused else "")

    def _connect(self) -> smtplib.SMTP:
        parameters = self._parameters
        if parameters.security is Security.TLS:
            context: ssl.SSLContext = trust(parameters.authorities)
            return smtplib.SMTP_SSL(
                parameters.host, parameters.port, timeout=parameters.timeout, context=context
            )
        return smtplib.SMTP(parameters.host, parameters.port, timeout=parameters.timeout)

    async def close(self) -> None:
        """Connections last for one mail only."""


def _address(text: str) -> str:
    name, address = parseaddr(text)
    local, _, domain = address.rpartition("@")
    if not local or not domain or any(character in text for character in "\r\n\0"):
        raise ValueError(f"{text!r} is no mail address")
    return text


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _text(answer: bytes | str) -> str:
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer


def _refusals(recipients: dict[str, tuple[int, bytes]]) -> str:
    return ", ".join(f"{address} ({code} {_text(text)})" for address, (code, text) in recipients.items())
