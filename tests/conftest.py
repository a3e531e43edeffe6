"""What needs a root lab, a browser or a server may be skipped on a newcomer's machine, and never where everything must run.

THIRDRING_TEST_ALL=1 (`deploy/test --all`, and so CI) turns every skip into a failure, but those of tests/skips.py.
"""

import os
from collections.abc import Generator

import pytest

from tests.skips import allowed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse(report, item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse(report, collector.nodeid)
    return report


def _refuse(report: pytest.TestReport | pytest.CollectReport, test: str) -> None:
    if not report.skipped or os.environ.get("THIRDRING_TEST_ALL") != "1" or hasattr(report, "wasxfail"):
        return
    where = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not allowed(test, where.removeprefix("Skipped: ")):
        report.outcome = "failed"
        report.longrepr = f"{test} must run here (THIRDRING_TEST_ALL=1), but: {where}"
