"""The head of a journal in a file of its own. It shows what the chain can't: a journal that lost its tail."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from pathlib import Path

from controller.model.chain import Head
from controller.model.errors import ChainBroken, StoreError
from controller.stores import journal_file

_log = logging.getLogger(__name__)


class Anchor:
    """Beside the journal at `path`, made where there is none. Raises StoreError."""

    def __init__(self, path: Path) -> None:
        self._journal = path
        self._path = path.with_name(path.name + ".head")
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error

    def check(self, connection: sqlite3.Connection, head: Head) -> None:
        """Raises ChainBroken where the journal, which ends at `head`, lacks what was acknowledged. An unreadable or older
        anchor says nothing: it is written after the commit and not synced."""
        try:
            sequence, digest = json.loads(os.pread(self._file, 256, 0))
        except (ValueError, TypeError):
            return
        if not isinstance(sequence, int):
            return
        if sequence > head.sequence:
            raise ChainBroken(
                f"{self._journal}: it ends at sequence {head.sequence}, but sequence {sequence} was acknowledged"
                f" (to accept the loss, remove {self._path.name})"
            )
        found = journal_file.read_entries(connection, after=sequence - 1, limit=1)
        if sequence > 0 and (not found or found[0].digest != digest):
            raise ChainBroken(
                f"{self._journal}: sequence {sequence} is not the entry that was acknowledged"
                f" (to accept the change, remove {self._path.name})"
            )

    def write(self, head: Head) -> None:
        line = json.dumps([head.sequence, head.digest]).ljust(255) + "\n"
        try:
            os.pwrite(self._file, line.encode(), 0)
        except OSError as error:  # an older anchor is still true
            _log.warning("anchor not written: %s", error, extra={"action": "journal.anchor"})

    def close(self) -> None:
        os.close(self._file)
