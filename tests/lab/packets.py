"""What passed the wire, as records. Pure.

Knows the pcap file (Linux cooked capture) that sniffer_process.py writes,
IPv4, IPv6 with its extension headers, ARP and the transport ports.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 113)
RECORD = struct.Struct("<IIII")
COOKED = struct.Struct("!HHH8sH")
MARKER_ETHERTYPE = 0x88B5  # IEEE 802 local experimental: no stack looks at it
INCOMING_TO_ROUTER = (0, 1, 2, 3)  # for us, broadcast, multicast, for another host
_PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 47: "gre", 58: "icmp6", 132: "sctp", 136: "udplite"}
_EXTENSIONS = {0: "hop-by-hop", 43: "routing", 44: "fragment", 51: "ah", 60: "destination"}
# Neighbour discovery, MLD and router solicitation: IPv6 itself (DESIGN section 8, step 5).
_IP_ITSELF = {130, 131, 132, 133, 134, 135, 136, 137, 143}


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet; ports are 0 where the protocol has none or a fragment hides them."""

    time: float
    from_host: bool
    protocol: str
    src: str
    dst: str
    sport: int
    dport: int
    length: int
    fragment: bool
    extensions: tuple[str, ...]
    payload: bytes  # of the IP packet: transport header and what follows

    @property
    def is_housekeeping(self) -> bool:
        """ARP, ND and MLD: what a silent host says, too."""
        return self.protocol == "arp" or (
            self.protocol == "icmp6" and self.payload[:1] != b"" and self.payload[0] in _IP_ITSELF
        )

    def __str__(self) -> str:
        arrow = "host→" if self.from_host else "→host"
        return f"{arrow} {self.protocol} {self.src}:{self.sport} > {self.dst}:{self.dport} ({self.length})"


def read(pcap: bytes) -> Iterator[Packet]:
    """Every packet of a capture file, in the order of arrival."""
    at = len(PCAP_HEADER)
    while at + RECORD.size <= len(pcap):
        seconds, micros, captured, length = RECORD.unpack_from(pcap, at)
        at += RECORD.size
        kind, _, _, _, ethertype = COOKED.unpack_from(pcap, at)
        body = pcap[at + COOKED.size : at + captured]
        at += captured
        yield parse(seconds + micros / 1e6, kind in INCOMING_TO_ROUTER, ethertype, body, length - COOKED.size)


def parse(time: float, from_host: bool, ethertype: int, body: bytes, length: int) -> Packet:
    """One packet from its link-layer payload."""
    if ethertype == 0x0800 and len(body) >= 20:
        return _ipv4(time, from_host, body, length)
    if ethertype == 0x86DD and len(body) >= 40:
        return _ipv6(time, from_host, body, length)
    protocol = "arp" if ethertype == 0x0806 else f"0x{ethertype:04x}"
    return Packet(time, from_host, protocol, "", "", 0, 0, length, False, (), body)


def _ipv4(time: float, from_host: bool, body: bytes, length: int) -> Packet:
    word = int.from_bytes(body[6:8], "big")
    payload = body[(body[0] & 15) * 4 :]
    src, dst = str(ip_address(body[12:16])), str(ip_address(body[16:20]))
    sport, dport = _ports(body[9], payload, first=not word & 0x1FFF)
    protocol = _PROTOCOLS.get(body[9], str(body[9]))
    return Packet(time, from_host, protocol, src, dst, sport, dport, length, bool(word & 0x3FFF), (), payload)


def _ipv6(time: float, from_host: bool, body: bytes, length: int) -> Packet:
    src, dst = str(ip_address(body[8:24])), str(ip_address(body[24:40]))
    number, at, first = body[6], 40, True
    extensions: list[str] = []
    while number in _EXTENSIONS and first and at + 8 <= len(body):
        extensions.append(_EXTENSIONS[number])
        if number == 44:
            first = not int.from_bytes(body[at + 2 : at + 4], "big") & 0xFFF8
        size = 8 if number == 44 else (body[at + 1] + 2) * 4 if number == 51 else (body[at + 1] + 1) * 8
        number, at = body[at], at + size
    sport, dport = _ports(number, body[at:], first=first)
    protocol = _PROTOCOLS.get(number, str(number))
    return Packet(
        time,
        from_host,
        protocol,
        src,
        dst,
        sport,
        dport,
        length,
        "fragment" in extensions,
        tuple(extensions),
        body[at:],
    )


def _ports(protocol: int, payload: bytes, *, first: bool) -> tuple[int, int]:
    if not first or protocol not in (6, 17, 132, 136) or len(payload) < 4:
        return 0, 0
    sport, dport = struct.unpack_from("!HH", payload)
    return sport, dport
