"""A journal file, read without the controller that writes it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from controller.core.invariants import broken
from controller.core.timeline import line
from controller.model.facts import Entry, entry_payload
from controller.stores.journal_reader import JournalReader


async def read_timeline(path: Path, *, incident: str, after: int | None, limit: int) -> list[dict[str, Any]]:
    """Entries of a journal file, as the API shows them: those after a sequence, or the newest. Raises StoreError."""
    return [_view(entry) for entry in await _entries(path, incident=incident, after=after, limit=limit)]


async def check_journal(path: Path) -> tuple[list[str], str, int]:
    """Violations of the chain and the invariants, the head's digest, and the number of entries. Raises StoreError."""
    reader = JournalReader(path)
    await reader.open()
    try:
        found = await reader.verify()
        head = await reader.head()
        story = [line(entry) async for entry in reader.entries(limit=sys.maxsize)]
    finally:
        await reader.close()
    found += (str(violation) for violation in broken(story))
    return found, head.digest if head else "", head.sequence if head else 0


async def _entries(path: Path, *, incident: str, after: int | None, limit: int) -> list[Entry]:
    reader = JournalReader(path)
    await reader.open()
    try:
        if after is None:
            after = await reader.before_newest(limit, incident=incident)
        return [entry async for entry in reader.entries(incident=incident, after=after, limit=limit)]
    finally:
        await reader.close()


def _view(entry: Entry) -> dict[str, Any]:
    decoded = json.loads(entry.payload)
    decoded.pop("changed", None)
    return dict(entry_payload(entry, decoded))
