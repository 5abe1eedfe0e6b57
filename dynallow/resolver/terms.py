"""The terms under which questions are answered, and a question that may pass under them.

Knows settings' values and the policy's verdict; must not know sockets, the cache or upstreams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from dynallow.lease.grant import Limits
from dynallow.policy.names import Name
from dynallow.policy.policy import Policy
from dynallow.policy.verdict import Verdict
from dynallow.wire import numbers as n
from dynallow.wire.question import Question

_BARE_OPT: Final = 11


@dataclass(frozen=True, slots=True)
class Terms:
    """What a reload may change, replaced as a whole."""

    policy: Policy
    limits: Limits
    observe: bool
    denied: Literal["nxdomain", "refused"]
    suffixes: tuple[Name, ...] = ()
    """What the host's stub resolvers may put behind a name that they look for."""
    dnssec: bool = False
    """Validators behind this road get what they need."""

    def how(self, question: Question) -> int:
        """Which of DO and CD go upstream with it.

        Always DO then, whoever asks: one answer serves all, but for what CD brings.
        """
        return n.DO | question.flags & n.CD if self.dnssec else 0


class Asked(NamedTuple):
    """A question that may pass, and by which rules."""

    packet: bytes
    question: Question
    udp: bool
    verdict: Verdict

    @property
    def max_size(self) -> int:
        """The longest reply that reaches whoever asked."""
        if not self.udp:
            return n.MESSAGE_MAX
        size = self.question.udp_size
        return size if size < n.UDP_SAFE else n.UDP_SAFE

    @property
    def may_come_again(self) -> bool:
        """Whether nothing stands behind the question but a bare OPT.

        Options differ from question to question (cookies), other records are anybody's
        idea: such a reply would never be found again, under a key of up to 4 KiB.
        """
        return len(self.packet) - n.HEADER_SIZE - len(self.question.section) <= _BARE_OPT
