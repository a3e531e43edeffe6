"""The telephone of the demo's on-call person: takes the controller's webhook and keeps each page.

    python -m demo_platform.pager --listen 127.0.0.1:18092 --output var/demo/pages.jsonl

One JSON object a line: when it came (Unix seconds), and the document that was posted.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TextIO

from aiohttp import web

from demo_platform.layout import Address
from demo_platform.serving import run
from demo_platform.switches import listen


class Telephone:
    """Answers 200 to a page that is JSON, 400 to anything else."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        application = web.Application(client_max_size=256 * 1024)
        application.router.add_post("/page", self._page)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)

    async def open(self, address: Address) -> None:
        """Raises AddressInUse."""
        await self._runner.setup()
        await listen(self._runner, address)

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _page(self, request: web.Request) -> web.Response:
        try:
            document = json.loads(await request.text())
        except ValueError:
            return web.json_response({"error": "not JSON"}, status=400)
        self._output.write(json.dumps({"at": time.time(), "page": document}, ensure_ascii=False) + "\n")
        return web.json_response({"received": True})


def read_pages(path: Path) -> list[dict[str, object]]:
    """The documents received so far, oldest first."""
    try:
        lines = path.read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line)["page"] for line in lines if line.endswith("\n")]


def main() -> None:
    parser = argparse.ArgumentParser(prog="demo_platform.pager", description="Receives pages by webhook.")
    parser.add_argument("--listen", type=Address.parse, required=True, metavar="HOST:PORT")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    async def start() -> Telephone:
        telephone = Telephone(options.output.open("a", buffering=1))
        await telephone.open(options.listen)
        return telephone

    run(start)


if __name__ == "__main__":
    main()
