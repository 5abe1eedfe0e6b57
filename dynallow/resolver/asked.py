"""A question on the road: what came, and what the policy says of it.

Pure. Knows what the question's shape means for its reply, not how one is made.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dynallow.policy.verdict import Verdict
from dynallow.wire import numbers as n
from dynallow.wire.question import Question

BARE_MAX: Final = n.HEADER_SIZE + 11
"""Bytes beside the question section of what may come again: a header, and nothing behind it but a bare OPT.

Options differ from question to question (cookies), other records are anybody's idea: such a reply would
never be found again, under a key of up to 4 KiB.
"""


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
