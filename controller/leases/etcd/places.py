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
    def identity(self) -> str:
        """A random word that nobody changes: a store that was wiped does not have it."""
        return f"{self.root}cluster"

    @property
    def commit(self) -> str:
        """Changed by each write of the state: a copy of an older write that arrives late is refused."""
        return f"{self.root}commit"

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
