"""`thirdring`, and `python -m controller`."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    if sys.argv[1:2] == ["prober"]:
        # The prober's process: nothing of the command line is imported, it has to stay small.
        from controller.engine.prober_main import main as serve
        from controller.registry import load

        sys.exit(serve(int(sys.argv[sys.argv.index("--fd") + 1]), lambda kind: load("probe", kind)))
    if sys.argv[1:2] == ["audit"]:
        # Beside a running controller: it starts soon and takes little.
        from controller.engine.audit_main import main as audit
        from controller.stores.journal_reader import JournalReader

        sys.exit(audit(JournalReader(Path(sys.argv[2]))))
    if sys.argv[1:2] == ["upgrade-archive"]:
        from controller.stores.migration_main import main as upgrade

        sys.exit(upgrade())
    from controller.cli.application import main as command

    command()


if __name__ == "__main__":
    main()
