"""One lab for all tests of the lab; each test leaves it as it found it."""

import os
from collections.abc import Iterator

import pytest

from lab.laboratory import Lab, missing

# The ring's bounds have not been shown to hold on two cores that do anything else: it is run on purpose only.
collect_ignore = [] if os.environ.get("THIRDRING_RING") == "1" else ["test_ring.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
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
