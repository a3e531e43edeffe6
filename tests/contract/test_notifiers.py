"""One suite for every channel, over real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from controller import registry
from controller.model.errors import NotificationError
from controller.ports import Notifier
from tests.builders.mailboxes import COMMAND, LINES, PAGE, http_mailbox, smtp_mailbox


@dataclass
class Channel:
    """A notifier and its far end. `spoil` makes the far end refuse: for good, or for now."""

    notifier: Notifier
    received: Callable[[], list[tuple[str, str]]]  # (subject, text) of each page taken
    spoil: Callable[[bool], None]
    absent: Notifier  # the same kind, pointed at a port where nobody listens


@contextlib.asynccontextmanager
async def webhook() -> AsyncIterator[Channel]:
    async with http_mailbox() as box:
        adapter = registry.load("notifier", "webhook")

        def received() -> list[tuple[str, str]]:
            bodies = [json.loads(body) for _, body in box.requests]
            return [(body["subject"], body["text"] + "\n" + body["acknowledge"]) for body in bodies]

        def spoil(permanent: bool) -> None:
            box.answers = [(400 if permanent else 503, "no")]

        made, absent = (
            adapter(adapter.Parameters(url=f"http://127.0.0.1:{port}/x", attempts=1))
            for port in (box.port, 9)
        )
        yield Channel(made, received, spoil, absent)


@contextlib.asynccontextmanager
async def smtp() -> AsyncIterator[Channel]:
    async with smtp_mailbox() as box:
        adapter = registry.load("notifier", "smtp")

        def received() -> list[tuple[str, str]]:
            return [(mail["Subject"], mail.get_content()) for mail in box.mails]

        def spoil(permanent: bool) -> None:
            box.reply = "554 spam" if permanent else "451 later"

        made, absent = (
            adapter(
                adapter.Parameters(
                    host="127.0.0.1", port=port, security="none", sender="a@b.test", to=["li@b.test"]
                )
            )
            for port in (box.port, 9)
        )
        yield Channel(made, received, spoil, absent)


@contextlib.asynccontextmanager
async def apprise() -> AsyncIterator[Channel]:
    async with http_mailbox() as box:
        adapter = registry.load("notifier", "apprise")

        def received() -> list[tuple[str, str]]:
            bodies = [json.loads(body) for _, body in box.requests]
            return [(body["title"], body["message"]) for body in bodies]

        def spoil(permanent: bool) -> None:
            box.answers = [(403 if permanent else 503, "no")]

        made, absent = (
            adapter(adapter.Parameters(url=f"json://127.0.0.1:{port}/x")) for port in (box.port, 9)
        )
        yield Channel(made, received, spoil, absent)


FAR_ENDS: dict[str, Any] = {"webhook": webhook, "smtp": smtp, "apprise": apprise}


@pytest.fixture(params=sorted(FAR_ENDS))
async def channel(request: pytest.FixtureRequest) -> AsyncIterator[Channel]:
    async with FAR_ENDS[request.param]() as made:
        yield made
        await made.notifier.close()
        await made.notifier.close()
        await made.absent.close()


def test_every_registered_channel_is_tested() -> None:
    assert set(FAR_ENDS) == set(registry.NOTIFIERS)


async def test_the_four_lines_and_the_link_arrive_in_order(channel: Channel) -> None:
    assert await channel.notifier.send(COMMAND, PAGE)
    ((subject, text),) = channel.received()
    assert subject == PAGE.subject
    assert [line for line in text.splitlines() if line] == [*LINES, PAGE.link]


async def test_a_page_without_a_link(channel: Channel) -> None:
    await channel.notifier.send(COMMAND, PAGE._replace(link=""))
    ((_, text),) = channel.received()
    assert [line for line in text.splitlines() if line] == list(LINES)


async def test_a_drill_keeps_its_marks(channel: Channel) -> None:
    mark = "【演练】这是一次演练"
    lines = (f"{mark} {LINES[0]}", LINES[1], LINES[2], f"{LINES[3]} {mark}")
    await channel.notifier.send(
        COMMAND, PAGE._replace(lines=lines, subject=f"{mark} SEV1", drill=True, severity=3)
    )
    ((subject, text),) = channel.received()
    assert subject == f"{mark} SEV1"
    assert text.startswith(mark)


@pytest.mark.parametrize("permanent", [True, False])
async def test_a_refusal_says_whether_trying_again_can_help(channel: Channel, permanent: bool) -> None:
    channel.spoil(permanent)
    with pytest.raises(NotificationError) as raised:
        await channel.notifier.send(COMMAND, PAGE)
    assert raised.value.permanent is permanent
    assert str(raised.value)


async def test_nobody_there_is_temporary(channel: Channel) -> None:
    with pytest.raises(NotificationError) as raised:
        await channel.absent.send(COMMAND, PAGE)
    assert raised.value.permanent is False


async def test_several_at_once(channel: Channel) -> None:
    await asyncio.gather(*(channel.notifier.send(COMMAND, PAGE) for _ in range(5)))
    assert len(channel.received()) == 5


async def test_a_subject_of_several_lines_injects_nothing(channel: Channel) -> None:
    await channel.notifier.send(COMMAND, PAGE._replace(subject="SEV1\r\nBcc: all@b.test"))
    ((subject, _),) = channel.received()
    assert subject.split() == ["SEV1", "Bcc:", "all@b.test"]
