"""A road with real upstream sockets, a leaser that the test holds in its hand, and clocks that it moves.

Knows `resolver/` and the test's name server. Must not know nft.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, TypeVar

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from dynallow.errors import KernelError
from dynallow.lease.grant import Grant, Limits
from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import Policy, PolicyBuilder
from dynallow.resolver.attendant import Attendant
from dynallow.resolver.cache import AnswerCache
from dynallow.resolver.hot import HotReplies
from dynallow.resolver.road import Road
from dynallow.resolver.terms import Terms
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.resolver.upstream.pool import Upstreams
from dynallow.resolver.upstream.server import Server
from dynallow.tasks import Tasks
from tests.lab.loop import SteadyLoop
from tests.unit.resolver.nameserver import Handler, Nameserver, zone

T = TypeVar("T")
DEB = "deb.example.org"
ONE, TWO = ip_address("192.0.2.1").packed, ip_address("192.0.2.2").packed
TWO_ADDRESSES = zone(f"{DEB} 300 IN A 192.0.2.1 | 192.0.2.2")


def policy(**rules: str) -> Policy:
    """Rules by name, each with one pattern."""
    builder = PolicyBuilder()
    for name, pattern in rules.items():
        builder.add_pattern(builder.add_rule(name), parse_pattern(pattern))
    return builder.build()


WEB = policy(web=DEB)


@dataclass
class Gate:
    """A leaser whose kernel the test is: what was asked, when it agrees, what it refuses."""

    calls: list[list[Grant]] = field(default_factory=list)
    open: asyncio.Event | None = None
    """When set, `ensure` waits for it."""
    refuse: frozenset[bytes] = frozenset()
    error: KernelError | None = None

    async def ensure(self, grants: Sequence[Grant]) -> frozenset[bytes]:
        self.calls.append(list(grants))
        if self.open is not None:
            await self.open.wait()
        if self.error is not None:
            raise self.error
        return self.refuse & {address for grant in grants for address in grant.addresses}


class Host:
    """One road with everything around it, and two clocks that only the test moves."""

    def __init__(
        self,
        server: Nameserver,
        allowed: Policy,
        *,
        observe: bool = False,
        attendant: Attendant | None = None,
        **sizes: int,
    ) -> None:
        self.gate = Gate()
        self.attendant = attendant or Attendant()  # of no loop: serves nobody
        self.tasks = Tasks(self.attendant.attend, self.attendant.soon)
        self.now, self.wall = 1000.0, 5000.0
        self.upstream = Server(server.endpoint)
        self.road = Road(
            terms=Terms(allowed, Limits(), observe, "nxdomain"),
            leaser=self.gate,
            upstreams=Upstreams(Exchange(None, attendant), [self.upstream], timeout_s=0.2),
            cache=AnswerCache(sizes.get("size", 100), 86400.0),
            hot=HotReplies(sizes.get("size", 100)),
            tasks=self.tasks,
            clock=lambda: self.now,
            wall=lambda: self.wall,
        )

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds

    def change(self, allowed: Policy) -> None:
        """A reload, as the agent does it: terms, then forget."""
        self.road.terms = Terms(allowed, Limits(), self.road.terms.observe, "nxdomain")
        self.road.forget()

    async def ask(
        self, name: str = DEB, qtype: str = "A", *, udp: bool = True, edns: bool = True, id: int = 7
    ) -> dns.message.Message:
        reply = await self.road.walk(question(name, qtype, edns=edns, id=id), udp=udp)
        assert reply is not None
        return dns.message.from_wire(reply)


def question(
    name: str = DEB,
    qtype: str = "A",
    *,
    edns: bool = True,
    id: int = 7,
    options: list[dns.edns.Option] | None = None,
) -> bytes:
    use = 0 if edns else False
    return dns.message.make_query(name, qtype, use_edns=use, payload=1232, id=id, options=options).to_wire()


def on_host(
    work: Callable[[Host, Nameserver], Coroutine[Any, Any, T]],
    handler: Handler = TWO_ADDRESSES,
    allowed: Policy = WEB,
    *,
    observe: bool = False,
    **sizes: int,
) -> T:
    """Run `work` with a road in front of a server with this handler."""

    async def run() -> T:
        async with Nameserver(handler) as server:
            host = Host(server, allowed, observe=observe, attendant=attendant, **sizes)
            try:
                return await asyncio.wait_for(work(host, server), 20)
            finally:
                await host.tasks.stop()

    attendant = Attendant(every_s=0.0)
    with asyncio.Runner(loop_factory=lambda: SteadyLoop(attendant)) as runner:
        return runner.run(run())


def addresses(message: dns.message.Message) -> set[bytes]:
    return {
        ip_address(record.to_text()).packed
        for rrset in message.answer
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for record in rrset
    }


def ede(message: dns.message.Message) -> int | None:
    found = [int(option.code) for option in message.options if isinstance(option, dns.edns.EDEOption)]
    return found[0] if found else None


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until `condition` holds; `on_host` bounds the waiting."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
