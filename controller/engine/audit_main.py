"""The process that checks a record. Imports nothing of the engine's loop and nothing of the web: it starts soon.

    python -m controller audit JOURNAL < frames > violations

Standard input is a row of pickled frames from the parent process: one Order, then Live ones. Standard output is a JSON
list of sentences.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import IO, Protocol

from controller.core.invariants import Window, broken, lead
from controller.engine.audit import Live, Order
from controller.model.chain import Head
from controller.model.errors import StoreError
from controller.model.facts import Aggregate, Entry


class Reader(Protocol):
    """A journal that another process writes."""

    async def open(self) -> None: ...

    def entries(self, *, after: int = 0, incident: str = "", limit: int = 1000) -> AsyncIterator[Entry]: ...

    async def verify(self, anchors: Sequence[Head] = ()) -> list[str]: ...

    async def close(self) -> None: ...


def main(reader: Reader) -> int:
    os.nice(10)  # a switch under way goes before any check
    order, live = _read(sys.stdin.buffer)
    json.dump(asyncio.run(_checked(reader, order, live)), sys.stdout)
    return 0


def _read(source: IO[bytes]) -> tuple[Order, list[Aggregate]]:
    """Raises EOFError without an order. The frames are believed: they come from the parent process alone."""
    order: Order | None = None
    live: list[Aggregate] = []
    with contextlib.suppress(EOFError):
        while True:
            match pickle.load(source):
                case Order() as given:
                    order = given
                case Live(some):
                    live.extend(some)
    if order is None:
        raise EOFError("no order")
    return order, live


async def _checked(reader: Reader, order: Order, live: Iterable[Aggregate]) -> list[str]:
    try:
        await reader.open()
        found = await reader.verify([order.head])
        window = Window(order.after, lead(order.budgets.values()))
        async for entry in reader.entries(limit=sys.maxsize):
            if entry.sequence > order.head.sequence:
                break  # the live state does not have it yet
            window.add(entry)
    except StoreError as error:
        return [str(error)]
    finally:
        await reader.close()
    violations = broken(window.lines(), live=live, budgets=order.budgets)
    return [*found, *(str(each) for each in violations if not order.after or each.sequence > order.after)]
