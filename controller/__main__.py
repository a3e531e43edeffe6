"""`thirdring`, and `python -m controller`."""

from __future__ import annotations

import sys


def main() -> None:
    if sys.argv[1:2] == ["prober"]:
        # The prober's process: nothing of the command line is imported, it has to stay small.
        from controller import registry
        from controller.engine import prober_main

        sys.exit(prober_main.main(int(sys.argv[sys.argv.index("--fd") + 1]), lambda kind: registry.load("probe", kind)))
    from controller.cli.application import main as command

    command()


if __name__ == "__main__":
    main()
