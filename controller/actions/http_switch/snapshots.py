"""Every document as it was before a switch changed it, for the people who may need it."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

from controller.model.errors import ActionError


class Snapshots:
    """`directory`: one file an edge and epoch, `keep` of them an edge; the first of an epoch stays."""

    def __init__(self, directory: Path, group: str, *, keep: int) -> None:
        self._directory = directory
        self._group = group
        self._keep = keep

    def lacks(self) -> list[str]:
        if not self._directory.is_dir() or not os.access(self._directory, os.W_OK | os.X_OK):
            return [f"{self._directory} is no directory that snapshots can be written to"]
        return []

    async def keep(self, edge: str, epoch: int, url: str, etag: str, body: bytes) -> None:
        """Durable when it returns. Raises ActionError."""
        text = json.dumps(
            {"url": url, "etag": etag, "epoch": epoch, "body": body.decode(errors="replace")},
            ensure_ascii=False,
            indent=2,
        )
        try:
            await asyncio.to_thread(self._write, edge, epoch, text)
        except OSError as error:
            raise ActionError(f"no snapshot of {edge} could be taken: {error}") from error

    def _write(self, edge: str, epoch: int, text: str) -> None:
        path = self._directory / f"{self._prefix(edge)}{epoch:010}.json"
        if path.exists():
            return
        draft = path.with_suffix(".new")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        kept = sorted(self._directory.glob(f"{self._prefix(edge)}[0-9]*.json"))
        for old in kept[: -self._keep]:
            old.unlink(missing_ok=True)

    def _prefix(self, edge: str) -> str:
        return "-".join(re.sub(r"[^\w.]", "_", part) for part in (self._group, edge)) + "-"
