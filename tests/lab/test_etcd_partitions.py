"""Members that are cut off from each other while their clients reach them: each node sees another part of the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.model.errors import CoordinationError
from tests.builders.coordinating import Node, overlaps
from tests.builders.cut_off import Islands, missing

pytestmark = [pytest.mark.lab, pytest.mark.etcd]


@pytest.fixture
def islands(tmp_path: Path) -> Iterator[Islands]:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with Islands(tmp_path) as islands:
        yield islands


def test_on_both_sides_of_a_cut_there_is_never_a_leader(islands: Islands, tmp_path: Path) -> None:
    """The member that leads etcd, and with it the node that leads, is cut off; then another one; then none."""

    async def scenario() -> tuple[list[Node], list[tuple[int, int]]]:
        first = islands.leader()
        rest = tuple(url for number, url in enumerate(islands.endpoints) if number != first)
        nodes = [
            Node("alone", islands.endpoints[first : first + 1], tmp_path),
            Node("most", rest, tmp_path),
        ]
        for node in nodes:
            await node.register.open()
        assert await nodes[0].lease.acquire() is not None
        leading = [asyncio.create_task(node.lead(0.05)) for node in nodes]
        led: list[tuple[int, int]] = []
        try:
            await asyncio.sleep(1.0)
            for cut in (first, (first + 1) % 3, first):
                before = [node.writes for node in nodes]
                islands.cut(cut)
                await asyncio.sleep(2.5)
                led.append((nodes[0].writes - before[0], nodes[1].writes - before[1]))
                islands.heal(cut)
                await asyncio.sleep(1.5)
        finally:
            for task in leading:
                task.cancel()
            await asyncio.gather(*leading, return_exceptions=True)
            for node in nodes:
                await node.client.close()
        return nodes, led

    nodes, led = islands.run(scenario)
    assert overlaps(nodes) == []
    assert led[0][1] > 0, "those who reach a quorum go on"
    assert led[1][0] + led[1][1] > 0
    assert sum(node.errors for node in nodes) > 0, "whoever was cut off could prove nothing"


def test_what_a_member_without_a_quorum_says_is_never_believed(islands: Islands, tmp_path: Path) -> None:
    """It confirms keep-alives for a while, and would serve what it has: nothing that is asked here is answered by it."""

    async def scenario() -> list[str]:
        first = islands.leader()
        node = Node("alone", islands.endpoints[first : first + 1], tmp_path)
        await node.register.open()
        assert await node.lease.acquire() is not None
        await node.register.read()
        islands.cut(first)
        answered: list[str] = []
        for name, ask in (
            ("renewal", node.lease.acquire),
            ("state", node.register.read),
            ("grant", lambda: node.grants.read("calls")),
            ("write", lambda: node.register.write({"run/1": b"1"}, {"run/1": 0})),
        ):
            try:
                await ask()
                answered.append(name)
            except CoordinationError:
                pass
        await node.client.close()
        return answered

    assert islands.run(scenario) == []
