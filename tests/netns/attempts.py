"""How one way out is tried: sockets of an ordinary user, and raw packets of root.

Runs on the lab's host, in the process of `exits_process.py`. Must not know
what the agent allows. Invariant: an attempt ends by itself within a fraction
of a second, whoever answers it, and leaves no flow behind (closed by RST).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable

import dns.message

Attempt = Callable[[], None]

DEVICE = "eth0"
FOREIGN_SOURCE = "2001:db8:99::1"
CONNECT_S = 0.12
NO_LINGER = struct.pack("ii", 1, 0)
IP_OPTIONS, IP_FREEBIND, IPV6_FREEBIND = 4, 15, 78
UDPLITE, MPTCP = 136, 262
UDP_SEGMENT = 103
_MSG_FASTOPEN = 0x20000000


def question(name: str, *, edns: bool = False) -> bytes:
    """A DNS question; what leaves through port 53 when nobody is looking."""
    return dns.message.make_query(name, "TXT", use_edns=0 if edns else False).to_wire()


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def end_of(address: str, port: int) -> tuple[str, int]:
    """As the socket calls take it; a zone ("%eth0") is resolved there."""
    return socket.getaddrinfo(address, port, proto=socket.IPPROTO_UDP)[0][4]  # type: ignore[return-value]


def udp(
    address: str,
    port: int,
    data: bytes = b"out",
    *,
    protocol: int = 0,
    device: str = "",
    options: tuple[tuple[int, int, bytes | int], ...] = (),
    connected: bool = False,
) -> Attempt:
    """One datagram."""

    def attempt() -> None:
        with socket.socket(family_of(address), socket.SOCK_DGRAM, protocol) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            _prepare(sock, device, options)
            if connected:
                sock.connect(end_of(address, port))
                sock.send(data)
            else:
                sock.sendto(data, end_of(address, port))

    return attempt


def tcp(
    address: str,
    port: int,
    data: bytes = b"out",
    *,
    protocol: int = 0,
    device: str = "",
    options: tuple[tuple[int, int, bytes | int], ...] = (),
    mark: int = 0,
) -> Attempt:
    """A connection, and `data` on it."""

    def attempt() -> None:
        with socket.socket(family_of(address), socket.SOCK_STREAM, protocol) as sock:
            sock.settimeout(CONNECT_S)
            if mark:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            _prepare(sock, device, options)
            sock.connect(end_of(address, port))
            sock.sendall(data)

    return attempt


def dns_tcp(address: str, name: str, *, device: str = "") -> Attempt:
    """A question over TCP, as RFC 7766 frames it."""
    data = question(name)
    return tcp(address, 53, struct.pack("!H", len(data)) + data, device=device)


def fast_open(address: str, port: int) -> Attempt:
    """Data in the SYN, without a connect."""

    def attempt() -> None:
        with socket.socket(family_of(address), socket.SOCK_STREAM) as sock:
            sock.settimeout(CONNECT_S)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            sock.sendto(b"out", _MSG_FASTOPEN, (address, port))

    return attempt


def ping(address: str) -> Attempt:
    """ICMP echo with a payload, by the socket that needs no privilege."""
    six = ":" in address
    protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP

    def attempt() -> None:
        with socket.socket(family_of(address), socket.SOCK_DGRAM, protocol) as sock:
            sock.sendto(bytes((128 if six else 8, 0, 0, 0, 0, 0, 0, 1)) + b"out", (address, 0))

    return attempt


def free_bind(address: str, port: int = 443, data: bytes = b"out") -> Attempt:
    """A datagram whose source is not this host's: IPv6 asks no privilege for that."""

    def attempt() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            sock.bind((FOREIGN_SOURCE, 0))
            sock.sendto(data, (address, port))

    return attempt


def join(group: str) -> Attempt:
    """Makes the kernel report a membership, in a packet that names a group of the user's choice."""

    def attempt() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            index = socket.if_nametoindex(DEVICE)
            request = socket.inet_aton(group) + bytes(4) + struct.pack("i", index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)

    return attempt


def raw4(
    address: str,
    protocol: int,
    payload: bytes,
    *,
    source: str = "10.10.1.2",
    fragment: int = 0,
    options: bytes = b"",
    number: int = 7,
    ttl: int = 64,
) -> Attempt:
    """A whole IPv4 packet; `fragment` is the word of flags and offset. The kernel fills in the checksum."""
    words = 5 + len(options) // 4
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | words,
        0,
        words * 4 + len(payload),
        number,
        fragment,
        ttl,
        protocol,
        0,
        socket.inet_aton(source),
        socket.inet_aton(address),
    )
    return _raw(socket.AF_INET, address, header + options + payload)


def raw6(
    address: str, following: int, payload: bytes, *, source: str = "fd00:10:1::2", hops: int = 64
) -> Attempt:
    """A whole IPv6 packet: `following` is the first header in `payload`."""
    header = struct.pack("!IHBB", 6 << 28, len(payload), following, hops)
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, address)
    return _raw(socket.AF_INET6, address, header + ends + payload)


def both(*attempts: Attempt) -> Attempt:
    """One after the other: the fragments of one packet."""

    def attempt() -> None:
        for each in attempts:
            each()

    return attempt


# Transport headers. Their checksums stay 0: conntrack verifies those of incoming packets alone,
# and a sniffer on the wire counts a packet whatever its checksum.


def udp_header(port: int, data: bytes = b"out") -> bytes:
    return struct.pack("!HHHH", 40000, port, 8 + len(data), 0) + data


def tcp_header(port: int, flags: int = 0x02) -> bytes:
    return struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 0x50, flags, 1024, 0, 0)


def extension(following: int, kind: bytes = b"\x01\x04\0\0\0\0") -> bytes:
    """One IPv6 extension header of eight bytes; by default its content is padding."""
    return bytes((following, 0)) + kind


def segments(*addresses: str, following: int = 0) -> bytes:
    """A segment routing header (RFC 8754) through `addresses`, last one first."""
    count = len(addresses)
    head = struct.pack("!BBBBBBH", following, 2 * count, 4, count - 1, count - 1, 0, 0)
    return head + b"".join(socket.inet_pton(socket.AF_INET6, address) for address in addresses)


def _raw(family: socket.AddressFamily, address: str, packet: bytes) -> Attempt:
    def attempt() -> None:
        with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            scope = socket.if_nametoindex(DEVICE) if address.startswith(("fe80", "ff02")) else 0
            sock.sendto(packet, (address, 0) if family == socket.AF_INET else (address, 0, 0, scope))

    return attempt


def _prepare(sock: socket.socket, device: str, options: tuple[tuple[int, int, bytes | int], ...]) -> None:
    if device:
        # Without a privilege since Linux 5.7, for a socket that is bound to none yet.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, os.fsencode(device) + b"\0")
    for level, option, value in options:
        sock.setsockopt(level, option, value)
