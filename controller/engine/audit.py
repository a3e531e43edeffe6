"""The record checked in a process of its own: what is checked may be long, and the engine beside it never waits."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import pickle
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from controller.core.invariants import Budget
from controller.model.chain import Head
from controller.model.facts import Aggregate

log = logging.getLogger(__name__)

LONGEST = 600.0
"""Seconds a check may take; about a million entries."""

AGGREGATES_A_FRAME = 50
"""Pickling them takes about a millisecond of the engine's loop."""


class AuditLate(Exception):
    """It took longer than it may."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """Check the journal up to `head`, by groups' `budgets`. `after`: of the invariants only what shows after that
    sequence; 0: all."""

    head: Head
    budgets: Mapping[str, Budget]
    after: int = 0


class Live(NamedTuple):
    """Some of the live state that the record has to add up to."""

    aggregates: tuple[Aggregate, ...]


Frame = Order | Live


def frame(value: Frame) -> bytes:
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


class Audit:
    """Of the journal at `path`; one check at a time. `argv`: what starts a process that serves `audit_main.main`."""

    def __init__(self, path: Path, *, argv: Sequence[str] = (), longest: float = LONGEST) -> None:
        self._argv = tuple(argv) or (sys.executable, "-m", "controller", "audit", str(path))
        self._longest = longest
        self._turn = asyncio.Lock()

    async def violations(self, order: Order, live: Iterable[Aggregate]) -> list[str]:
        """Every violation, as sentences. Raises AuditLate; RuntimeError when the process fails."""
        async with self._turn:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(self._longest):
                    await self._order(process, order, live)
                    answer, complaint = await process.communicate()
            except TimeoutError:
                raise AuditLate(f"the check of the record took longer than {self._longest:g} s") from None
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if process.returncode != 0:
            raise RuntimeError(
                f"the check of the record ended with {process.returncode}: {complaint.decode(errors='replace')}"
            )
        return [str(violation) for violation in json.loads(answer)]

    @staticmethod
    async def _order(process: asyncio.subprocess.Process, order: Order, live: Iterable[Aggregate]) -> None:
        assert process.stdin is not None
        rest = iter(live)
        try:
            process.stdin.write(frame(order))
            while some := tuple(itertools.islice(rest, AGGREGATES_A_FRAME)):
                process.stdin.write(frame(Live(some)))
                await process.stdin.drain()
                await asyncio.sleep(0)  # drain alone does not wait while the pipe has room
        except (BrokenPipeError, ConnectionResetError):
            log.debug("the check ended early")  # its own words follow
        process.stdin.close()
