"""One upstream server and how it does: its latency, and whether it is believed to be there.

Knows the rules of an outage; must not know sockets, the loop nor what is asked:
time is an argument. Keeps: however many questions fail in one outage, it counts once.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

from dynallow.resolver.upstream.datagrams import Target, target
from dynallow.resolver.upstream.guard import Guard
from dynallow.resolver.upstream.streams import Stream
from dynallow.units import Endpoint

log = logging.getLogger(__name__)

# A question waits no longer than this for a sign of life while another server is up.
_SOON_S, _SOON_MAX_S, _SOON_LATENCIES = 0.4, 0.6, 8
# Who is there, and yet fails whatever is asked of him, is asked last for this long, doubled each time.
_REST_S, _REST_MAX_S = 1.0, 30.0
_STRIKES_MAX = 16
_MEASURED = 4  # answers; one alone may have waited for somebody else


@dataclass(slots=True, eq=False)
class Server:
    """An upstream server and how it has done so far."""

    endpoint: Endpoint
    stream: Stream | None = None
    """How it is asked; None: by datagrams."""
    name: str = ""
    """As the settings write it, where its endpoint does not say all."""
    guard: Guard | None = field(default=None, repr=False)
    """What its datagrams must bear; None: nothing is known of it yet."""
    authentic: bool = False
    """Asked over TLS or HTTPS: its word that an answer is validated (AD) is its own."""
    target: Target = field(init=False, repr=False)
    asked: int = 0
    answered: int = 0
    failed: int = 0
    up: bool = True
    """Believed to answer: asked in its turn, else last."""
    strikes: int = 0
    """Outages since its last answer."""
    rest_until: float = 0.0
    """Signs of life are not looked for before."""
    latency_s: float | None = None
    last_error: str | None = None
    announced: bool = False
    """The log says that it is down. A name that takes its time costs a probe, and is no news."""
    _up_since: float = -math.inf

    def __post_init__(self) -> None:
        self.target = target(self.endpoint, self.guard)
        self.guard = self.target.guard
        self.name = self.name or str(self.endpoint)

    @property
    def healthy(self) -> bool:
        """What to tell an administrator: who is up and yet failed twice has to answer first."""
        return self.up and self.strikes < 2

    @property
    def measured_s(self) -> float | None:
        """Its latency, when enough answers tell."""
        return self.latency_s if self.answered >= _MEASURED else None

    @property
    def soon_s(self) -> float:
        """How long it may say nothing before another server is asked that is up as well."""
        if self.stream is not None:  # it may have to connect first
            return _SOON_MAX_S
        return min(max(_SOON_S, _SOON_LATENCIES * (self.latency_s or 0.0)), _SOON_MAX_S)

    def succeeded(self, latency_s: float) -> None:
        """Take note of an answer; latency is smoothed over about eight of them."""
        self.answered += 1
        self.strikes = 0
        self.latency_s = latency_s if self.latency_s is None else self.latency_s * 0.875 + latency_s * 0.125

    def came_back(self, now: float) -> None:
        """It is there again."""
        if self.announced:
            log.info("upstream %s answers again", self.name)
            self.announced = False
        self.up, self._up_since, self.rest_until = True, now, 0.0

    def fell_short(self, asked_at: float, now: float, why: str) -> bool:
        """Take note of a failed try; returns whether an outage begins with it."""
        self.failed += 1
        self.last_error = why
        if not self.up or asked_at < self._up_since:  # of an outage that is known, or over
            return False
        self.up = False
        if self.strikes:
            self.announce()
            self.rest_until = now + min(_REST_S * 2.0 ** (self.strikes - 1), _REST_MAX_S)
        self.strikes = min(self.strikes + 1, _STRIKES_MAX)
        return True

    def announce(self) -> None:
        """Say once that it is down, and why."""
        if not self.announced:
            self.announced = True
            log.warning("upstream %s: %s", self.name, self.last_error)
