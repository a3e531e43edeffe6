"""One document that says where calls go, changed by compare-and-set (RFC 9110 8.8.3, 13.1.1)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from controller.actions import documents
from controller.actions.documents import Scalar, same
from controller.actions.http_switch.parameters import ResourceParameters
from controller.actions.http_switch.snapshots import Snapshots
from controller.actions.points import Nonsense, Point, Unreachable, admitted
from controller.actions.requests import Answer, Requests
from controller.model.errors import ActionError, ActionRefused, ActionUnknown

STRONG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
EPOCH = re.compile(r"\bepoch=(\d+)\b")

MOST_ROUNDS = 3
"""Of read and compare-and-set, while others change the document too."""

PAUSE = 0.05
"""Seconds between two looks at what is running."""


class Found(NamedTuple):
    etag: str
    document: Any
    body: bytes


class Resource:
    """`sides`: the members by side. With `epoch` no two contents are ever the same, so that an entity tag made of the
    content can't come back, and a write that was lost on its way can't be taken in after a later one."""

    def __init__(
        self,
        name: str,
        parameters: ResourceParameters,
        *,
        sides: Mapping[str, Mapping[str, Scalar]],
        epoch: str | None,
        requests: Requests,
        snapshots: Snapshots,
        settle: float,
    ) -> None:
        self.name = name
        self._parameters = parameters
        self._sides = sides
        self._epoch = epoch
        self._requests = requests
        self._snapshots = snapshots
        self._settle = settle
        self._headers = {key: value.get_secret_value() for key, value in parameters.headers.items()}

    async def look(self) -> Point:
        """The side that both the document and what is running show. Raises Unreachable, Nonsense, ActionRefused."""
        return await self._judged(await self._read(self._parameters.url))

    async def lacks(self) -> list[str]:
        """Why a switch of it would fail, as far as it answers."""
        try:
            found = await self._read(self._parameters.url)
            if not (await self._judged(found)).side:
                return [f"{self.name} shows neither side"]
            for side in self._sides:
                self._changed(found.document, side, 1)
        except Unreachable:
            return []
        except ActionError as error:
            return [f"{self.name}: {error}"]
        return []

    async def send(self, side: str, epoch: int) -> Point:
        """Raises Unreachable (nothing was sent), ActionRefused (a newer epoch, or it said no), ActionUnknown, ActionError."""
        for _ in range(MOST_ROUNDS):
            found = await self._read(self._parameters.url)
            if self._as_wanted(found, side, epoch):
                return await self._settled(side, epoch)
            changed = self._changed(found.document, side, epoch)
            await self._snapshots.keep(self.name, epoch, self._parameters.url, found.etag, found.body)
            if not await self._put(found, changed):
                continue
            back = await self._back()
            if self._as_wanted(back, side, epoch):
                return await self._settled(side, epoch)
            if back.etag == found.etag:
                raise ActionUnknown(f"{self.name} took the change and doesn't show it")
        raise ActionError(f"{self.name} is changed by somebody else all the time")

    async def _put(self, found: Found, changed: Any) -> bool:
        """Whether it was taken; False when somebody was faster, or nothing can come of it any more."""
        headers = {**self._headers, "If-Match": found.etag, "Content-Type": "application/json"}
        try:
            answer = await self._requests.exchange(
                "PUT", self._parameters.url, headers=headers, body=documents.rendered(changed)
            )
        except ActionUnknown as error:
            return await self._overtaken(found, str(error))
        if 200 <= answer.status < 300:
            return True
        if answer.status == 412:
            return False
        if answer.status in (425, 429, 503):
            raise ActionError(f"{self.name}: {answer.told}")
        if answer.status == 408 or answer.status >= 500:
            return await self._overtaken(found, answer.told)
        raise ActionRefused(f"{self.name}: {answer.told}")

    async def _overtaken(self, found: Found, reason: str) -> bool:
        """No word on a write: under the old tag it may still be on its way, under any other it never comes."""
        if (await self._back()).etag == found.etag:
            raise ActionUnknown(f"{self.name}: {reason}")
        return False

    async def _back(self) -> Found:
        """The document after a write. Raises ActionUnknown when it can't be read."""
        try:
            return await self._read(self._parameters.url)
        except ActionError as error:
            raise ActionUnknown(f"{self.name} can't be read back: {error}") from error

    async def _settled(self, side: str, epoch: int) -> Point:
        """Once what is running shows it too. Raises ActionUnknown when it does not in time."""
        shown = Point(side=side, epoch=epoch if self._epoch is not None else None)
        if self._parameters.running is None:
            return shown
        try:
            async with asyncio.timeout(self._settle):
                await self._runs(side)
        except (TimeoutError, ActionError) as error:
            raise ActionUnknown(
                f"{self.name} took the change, and what is running doesn't show it"
            ) from error
        return shown

    async def _runs(self, side: str) -> None:
        while True:
            if await self._running() == side:
                return
            await asyncio.sleep(PAUSE)

    async def _judged(self, found: Found) -> Point:
        side = self._side(found.document)
        if self._parameters.running is not None and await self._running() != side:
            side = ""
        return Point(side=side, epoch=self._epoch_of(found.document))

    async def _running(self) -> str:
        answer = await self._requests.read(str(self._parameters.running), headers=self._headers)
        return self._side(_document(answer))

    def _as_wanted(self, found: Found, side: str, epoch: int) -> bool:
        """Raises ActionRefused where a newer epoch is on record."""
        shown = self._epoch_of(found.document)
        admitted(self.name, epoch, shown)
        return self._side(found.document) == side and shown in (None, epoch)

    async def _read(self, url: str) -> Found:
        answer = await self._requests.read(url, headers={**self._headers, "Accept": "application/json"})
        document = _document(answer)
        etag = answer.headers.get("ETag", "").strip()
        if etag.startswith("W/"):
            raise Nonsense(f"the entity tag {etag} is weak: nothing can be compared by it (RFC 9110 13.1.1)")
        if not STRONG.fullmatch(etag):
            raise Nonsense("there is no entity tag" if not etag else f"{etag!r:.80} is no entity tag")
        return Found(etag, document, answer.body)

    def _side(self, document: Any) -> str:
        showing = [name for name, members in self._sides.items() if _holds(document, members)]
        return showing[0] if len(showing) == 1 else ""

    def _epoch_of(self, document: Any) -> int | None:
        if self._epoch is None:
            return None
        try:
            value = documents.member(document, self._epoch)
        except KeyError:
            return 0
        match value:
            case bool() | float() | dict() | list():
                raise Nonsense(f"{self._epoch} holds no epoch: {value!r:.80}")
            case int():
                return value
            case str() if marked := EPOCH.search(value):
                return int(marked[1])
        return 0

    def _changed(self, document: Any, side: str, epoch: int) -> Any:
        """Raises ActionRefused for a document that has no such members."""
        try:
            for pointer, value in self._sides[side].items():
                documents.member(document, pointer)
                document = documents.with_member(document, pointer, value)
            if self._epoch is not None:
                document = documents.with_member(document, self._epoch, self._mark(document, epoch))
        except KeyError as error:
            raise ActionRefused(f"the document of {self.name} has no member {error}") from None
        return document

    def _mark(self, document: Any, epoch: int) -> Scalar:
        """A text keeps what else it says."""
        try:
            before = documents.member(document, str(self._epoch))
        except KeyError:
            return epoch
        if not isinstance(before, str):
            return epoch
        if EPOCH.search(before):
            return EPOCH.sub(f"epoch={epoch}", before)
        return f"{before} epoch={epoch}".strip()


def _document(answer: Answer) -> Any:
    if 300 <= answer.status < 400:
        raise Nonsense(
            f"redirects to {answer.headers.get('Location', 'nowhere')!r:.120}, which is not followed"
        )
    if answer.status in (408, 425, 429) or answer.status >= 500:
        raise Unreachable(answer.told)
    if answer.status in (401, 403):
        raise ActionRefused(answer.told)
    if answer.status != 200:
        raise Nonsense(answer.told)
    try:
        return documents.parse(answer.body)
    except ValueError as error:
        raise Nonsense(f"the document {error}") from error


def _holds(document: Any, members: Mapping[str, Scalar]) -> bool:
    try:
        return all(same(documents.member(document, pointer), value) for pointer, value in members.items())
    except KeyError:
        return False
