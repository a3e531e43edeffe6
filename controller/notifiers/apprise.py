"""A page through Apprise, which speaks to many services. Imported only when a configuration names it."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from controller.model.commands import Notify
from controller.model.errors import NotificationError
from controller.notifiers.parameters import ROBOTS, Strict
from controller.ports import RenderedPage

NOT_BELIEVED: dict[str, str] = {
    "dingtalk": "DingTalk",
    "wecom": "WeCom",
    "wecombot": "WeCom",
    "feishu": "Feishu",
    "lark": "Lark",
}
"""Services that answer HTTP 200 with an error code in the body, which Apprise (2.2) takes for success."""

_STATUS = re.compile(r"error=(\d{3})")


class AppriseParameters(Strict):
    """`url`: an Apprise address, e.g. "tgram://token/chat" (a secret: it holds tokens)."""

    url: SecretStr = Field(min_length=1)

    @field_validator("url")
    @classmethod
    def _understood(cls, url: SecretStr) -> SecretStr:
        address = url.get_secret_value()
        parts = urlsplit(address)
        robot = NOT_BELIEVED.get(parts.scheme.lower()) or ROBOTS.get((parts.hostname or "").lower())
        if robot is not None:
            raise ValueError(
                f"{robot} answers 200 to what it did not deliver and Apprise does not read why;"
                " this channel would call every page sent"
            )
        if _instantiate(address) is None:
            raise ValueError("Apprise does not understand this address")
        return url


class Apprise:
    """ports.Notifier. Apprise is synchronous, so it works in a thread."""

    Parameters = AppriseParameters

    def __init__(self, parameters: AppriseParameters) -> None:
        self._parameters = parameters

    async def send(self, command: Notify, rendered: RenderedPage) -> str:
        """A refusal whose HTTP status Apprise logs as 4xx (but 408, 429) is permanent; all else is temporary."""
        return await asyncio.to_thread(self._send, rendered)

    def _send(self, rendered: RenderedPage) -> str:
        import apprise

        service = _instantiate(self._parameters.url.get_secret_value())
        if service is None:
            raise NotificationError("Apprise does not understand this address", permanent=True)
        lines = [*rendered.lines, rendered.link] if rendered.link else list(rendered.lines)
        kind = apprise.NotifyType.FAILURE if rendered.severity <= 2 else apprise.NotifyType.WARNING
        capture: Any = apprise.LogCapture
        with capture(level=logging.WARNING) as said:
            try:
                taken = service.notify(
                    title=rendered.subject,
                    body="\n".join(lines),
                    notify_type=kind,
                    body_format=apprise.NotifyFormat.TEXT,
                )
            except Exception as error:  # a service of Apprise may raise anything
                raise NotificationError(f"{service.service_name}: {error!r}") from error
            log = said.getvalue() if said is not None else ""
        if not taken:
            raise _failure(str(service.service_name), log)
        return f"taken by {service.service_name}"

    async def close(self) -> None:
        """Apprise keeps nothing open."""


def _failure(service: str, log: str) -> NotificationError:
    found = _STATUS.search(log)
    status = int(found[1]) if found else 0
    permanent = 400 <= status < 500 and status not in (408, 429)
    reason = log.strip().splitlines()[-1] if log.strip() else "not delivered"
    return NotificationError(f"{service}: {reason}", permanent=permanent)


def _instantiate(address: str) -> Any:
    """The service behind an address; None for one that Apprise does not know. Raises ValueError without Apprise."""
    try:
        import apprise
    except ImportError as error:
        raise ValueError("Apprise is not installed: install the extra 'notify'") from error
    return apprise.Apprise.instantiate(address, suppress_exceptions=True)
