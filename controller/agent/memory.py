"""What an agent must not forget: the highest epoch of each group, and which sides were stopped by a fence.

On the disk before it is acted on. One agent a directory.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from controller.model.errors import StoreError

VERSION: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Remembered:
    """`held`: it was told to hold and was not released since; one that returns and finds the grant another's has lost
    it while it was away. `stopped`: the side was stopped by a fence and was not let back in since."""

    epoch: int = 0
    held: bool = False
    stopped: bool = False


class AnotherAgent(StoreError):
    """An agent runs on this host already."""


class Memory:
    """Raises StoreError, AnotherAgent in `open`. Fields it does not know are kept."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "agent.json"
        self._lock_path = directory / "agent.lock"
        self._groups: dict[str, Remembered] = {}
        self.store = ""
        """The coordination store, of which answers are accepted; empty: none was seen yet."""
        self._unknown: dict[str, Any] = {}
        self._lock_file: int | None = None
        self._writing = asyncio.Lock()

    def open(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock()
            self._read()
        except OSError as error:
            raise StoreError(f"{self._path.parent}: {error}") from error

    def of(self, group: str) -> Remembered:
        return self._groups.get(group, Remembered())

    async def remember(
        self, group: str, *, epoch: int | None = None, held: bool | None = None, stopped: bool | None = None
    ) -> None:
        """Durable (fsync) when it returns. An epoch never goes down. Raises StoreError; then nothing has changed."""
        async with self._writing:
            before = self.of(group)
            after = before
            if epoch is not None:
                after = replace(after, epoch=max(epoch, before.epoch))
            if held is not None:
                after = replace(after, held=held)
            if stopped is not None:
                after = replace(after, stopped=stopped)
            if after == before:
                return
            groups = {**self._groups, group: after}
            await self._save(groups, self.store)
            self._groups = groups

    async def pin(self, store: str) -> None:
        """Durable when it returns. Raises StoreError; then nothing has changed."""
        async with self._writing:
            await self._save(self._groups, store)
            self.store = store

    async def _save(self, groups: dict[str, Remembered], store: str) -> None:
        text = json.dumps(
            {
                **self._unknown,
                "version": VERSION,
                "cluster": store,
                "groups": {name: asdict(one) for name, one in groups.items()},
            }
        )
        try:
            await asyncio.to_thread(_write, self._path, text)
        except OSError as error:
            raise StoreError(f"{self._path}: {error}") from error

    def close(self) -> None:
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _lock(self) -> None:
        """The kernel frees it when the process ends."""
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._lock_file = lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AnotherAgent(f"an agent uses {self._path.parent} already") from error

    def _read(self) -> None:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            self._groups = {
                str(name): Remembered(
                    epoch=int(one["epoch"]), held=bool(one["held"]), stopped=bool(one["stopped"])
                )
                for name, one in content.pop("groups").items()
            }
            if int(content.pop("version")) > VERSION:
                raise StoreError(f"{self._path} was written by a newer agent")
            self.store = str(content.pop("cluster"))
            self._unknown = content
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # Without the epochs it would obey old commands.
            raise StoreError(f"{self._path} can't be understood: {error}") from error


def _write(path: Path, text: str) -> None:
    scratch = path.with_suffix(".new")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(scratch, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
