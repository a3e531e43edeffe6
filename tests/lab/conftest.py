"""One lab for all tests of the lab; each test leaves it as it found it."""

from collections.abc import Iterator

import pytest

from lab.laboratory import Lab, missing


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
