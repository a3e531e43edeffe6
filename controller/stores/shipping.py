"""The journal, carried to the archive: in order, resumed where it stopped, and never in anybody's way."""

from __future__ import annotations

import asyncio
import logging

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    wait_exponential,
    wait_random,
)

from controller.model.errors import ChainBroken
from controller.model.facts import Entry
from controller.ports import Archive, Journal

_log = logging.getLogger(__name__)


class Shipper:
    """Opens `archive` and ships what `journal` holds to it, until closed.

    `notice` is called after a commit, with its newest sequence; it only sets a flag. While the archive is down the
    attempts grow apart from `first_pause` to `longest_pause` seconds; entries wait in the journal. A broken chain
    stops shipping for good, with one error: nothing that contradicts the archive is ever forced into it.
    """

    def __init__(
        self,
        journal: Journal,
        archive: Archive,
        node: str,
        *,
        batch: int = 500,
        first_pause: float = 0.5,
        longest_pause: float = 5.0,
    ) -> None:
        self._journal = journal
        self._archive = archive
        self._node = node
        self._batch = batch
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._work = asyncio.Event()
        self._opened = False
        self._shipped: int | None = None
        self._newest = 0
        self._task: asyncio.Task[None] | None = None
        self._down = False
        self.stopped_by: ChainBroken | None = None

    @property
    def shipped(self) -> int:
        """The last sequence known to be archived; 0 before the archive first answered."""
        return self._shipped or 0

    @property
    def waiting(self) -> int:
        """Entries that are durable here and not archived yet."""
        return max(0, self._newest - self.shipped)

    @property
    def archive_down(self) -> bool:
        return self._down

    def start(self, newest: int) -> None:
        """`newest`: the journal's last sequence."""
        self.notice(newest)
        self._work.set()
        self._task = asyncio.create_task(self._run(), name="shipping")

    def notice(self, newest: int) -> None:
        self._newest = max(self._newest, newest)
        self._work.set()

    async def close(self) -> None:
        """What is not shipped yet stays in the journal for the next start."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                async for attempt in AsyncRetrying(
                    wait=wait_exponential(multiplier=self._first_pause, max=self._longest_pause)
                    + wait_random(0, self._first_pause),
                    retry=retry_if_exception(_passing),
                    before_sleep=self._report_down,
                    reraise=True,
                ):
                    with attempt:
                        await self._ship()
            except ChainBroken as error:
                self.stopped_by = error
                _log.error("shipping stopped: %s", error, extra={"action": "archive.stopped"})
                return

    async def _ship(self) -> None:
        """Everything there is. Each attempt asks the archive where it stands: a lost reply costs nothing."""
        if not self._opened:
            await self._archive.open()  # here, so that an archive that is down at start delays nothing either
            self._opened = True
        shipped = await self._archive.last_sequence(self._node)
        self._shipped = shipped
        self._newest = max(self._newest, shipped)
        while True:
            batch: list[Entry] = [
                entry async for entry in self._journal.entries(after=shipped, limit=self._batch)
            ]
            if not batch:
                break
            await self._archive.ship(batch)
            self._shipped = shipped = batch[-1].sequence
        if self._down:
            self._down = False
            _log.info("the archive answers again", extra={"action": "archive.recovered"})

    def _report_down(self, attempt: RetryCallState) -> None:
        if not self._down:
            self._down = True
            error = attempt.outcome.exception() if attempt.outcome is not None else None
            _log.warning("shipping failed: %r", error, extra={"action": "archive.down"})


def _passing(error: BaseException) -> bool:
    """Whether trying again can help. An error nobody foresaw is retried too: entries must not wait for a restart."""
    return isinstance(error, Exception) and not isinstance(error, ChainBroken)
