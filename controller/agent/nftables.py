"""libnftables through ctypes: one context, one thread.

Not the `nft` program: a child takes 5 ms and more to start where the library takes a fraction of one, it needs memory
and a process just when the host may have none, and stopping the agent would not stop a child that it has started: an
extension could reach the kernel after the agent was frozen.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from errno import ENOENT
from typing import Final

from controller.model.errors import ThirdRingError

LIBRARY: Final = "libnftables.so.1"

# <nftables/libnftables.h>
_JSON: Final = 1 << 4
_HANDLES: Final = 1 << 3
_TERSE: Final = 1 << 11

_PLACE: Final = re.compile(r"^Error: .*\n(?P<line>.*)\n(?P<blank> *)\^", re.MULTILINE)
_BETWEEN: Final = "; "


class NftError(ThirdRingError):
    """The kernel or the library refused; nothing of the transaction was applied. `missing`: ENOENT; `commands`: those
    of a `transaction` that were at fault."""

    def __init__(self, text: str) -> None:
        self.commands = tuple(
            _command_at(match["line"], len(match["blank"])) for match in _PLACE.finditer(text)
        )
        self.missing = os.strerror(ENOENT) in text
        super().__init__(" / ".join(text.split("\n")).strip() or "nftables failed without a word")


class Nftables:
    """Raises NftError (no such library) when made. A context belongs to the network namespace of the thread that made
    it, and works until `close`."""

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise NftError(f"{LIBRARY}: {error}") from error
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
            getattr(library, name).restype = ctypes.c_char_p
            getattr(library, name).argtypes = [ctypes.c_void_p]
        for name in ("nft_ctx_buffer_error", "nft_ctx_buffer_output", "nft_ctx_free"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        context = library.nft_ctx_new(0)
        if not context:
            raise NftError("nft_ctx_new failed")
        self._library = library
        self._context: int | None = context
        library.nft_ctx_buffer_error(context)
        library.nft_ctx_buffer_output(context)

    def run(self, script: str) -> str:
        """One transaction: all of it or nothing. Returns what it printed. Raises NftError."""
        return self._run(script, 0)

    def transaction(self, commands: Sequence[str]) -> None:
        """The same of single commands, so that NftError says which were at fault."""
        # On one line: of several the library quotes the first, whichever failed.
        self._run(_BETWEEN.join(commands), 0)

    def structure(self, table: str) -> str:
        """A table's sets, chains (with their devices) and rules with their handles, without elements. Equal texts:
        nobody touched it. Raises NftError (`missing`: there is no such table)."""
        return self._run(f"list table {table}", _HANDLES | _TERSE)

    def elements(self, table: str, name: str) -> str:
        """A set with its elements, as JSON text. Raises NftError."""
        return self._run(f"list set {table} {name}", _JSON)

    def close(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            self._library.nft_ctx_free(context)

    def _run(self, commands: str, flags: int) -> str:
        if self._context is None:
            raise NftError("the nftables context is closed")
        self._library.nft_ctx_output_set_flags(self._context, flags)
        status = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
        # Reading a buffer empties it, so both are read each time.
        told = self._library.nft_ctx_get_output_buffer(self._context) or b""
        wrong = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if status:
            raise NftError(wrong.decode(errors="replace"))
        return bytes(told).decode(errors="replace")


def _command_at(line: str, column: int) -> str:
    """The one command of `line` in which `column` lies."""
    end = line.find(_BETWEEN, column)
    return line[: end if end >= 0 else None].rpartition(_BETWEEN)[2]
