"""A prober process as tests and benches start it: `prober_child.py FD`."""

from __future__ import annotations

import functools
import sys

from controller.engine import prober_main
from controller.registry import load

if __name__ == "__main__":
    sys.exit(prober_main.main(int(sys.argv[1]), functools.partial(load, "probe")))
