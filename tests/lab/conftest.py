"""One lab for all tests of the lab; each test leaves it as it found it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.laboratory import Lab, missing
from tests.skips import RING

RING_TESTS = Path(__file__).with_name("test_ring.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_purpose = pytest.mark.skipif(os.environ.get("THIRDRING_RING") != "1", reason=RING)
    for item in items:
        if item.path == RING_TESTS:
            item.add_marker(on_purpose)
    reason = missing()
    if reason is None:
        return
    for item in items:
        if item.get_closest_marker("lab") is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab.create() as made:
        yield made
