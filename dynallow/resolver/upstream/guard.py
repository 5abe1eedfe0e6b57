"""What the answers of one server must bear beside the right port and id: the question's case, and a cookie.

Each letter of a question has a case that nobody can foresee, and comes back so ("0x20",
draft-vixie-dnsext-dns0x20); a cookie comes back with what the server put behind it (RFC 7873,
RFC 9018), and once it has done so nothing is believed that comes without.

Knows one server's habits; must not know sockets, nor what is asked: time is an argument (seconds of
the loop). Invariant: no datagram takes a check away, since anybody may have sent it. What the server
says over TCP does, where nobody off the path can speak for it; and each check comes back by itself.
"""

from __future__ import annotations

import logging
import math
import os
from typing import Final

from dynallow.wire import numbers as n
from dynallow.wire.query import cookie_opt

log = logging.getLogger(__name__)

CLIENT_COOKIE: Final = 8
_COOKIES: Final = range(16, 41)
"""How long a cookie is that a server has completed (RFC 7873 section 4)."""
_NEW_COOKIE_S: Final = 3600.0
"""How long a client cookie is used: it tells the server that two addresses are the same host's (RFC 9018
section 3); and RFC 7873 section 7.1 asks for a new one after at most 26 hours."""
_AGAIN_S: Final = 3600.0
"""After this a check is tried again that the server did not stand."""
_SILENCE_S: Final = 10.0
"""So long no question with a cookie was answered: then it is unknown again how the server takes to them."""
_STRIKES: Final = 3
_ROUNDS: Final = 2
_NO_COOKIE: Final = cookie_opt(b"")


