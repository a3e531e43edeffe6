"""The tests that may be skipped even where everything must run, each for this one reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

RING: Final = (
    "the ring's bounds have not been shown to hold on cores that do anything else: THIRDRING_RING=1 runs it"
)

ALLOWED: Final[Mapping[str, str]] = {
    "tests/lab/test_ring.py": RING,
    "tests/contract/test_drivers.py::test_an_unknown_side_is_refused[fake]": "the fake takes what it is given",
    # Of the kernel, not of a package that could be installed.
    "tests/unit/probes/test_sip_options.py::test_ipv6": "no IPv6 loopback here",
    "tests/unit/probes/test_icmp.py::test_ipv6": "no IPv6 loopback here",
}
"""A test, or a file of them, and what its skip says."""


def allowed(test: str, why: str) -> bool:
    """`test` is pytest's node id, `why` the skip's own reason."""
    return any(
        why == reason and (test == name or test.startswith((f"{name}::", f"{name}[")))
        for name, reason in ALLOWED.items()
    )
