"""The telephone that receives pages."""

from pathlib import Path

import aiohttp

from demo_platform.layout import Layout
from demo_platform.pager import Telephone, read_pages


async def test_pages_are_kept_in_order_and_nonsense_is_refused(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl"
    assert read_pages(path) == []
    with path.open("a", buffering=1) as output:
        telephone = Telephone(output)
        await telephone.open(layout.pager)
        async with aiohttp.ClientSession() as session:
            for body, status in (('{"what": "主用平台"}', 200), ("{", 400), ('{"what": "b"}', 200)):
                async with session.post(f"http://{layout.pager}/page", data=body.encode()) as answer:
                    assert answer.status == status
        await telephone.close()
    with path.open("a") as unfinished:
        unfinished.write('{"at": 1, "pa')
    assert [page["what"] for page in read_pages(path)] == ["主用平台", "b"]