class Guard:
    """The checks of one server's datagrams. What the hot path reads are plain attributes."""

    __slots__ = (
        "__weakref__",
        "_case_from",
        "_client",
        "_client_until",
        "_cookies_from",
        "_expects_from",
        "_rounds",
        "cookie",
        "due",
        "expects",
        "lacks",
        "mixes",
        "name",
        "opt",
        "settled",
        "silent_since",
        "strikes",
        "watches",
    )

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.mixes = True
        """Whether questions go out in mixed case, and must come back so."""
        self.expects = False
        """Whether it has shown cookies: then nothing is believed that has none."""
        self.settled = False
        """Whether it is known how it takes to cookies."""
        self.watches = True
        """Whether an answer without a cookie is to be looked at all the same."""
        self.cookie = b""
        """The client cookie in `opt`; empty when none is sent."""
        self.opt = _NO_COOKIE
        """The OPT record of the next question."""
        self.due = -math.inf
        """From when on `renew` has something to do."""
        self._client = b""
        self._client_until = self._case_from = self._cookies_from = self._expects_from = -math.inf
        self.strikes = 0
        """How often in a row its case made one doubt it (`struck`)."""
        self.lacks = 0
        """How often in a row nothing came but answers without a cookie (`lacked`)."""
        self.silent_since = math.inf
        """Since when, by the deadlines, questions with a cookie are answered by nothing."""
        self._rounds = 0

    def renew(self, now: float) -> None:
        """Draw a new client cookie when the old one's time is over, and try again what was given up."""
        if now >= self._client_until:
            self._client, self._client_until = os.urandom(CLIENT_COOKIE), now + _NEW_COOKIE_S
            if self.cookie:
                self._send(self._client)
        if not self.mixes and now >= self._case_from:
            self.mixes, self.strikes = True, 0
        if not self.cookie and now >= self._cookies_from:
            self.settled, self.watches, self._rounds = False, True, 0
            self._send(self._client)
        self._set_due(now)

    def judge(self, given: bytes, sent: bytes, now: float) -> bool:
        """Whether to believe an answer with the cookie `given` to a question with the client cookie `sent`.

        Without the client cookie it is a forger's or another client's (RFC 7873 section 5.3). The client
        cookie alone comes from servers that send back whatever they do not know.
        """
        if not sent:
            return True
        if not given:
            return not self.expects
        if given[:CLIENT_COOKIE] != sent or (len(given) != CLIENT_COOKIE and len(given) not in _COOKIES):
            return False
        if len(given) != CLIENT_COOKIE and sent == self.cookie:
            self.opt = cookie_opt(given)
            self.lacks = 0
            if not self.expects and now >= self._expects_from:
                self.expects = self.watches = True
        return True

    # ------------------------------------------------------------ does it take cookies at all

    def settle(self, sent: bytes, rcode: int, now: float) -> None:
        """Take note of an answer to a question with `sent`, while it is not known whether cookies do harm."""
        if rcode == n.FORMERR:
            return
        if sent:
            self.settled, self.silent_since = True, math.inf
            self._rest()
        elif not self.cookie:
            self._rounds += 1
            if self._rounds < _ROUNDS:
                self._send(self._client)  # the silence may have been chance: once more
                return
            self.settled = True
            self._cookies_from = now + _AGAIN_S
            self._set_due(now)
            self._rest()
            log.info(
                "upstream %s: answers no question with a DNS cookie: asked without for an hour", self.name
            )

    def silent(self, sent: bytes, now: float) -> None:
        """Nothing came, or FORMERR. As long as no question with a cookie was answered, that may be why.

        So may it be when none was for some time: another server may have come to that address, or
        something between that takes no options. Then all begins anew, but for what is expected.
        """
        if not sent:
            return
        if self.settled and now - self.silent_since < _SILENCE_S:
            self.silent_since = min(self.silent_since, now)
        else:
            if self.settled:
                self.settled, self.silent_since, self._rounds = False, math.inf, 0
            self._send(b"")
        self._rest()

    def may_ask_again(self, rcode: int, sent: bytes) -> bool:
        """Whether an error may be about the cookie, so that the question is worth asking once more."""
        if rcode == n.BADCOOKIE:
            return True  # with the cookie that came with it (section 5.3)
        if not sent or self.settled:
            return False
        self._rounds = _ROUNDS - 1  # it said so itself: one answer without is enough
        self._send(b"")
        return True

    # ------------------------------------------------------------ checks given up

    def changes_case(self, now: float) -> None:
        """Over TCP, too, the question came back in another case."""
        self.mixes, self._case_from = False, now + _AGAIN_S
        self._set_due(now)
        log.info(
            "upstream %s: changes the case of questions: it is no check of its answers for an hour", self.name
        )

    def struck(self, now: float) -> None:
        """In another case, no TCP, but an answer when asked in lower case: enough when it is always so."""
        self.strikes, self.watches = self.strikes + 1, True
        if self.strikes >= _STRIKES:
            self.changes_case(now)

    def kept_case(self) -> None:
        """An answer came in the right case."""
        if self.strikes:
            self.strikes = 0
            self._rest()

    def lacked(self, now: float) -> None:
        """Nothing but answers without a cookie, and no TCP: enough when it is always so, as for `struck`."""
        self.lacks += 1
        if self.lacks >= _STRIKES:
            self.gives_no_cookies(now)

    def gives_no_cookies(self, now: float) -> None:
        """Over TCP, too, it answered without. The way back for servers of which only some give cookies."""
        self.expects, self._expects_from, self.lacks = False, now + _AGAIN_S, 0
        self._send(self.cookie)
        self._rest()
        log.info(
            "upstream %s: gives no DNS cookies any more: answers may come without for an hour", self.name
        )

    # ------------------------------------------------------------

    def _rest(self) -> None:
        self.watches = self.expects or not self.settled or self.strikes > 0 or self.silent_since != math.inf

    def _send(self, cookie: bytes) -> None:
        self.cookie = cookie
        self.opt = cookie_opt(cookie)

    def _set_due(self, now: float) -> None:
        later = (self._client_until, self._case_from, self._cookies_from)
        self.due = min(moment for moment in later if moment > now)
