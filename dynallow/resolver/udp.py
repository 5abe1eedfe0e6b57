"""UDP listener: whenever something has come takes a burst, and answers at once what it can.

The first hot path: a burst costs two system calls and a look-up a question.
asyncio's own datagram transport allocates 256 KiB a datagram and costs five
times as much as a bare reader, a `recvfrom` and a `sendto` for each half as much
again. Knows the road's door; must not know what an answer is.

The attendant calls `_drain`, in front of asyncio and between other steps. So that it is
short and never calls itself, it answers what needs no waiting and puts the rest in a row,
which `_pass_on` begins with when `select` has served all. Invariant: what stood in that row while
rules or leases were taken away is decided anew.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from dynallow.resolver.asked import Asked
from dynallow.resolver.attendant import Attendant
from dynallow.resolver.loopback import keep_to_loopback
from dynallow.resolver.mmsg import BURST, Datagrams
from dynallow.resolver.options import HopOptions, may_have_options
from dynallow.resolver.road import Road
from dynallow.resolver.witness import Ends, NoWitness, Witness
from dynallow.units import Endpoint

_RECEIVE_BUFFER = 4 << 20

_IP_PKTINFO = 8
_UDP = 17
Meet = Callable[[bytes], Asked | bytes | None]
_PASSING_MAX = 256
"""Questions not begun with yet: a look between two steps may bring more than a turn begins."""


class UdpListener:
    """One listening address."""

    def __init__(
        self,
        endpoint: Endpoint,
        road: Road,
        options: HopOptions,
        attendant: Attendant,
        inherited: socket.socket | None = None,
        witness: Witness | None = None,
    ) -> None:
        """`inherited` is a socket that is bound to `endpoint` already. Raises OSError."""
        self.endpoint = endpoint
        self._road = road
        self._witness = witness or NoWitness()
        self._options = options
        self._address = slice(8, 24) if endpoint.address.version == 6 else slice(4, 8)  # of a sockaddr
        self._attendant = attendant
        self._passing: deque[tuple[Asked, bytes, int, float]] = deque()
        """What has to wait, to whom the reply goes; the road's generation and clock when it was decided."""
        self._passes_on = False
        self._sock = open_udp(endpoint, inherited)
        # A reply must come from the address that was asked: on a wildcard socket it must be told.
        asked = endpoint.address.is_unspecified
        self._datagrams = Datagrams(self._sock, asked=asked, unsent=self._count_unsent)

    async def start(self) -> None:
        """Begin to answer."""
        self._attendant.serve(self._sock, self._drain)

    def rest(self) -> None:
        """Take no more questions; those that were taken are still answered."""
        self._attendant.dismiss(self._sock)

    def busy(self, patient: bool) -> bool:
        """Whether a question was taken that nothing has begun with yet."""
        return bool(self._passing)

    def close(self) -> None:
        """Stop, and free the port."""
        self._attendant.dismiss(self._sock)
        self._passing.clear()
        self._datagrams.close()
        self._sock.close()

    def _drain(self) -> None:
        road, datagrams = self._road, self._datagrams
        if len(self._passing) >= _PASSING_MAX:
            return  # the rest waits in the socket, whose buffer has an end
        questions = datagrams.receive()
        if not questions:
            return
        # Nothing waits from here on. What was asked after a change of the table was received after
        # it, so this look hears of the change before any reply is looked up: it is answered after it.
        road.alert()
        now = road.clock()
        replies = road.hot.find(questions, now)
        if all(replies):
            road.counts.hot += len(replies)
            datagrams.reply(replies)
            return
        unanswered = [slot for slot, reply in enumerate(replies) if reply is None]
        road.counts.hot += len(replies) - len(unanswered)
        others = road.repeat(questions, replies, unanswered, now)
        meet: Meet = road.steps.decide.of(road.meet)
        if now >= self._witness.opens:
            meet = self._watched(meet, unanswered, others, now)
        for slot in others:
            packet = datagrams.datagram(slot)
            met = road.tasks.attempt(meet, packet)
            if isinstance(met, Asked):
                self._passing.append((met, datagrams.sender(slot), road.generation, now))
            elif met is not None:
                if may_have_options(packet):
                    met = self._options.tell(met, packet, datagrams.sender(slot)[self._address])
                replies[slot] = met[2:]
        datagrams.reply(replies)
        if self._passing and not self._passes_on:
            self._passes_on = True
            self._attendant.soon(self._pass_on)

    def _watched(self, meet: Meet, unanswered: list[int], others: list[int], now: float) -> Meet:
        """`meet`, to be called for each of the others in turn; what it denies is shown to the witness.

        What the store of denials has answered is shown here and now.
        """
        road, witness = self._road, self._witness

        def show(slot: int) -> None:
            if now >= witness.opens:
                road.tasks.attempt(self._show, slot)

        for slot in sorted(set(unanswered).difference(others)):
            show(slot)
        slots, counts = iter(others), road.counts

        def watched(packet: bytes) -> Asked | bytes | None:
            slot, refused = next(slots), counts.denied + counts.filtered
            met = meet(packet)
            if refused != counts.denied + counts.filtered:
                show(slot)
            return met

        return watched

    def _show(self, slot: int) -> None:
        """To the witness, while whoever asked waits for the reply: who has it may be gone."""
        sender = self._datagrams.sender(slot)
        source, port = sender[self._address], sender[2] << 8 | sender[3]
        ends = Ends(_UDP, source, port, self.endpoint.address.packed, self.endpoint.port)
        self._witness.look(self._datagrams.datagram(slot), ends)

    def _pass_on(self) -> None:
        """Begin with a burst of what has to wait, and look for hot questions after each."""
        road, passing = self._road, self._passing
        try:
            for _ in range(min(len(passing), BURST)):
                asked, sender, generation, since = passing.popleft()
                answer = self._answer if generation == road.generation else self._answer_anew
                road.tasks.begin(road.steps.whole.waiting(answer, since)(asked, sender))
                self._attendant.attend()
        finally:
            self._passes_on = bool(passing)
            if passing:
                asyncio.get_running_loop().call_soon(self._pass_on)

    async def _answer(self, asked: Asked, sender: bytes) -> None:
        self._send(await self._road.answer(asked), asked.packet, sender)

    async def _answer_anew(self, asked: Asked, sender: bytes) -> None:
        """For a question whose verdict is of rules that are gone."""
        reply = await self._road.walk(asked.packet, udp=True)
        if reply is not None:
            self._send(reply, asked.packet, sender)

    def _count_unsent(self, count: int) -> None:
        self._road.counts.unsent += count

    def _send(self, reply: bytes, packet: bytes, sender: bytes) -> None:
        if may_have_options(packet):
            reply = self._options.tell(reply, packet, sender[self._address])
        self._datagrams.send(reply, sender)


def open_udp(endpoint: Endpoint, inherited: socket.socket | None = None) -> socket.socket:
    """A bound, non-blocking UDP socket: the inherited one, or one of its own. Raises OSError."""
    version_6 = endpoint.address.version == 6
    sock = inherited or socket.socket(
        socket.AF_INET6 if version_6 else socket.AF_INET,
        socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
    )
    try:
        if endpoint.address.is_unspecified:
            if version_6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        _widen(sock)
        keep_to_loopback(sock, endpoint.address)
        if inherited is None:
            if version_6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((str(endpoint.address), endpoint.port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{error.strerror}: {endpoint}") from error
    return sock


def _widen(sock: socket.socket) -> None:
    """A receive buffer that holds a burst; past the system's maximum where allowed."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, 33, _RECEIVE_BUFFER)  # SO_RCVBUFFORCE
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
