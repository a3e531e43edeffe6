"""Facts linked into the hash chain, and the check of one link."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from controller.model.encoding import EncodedFact, encode_fact
from controller.model.facts import GENESIS, Entry, Fact, chain_digest, payload_digest


class Head(NamedTuple):
    """The newest entry of a journal: written down elsewhere, it proves that the journal was not cut or rewritten."""

    node: str
    sequence: int
    digest: str


class Linked(NamedTuple):
    entry: Entry
    encoded: EncodedFact


def link(facts: Iterable[Fact], head: Head) -> list[Linked]:
    """Entries for `facts` in order, following `head`."""
    linked: list[Linked] = []
    node, sequence, previous = head
    for fact in facts:
        sequence += 1
        encoded = encode_fact(fact)
        # float(): a wall given as an integer must hash as the REAL that a store gives back.
        wall, kind = float(fact.at.wall), fact.kind.value
        payload_hash = payload_digest(encoded.payload)
        digest = chain_digest(previous, sequence, node, wall, kind, fact.incident, fact.drill, payload_hash)
        linked.append(
            Linked(
                Entry(
                    sequence=sequence,
                    node=node,
                    wall=wall,
                    kind=kind,
                    incident=fact.incident,
                    drill=fact.drill,
                    payload=encoded.payload,
                    payload_hash=payload_hash,
                    previous=previous,
                    digest=digest,
                ),
                encoded,
            )
        )
        previous = digest
    return linked


def beginning(node: str) -> Head:
    """The head of a journal without entries."""
    return Head(node, 0, GENESIS)


def head_of(entry: Entry) -> Head:
    return Head(entry.node, entry.sequence, entry.digest)


class Break(NamedTuple):
    """Where the chain does not hold, and how."""

    sequence: int
    message: str

    def __str__(self) -> str:
        return f"sequence {self.sequence}: {self.message}"


def breaks(entries: Iterable[Entry], before: Head | None) -> list[Break]:
    """What does not hold in a run of consecutive entries.

    `before` is the head they follow; None when it is not known (a run from the middle: its first `previous` is
    believed). An erased payload (empty text) is no violation: the chain carries its hash.
    """
    found: list[Break] = []
    head = before
    for entry in entries:
        if head is not None:
            if entry.sequence != head.sequence + 1:
                found.append(
                    Break(entry.sequence, f"comes after {head.sequence}: entries are missing or double")
                )
            if entry.previous != head.digest:
                found.append(Break(entry.sequence, "does not follow the entry before it"))
        digest = chain_digest(
            entry.previous,
            entry.sequence,
            entry.node,
            entry.wall,
            entry.kind,
            entry.incident,
            entry.drill,
            entry.payload_hash,
        )
        if digest != entry.digest:
            found.append(Break(entry.sequence, "its header does not match its digest"))
        if entry.payload and payload_digest(entry.payload) != entry.payload_hash:
            found.append(Break(entry.sequence, "its payload does not match its hash"))
        head = head_of(entry)
    return found


def broken_links(entries: Iterable[Entry], before: Head | None) -> list[str]:
    """`breaks`, as sentences."""
    return [str(each) for each in breaks(entries, before)]


def changed_texts(entry: Entry) -> frozenset[str]:
    """The aggregates that an entry changed, each as `encode_aggregate` wrote it."""
    return frozenset(
        json.dumps(item, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        for item in json.loads(entry.payload).get("changed", ())
    )
