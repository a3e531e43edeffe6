"""A connection that is kept between questions, and opened again when it broke."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from controller.actions.points import Unreachable
from controller.model.errors import ActionUnknown


class Closable(Protocol):
    def close(self) -> None: ...


Session = TypeVar("Session", bound=Closable)
Answer = TypeVar("Answer")


class Kept(Generic[Session]):
    """For questions that change nothing: one that got no answer on a connection from before is asked once more on a new
    one. One at a time. `open` raises Unreachable, ActionRefused."""

    def __init__(self, open: Callable[[], Awaitable[Session]]) -> None:
        self._open = open
        self._session: Session | None = None
        self._asking = asyncio.Lock()

    async def ask(self, question: Callable[[Session], Awaitable[Answer]]) -> Answer:
        """`question` raises ActionUnknown when no answer came. Raises Unreachable then, and what else it raises."""
        async with self._asking:
            if self._session is not None:
                try:
                    return await question(self._session)
                except ActionUnknown:
                    self.close()
            self._session = await self._open()
            try:
                return await question(self._session)
            except ActionUnknown as error:
                self.close()
                raise Unreachable(str(error)) from error
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
