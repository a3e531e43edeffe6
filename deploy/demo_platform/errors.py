"""The demo's errors.

DemoError
├── AddressInUse      something else listens where one of the demo's processes wants to
├── NotReady          a process did not come up, or something did not happen, in time
└── NotDone           a command to the platform had no effect; the message says what stands in the way
"""


class DemoError(Exception):
    """Anything the demo could not do; the message is for a person."""


class AddressInUse(DemoError):
    """The message names address, port and what wants it."""


class NotReady(DemoError):
    """The message says what was waited for, and for how long."""


class NotDone(DemoError):
    """A fault, its undoing or a fence had no effect."""
