"""The process that brings an archive's tables to this version's: what it takes to do so (10 MB) ends with it, and a
controller never has it.

The archive's URL, which may hold a password, comes on the standard input; why it could not be done goes to the error output.
"""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from controller.stores.migrations import upgrade


def main() -> int:
    try:
        asyncio.run(_upgraded(sys.stdin.readline().strip()))
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        print(getattr(error, "orig", None) or error, file=sys.stderr)
        return 1
    return 0


async def _upgraded(url: str) -> None:
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
    finally:
        await engine.dispose()
