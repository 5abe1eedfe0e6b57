"""A client of the agent that sends the bytes it is given, over UDP and TCP.

Knows RFC 1035's framing and dnspython's reading. Must not import dynallow:
every reply is read by another parser than the one that wrote it. The sockets
belong to the host namespace whatever thread uses them later.
"""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple

import dns.flags
import dns.message
import dns.rdatatype
import dns.rdtypes.svcbbase

from tests.lab import dnsbytes
from tests.lab.namespace import Namespace

V4, V6 = "127.0.0.1", "::1"
PROMISED_WITHIN_S = 4.0  # DESIGN section 10: before glibc gives up
REPLY_WITHIN_S = 30.0  # patience, for machines whose processors others have taken
EDNS = b"\0" + struct.pack("!HHIH", 41, 4096, 0, 0)
_ids = itertools.count(0x1234)


class Told(NamedTuple):
    """What a client makes of one reply."""

    rcode: str
    addresses: Mapping[str, int]  # address → the TTL of its record, hints included
    longest_ttl: int  # of all records in the answer section
    truncated: bool
    message: dns.message.Message


def packet(
    name: str | bytes,
    qtype: int = dnsbytes.A,
    *,
    qclass: int = dnsbytes.IN,
    flags: int = dnsbytes.RD,
    edns: bytes | None = EDNS,
    ident: int | None = None,
) -> bytes:
    """A question; `edns` is the whole OPT record, None for none."""
    wire = dnsbytes.name(name) if isinstance(name, str) else name
    number = next(_ids) & 0xFFFF if ident is None else ident
    head = struct.pack("!6H", number, flags, 1, 0, 0, 0 if edns is None else 1)
    return head + wire + struct.pack("!HH", qtype, qclass) + (edns or b"")


def opt(*, size: int = 4096, version: int = 0, flags: int = 0, options: bytes = b"") -> bytes:
    """An OPT record for `packet`."""
    return b"\0" + struct.pack("!HHBBHH", 41, size, 0, version, flags, len(options)) + options


class Client:
    """Asks the agent in `host`, at 127.0.0.1 and ::1."""

    def __init__(self, host: Namespace) -> None:
        self._host = host
        with host.entered():
            self._udp = {
                V4: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
                V6: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
            }
        for server, sock in self._udp.items():
            sock.connect((server, 53))

    def close(self) -> None:
        for sock in self._udp.values():
            sock.close()

    def udp(self, data: bytes, server: str = V4, *, within_s: float = REPLY_WITHIN_S) -> bytes:
        """The reply to `data` by its id; raises TimeoutError."""
        sock = self._udp[server]
        sock.settimeout(within_s)
        sock.send(data)
        while (reply := sock.recv(65535))[:2] != data[:2]:
            pass  # the late reply to an earlier question, which had its own timeout
        return reply

    def connect(self, server: str = V4, *, within_s: float = REPLY_WITHIN_S) -> socket.socket:
        """A TCP connection to the agent."""
        with self._host.entered():
            sock = socket.socket(socket.AF_INET6 if server == V6 else socket.AF_INET)
        sock.settimeout(within_s)
        sock.connect((server, 53))
        return sock

    def tcp(self, data: bytes, server: str = V4, *, within_s: float = REPLY_WITHIN_S) -> bytes:
        """The reply over a TCP connection of its own; raises EOFError when there is none."""
        with self.connect(server, within_s=within_s) as sock:
            sock.sendall(struct.pack("!H", len(data)) + data)
            return read_frame(sock)

    def ask(
        self,
        name: str,
        qtype: int = dnsbytes.A,
        server: str = V4,
        *,
        tcp: bool = False,
        edns: bool = True,
        within_s: float = REPLY_WITHIN_S,
    ) -> Told:
        """What the reply says, over TCP when UDP's is truncated."""
        data = packet(name, qtype, edns=EDNS if edns else None)
        if not tcp and not (told := read(self.udp(data, server, within_s=within_s))).truncated:
            return told
        return read(self.tcp(data, server, within_s=within_s))

    def ask_both_ways(self, name: str) -> tuple[Told, Told]:
        """A over UDP at 127.0.0.1 and AAAA over TCP at ::1, side by side; TCP where UDP's is truncated."""
        aaaa = packet(name, dnsbytes.AAAA)
        with self.connect(V6) as tcp:
            tcp.sendall(struct.pack("!H", len(aaaa)) + aaaa)
            return self.ask(name), read(read_frame(tcp))

    def ask_all(
        self,
        names: Sequence[str],
        qtype: int = dnsbytes.A,
        server: str = V4,
        *,
        within_s: float = REPLY_WITHIN_S,
    ) -> list[Told]:
        """The replies to questions that are all in flight at once, over UDP."""
        questions = {(data := packet(name, qtype))[:2]: data for name in names}
        sock = self._udp[server]
        sock.settimeout(within_s)
        for data in questions.values():
            sock.send(data)
        replies: dict[bytes, Told] = {}
        while len(replies) < len(questions):
            reply = sock.recv(65535)
            if reply[:2] in questions:
                replies[reply[:2]] = read(reply)
        return list(replies.values())


def read_frame(sock: socket.socket) -> bytes:
    """One length-prefixed message; raises EOFError when the other side closes before its end."""
    (length,) = struct.unpack("!H", _read_exactly(sock, 2))
    return _read_exactly(sock, length)


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError(f"closed after {len(data)} of {size} bytes")
        data += part
    return data


def read(reply: bytes) -> Told:
    """The reply by dnspython; raises if it is malformed."""
    message = dns.message.from_wire(reply)
    addresses: dict[str, int] = {}
    for rrset in message.answer:
        for record in rrset:
            for address in _addresses(record):
                addresses[address] = rrset.ttl
    ttls = [rrset.ttl for rrset in message.answer]
    return Told(
        rcode=dns.rcode.to_text(message.rcode()),
        addresses=addresses,
        longest_ttl=max(ttls, default=0),
        truncated=bool(message.flags & dns.flags.TC),
        message=message,
    )


def _addresses(record: object) -> list[str]:
    if isinstance(record, dns.rdtypes.svcbbase.SVCBBase):
        hints = (4, 6)  # ipv4hint, ipv6hint
        return [text for key in hints if key in record.params for text in record.params[key].addresses]
    text = getattr(record, "address", None)
    return [] if text is None else [str(ip_address(text))]


def ede_of(told: Told) -> list[tuple[int, str]]:
    """Code and text of the extended errors (RFC 8914)."""
    return [
        (int(option.code), option.text or "")
        for option in told.message.options
        if isinstance(option, dns.edns.EDEOption)
    ]
