"""The lease as a fake: a register that several holders share, on a clock the test turns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Register:
    now: float = 0.0
    holder: object = None
    expires: float = 0.0


class MemoryLease:
    """ports.Lease over a register. `lifetime` in seconds of the register's clock."""

    def __init__(self, register: Register, *, lifetime: float = 3.0) -> None:
        self._register = register
        self._lifetime = lifetime

    async def acquire(self) -> float | None:
        register = self._register
        if register.holder not in (None, self) and register.now < register.expires:
            return None
        register.holder = self
        register.expires = register.now + self._lifetime
        return register.expires

    async def release(self) -> None:
        if self._register.holder is self:
            self._register.holder = None
