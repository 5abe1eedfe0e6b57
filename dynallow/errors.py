"""The families of errors, by what a boundary must do with them.

Floor 0: knows nothing of the rest. Every error that a user can meet carries
what was expected, what was found and where, and (as `hint`) what to do next.

    WireError      bytes from the network are malformed    answer FORMERR, or drop and count
    UpstreamError  no upstream gave a usable answer        stale data, else SERVFAIL with EDE
    KernelError    nf_tables refused                       SERVFAIL; at start exit 6
    DecideAgainError  what it rested on went meanwhile     decide again
    OverloadError  more at once than a bound allows        SERVFAIL
    SettingsError  settings invalid                        print the faults, exit 3
    ControlError   the agent is not reachable              print, exit 4
    SetupError     this host cannot be set up so           print, exit 1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class DynallowError(Exception):
    """Base of all; `hint` says what to do, `exit_code` what the CLI ends with."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class WireError(DynallowError):
    """Bytes that are not the DNS message they should be."""


class UpstreamError(DynallowError):
    """No upstream gave a usable answer in time.

    `reached` is False when every one was silent or refused the connection
    (EDE 22/23 tell the client which, RFC 8914).
    """

    def __init__(self, message: str, hint: str = "", *, reached: bool = False) -> None:
        super().__init__(message, hint)
        self.reached = reached


class KernelError(DynallowError):
    """nf_tables refused or could not be asked; `errno` as the kernel gave it."""

    exit_code = 6

    def __init__(self, message: str, hint: str = "", *, errno: int = 0) -> None:
        super().__init__(message, hint)
        self.errno = errno


class SetFullError(KernelError):
    """A set is at its size (ENFILE); the whole transaction was rolled back."""


class SetBusyError(KernelError):
    """A set's hash table is just growing (EBUSY); it takes the same transaction a moment later."""


class TableMissingError(KernelError):
    """The table or a set of it is not there (ENOENT): somebody took it away."""


class UnsettledError(KernelError):
    """The kernel's answer was lost: whether the transaction holds is not known."""


class DecideAgainError(DynallowError):
    """What this rested on (rules, leases, another's question) went while it waited: decide again."""


class OverloadError(DynallowError):
    """More than a bound allows: turned away, nothing is wrong with it."""


class ControlError(DynallowError):
    """The agent's control socket cannot be reached, or gave no valid answer."""

    exit_code = 4


class SetupError(DynallowError):
    """An install or uninstall that cannot begin, or cannot go on; what was done stays recorded."""


class Fault(NamedTuple):
    """One thing wrong with the settings; prints as `file:path.to.key: expected …, got …`."""

    file: str
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.path}: {self.text}" if self.path else f"{self.file}: {self.text}"


class SettingsError(DynallowError):
    """Settings that cannot be used; carries every fault found, not the first."""

    exit_code = 3

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)
