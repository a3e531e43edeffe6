"""A child process that records without pause and prints what was acknowledged: to be killed."""

import asyncio
import sys
from pathlib import Path

from controller.model.facts import Fact, FactKind
from controller.model.groups import Hold
from controller.model.moments import Moment
from controller.stores.journal import SqliteJournal


def fact(number: int) -> Fact:
    hold = Hold(scope=f"scope-{number % 50}", by="li", reason=str(number), since_wall=0.0, until_wall=1.0)
    return Fact(kind=FactKind.NOTE, at=Moment(0.0, float(number)), subject=str(number), changed=(hold,))


async def main(path: str) -> None:
    journal = SqliteJournal(Path(path), "here")
    recovered = await journal.open()
    print("open", recovered.last_sequence, len(recovered.aggregates), flush=True)
    number = recovered.last_sequence
    while True:
        waiting = []
        for _ in range(3):
            waiting.append(journal.record([fact(number + 1), fact(number + 2)]))
            number += 2
        for answer in asyncio.as_completed(waiting):
            entries = await answer
            print("ack", entries[-1].sequence, entries[-1].digest, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
