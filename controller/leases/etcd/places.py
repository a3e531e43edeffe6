"""Where things are kept, under one prefix a controller."""

from __future__ import annotations

from typing import NamedTuple


class Places(NamedTuple):
    """`cluster`: the name of this controller, the same on all its nodes."""

    cluster: str

    @property
    def root(self) -> str:
        return f"/thirdring/{self.cluster}/"

    @property
    def leader(self) -> str:
        return f"{self.root}leader"

    @property
    def renewal(self) -> str:
        """Written with each renewal of the leader: a write that is committed is a quorum's word."""
        return f"{self.root}renewal"

    @property
    def states(self) -> str:
        return f"{self.root}state/"

    def state(self, key: str) -> str:
        return f"{self.states}{key}"

    def grant(self, group: str) -> str:
        return f"{self.root}grant/{group}"

    @property
    def holds(self) -> str:
        return f"{self.root}hold/"

    def hold(self, group: str) -> str:
        return f"{self.holds}{group}"

    @property
    def vantages(self) -> str:
        return f"{self.root}vantage/"

    def vantage(self, node: str) -> str:
        return f"{self.vantages}{node}"
