"""One agent a network namespace: two would extend each other's holds."""

from __future__ import annotations

import socket

from controller.agent.memory import AnotherAgent


class Alone:
    """The kernel frees it when the process ends. Its name is of the network namespace, as the gate is."""

    def __init__(self) -> None:
        self._place: socket.socket | None = None

    def take(self) -> None:
        """Raises AnotherAgent."""
        place = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            place.bind("\0thirdring-agent")
        except OSError as error:
            place.close()
            raise AnotherAgent("an agent runs on this host already") from error
        self._place = place

    def give_up(self) -> None:
        """Safe to call when it was not taken."""
        if self._place is not None:
            self._place.close()
            self._place = None
