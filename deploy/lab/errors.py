"""The lab's errors.

LabError
├── CommandFailed     a system command (ip, nft) returned an error
├── NotReady          something did not come up in time
├── NotAvailable      root or a package is missing; the message says which
├── RpcRefused        an edge or a platform refused a JSON-RPC command
└── EffectMissing     a fault, or its undoing, did not have the effect it claims
"""


class LabError(Exception):
    """Anything the lab itself did wrong or could not do."""


class CommandFailed(LabError):
    """A system command returned an error; the message carries its standard error."""


class NotReady(LabError):
    """A host or process did not become ready within its deadline."""


class NotAvailable(LabError):
    """The lab cannot run here; the message names what is missing."""


class RpcRefused(LabError):
    """JSON-RPC answered with an error or with another HTTP status than 200.

    `status` is the HTTP status: 409 for a stale epoch, 403 for a foreign address, 500 for an error of the command.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status


class EffectMissing(LabError):
    """A fault did not do what it says, or was not undone."""
