"""What needs a root lab or a browser may be skipped on a newcomer's machine, and never where everything must run.

THIRDRING_TEST_ALL=1 (`deploy/test --all`, and so CI) turns every skip of such a test into a failure.
"""

import os
from collections.abc import Generator

import pytest

NEEDY = ("lab", "browser", "postgresql", "etcd")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    needy = any(item.get_closest_marker(name) is not None for name in NEEDY)
    if (
        report.skipped
        and needy
        and os.environ.get("THIRDRING_TEST_ALL") == "1"
        and not hasattr(report, "wasxfail")
    ):
        where = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} must run here (THIRDRING_TEST_ALL=1), but: {where}"
    return report
