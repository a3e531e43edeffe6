"""What a journal's file holds, believed only as far as its chain proves it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from controller.model.chain import Head, beginning, broken_links, changed_texts, head_of
from controller.model.encoding import decode_aggregate
from controller.model.errors import ChainBroken, StoreError
from controller.model.facts import Aggregate
from controller.stores import journal_file


def newest(connection: sqlite3.Connection, path: Path, node: str, tail: int) -> Head | None:
    """The head, once the `tail` entries before it are found to hold; None for a journal without entries.

    Raises ChainBroken, StoreError for the journal of another node.
    """
    entries = journal_file.read_newest(connection, tail)
    head = journal_file.read_head(connection)
    last = head_of(entries[-1]) if entries else None
    if head != last:
        stored, found = (0 if one is None else one.sequence for one in (head, last))
        raise ChainBroken(f"{path}: its head is sequence {stored} and its newest entry {found}")
    if entries:
        first = entries[0]
        problems = broken_links(entries, beginning(first.node) if first.sequence == 1 else None)
        if problems:
            raise ChainBroken(f"{path}: {'; '.join(problems[:5])}")
    if head is not None and head.node != node:
        raise StoreError(f"{path}: it is the journal of node {head.node!r}, not of {node!r}")
    return head


def live_aggregates(connection: sqlite3.Connection, path: Path) -> list[Aggregate]:
    """The live state. Raises ChainBroken where an aggregate is not what the entry that set it says, StoreError where it
    can't be read."""
    changed: dict[int, frozenset[str] | None] = {}
    aggregates: list[Aggregate] = []
    for key, text, sequence in journal_file.read_aggregates(connection):
        if sequence not in changed:
            found = journal_file.read_entries(connection, after=sequence - 1, limit=1)
            if not found or found[0].sequence != sequence:
                raise ChainBroken(f"{path}: {key} was set by sequence {sequence}, which is missing")
            changed[sequence] = changed_texts(found[0]) if found[0].payload else None
        texts = changed[sequence]
        if texts is not None and text not in texts:
            raise ChainBroken(f"{path}: {key} is not as sequence {sequence} recorded it")
        try:
            aggregate = decode_aggregate(text)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}: {key} (sequence {sequence}) can't be read: {error}") from error
        if aggregate is not None:
            aggregates.append(aggregate)
    return aggregates
