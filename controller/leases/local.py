"""Leadership of a node that stands alone: a lock on a file, which the kernel frees when the process ends."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from controller.model.errors import StoreError


class LocalLease:
    """ports.Lease. `lifetime` in seconds; `monotonic` is read before the lock is tried.

    The lock is of this file, not of its name: if the file is replaced, the next renewal is refused and the lease runs
    out, because another process may hold a lock on the new one.
    """

    shared = False

    def __init__(
        self, path: Path, *, lifetime: float = 3.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._lifetime = lifetime
        self._monotonic = monotonic
        self._lock: int | None = None

    @property
    def holder(self) -> str:
        """Nobody but this process is known by name."""
        return ""

    async def vacant(self) -> None:
        """A lock that another process lets go is noticed by trying."""
        await asyncio.Event().wait()

    async def acquire(self) -> float | None:
        """Raises StoreError when the lock file can't be used at all."""
        deadline = self._monotonic() + self._lifetime
        try:
            if self._lock is not None and not self._same_file(self._lock):
                self._unlock()
                return None
            if self._lock is None and not self._try():
                return None
        except OSError as error:
            self._unlock()
            raise StoreError(f"{self._path}: {error.strerror}") from error
        return deadline

    async def release(self) -> None:
        """Safe to call when it is not held."""
        self._unlock()

    def _try(self) -> bool:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self._same_file(lock):  # replaced between opening and locking
                os.close(lock)
                return False
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            os.close(lock)
            return False
        except OSError:
            os.close(lock)
            raise
        self._lock = lock
        return True

    def _same_file(self, lock: int) -> bool:
        try:
            return os.path.samestat(os.fstat(lock), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)
