"""Ways out that root tries with raw sockets: whatever packet it likes, below TCP and UDP.

A table. Left out: AF_PACKET, which is below every output hook; DHCP from port
68 and MLD reports, which the design lets out (root alone can make them).
"""

from __future__ import annotations

import socket

from tests.netns.attempts import (
    both,
    extension,
    raw4,
    raw6,
    segments,
    tcp,
    tcp_header,
    udp_header,
)
from tests.netns.wayout import (
    APPROVED4,
    APPROVED6,
    UPSTREAM4,
    Way,
    way,
)


def _protocols() -> list[Way]:
    """Root: other protocols, to an approved address, with an approved port where a port would stand."""
    ways = []
    numbers = {
        "ipip": 4,
        "igmp": 2,
        "egp": 8,
        "dccp": 33,
        "6in4": 41,
        "gre": 47,
        "esp": 50,
        "ospf": 89,
        "etherip": 97,
        "pim": 103,
        "l2tp": 115,
        "sctp": 132,
        "udplite": 136,
        "experiment": 253,
        "raw": 255,
    }
    for name, number in numbers.items():
        shown = {2: "igmp", 47: "gre", 132: "sctp", 136: "udplite"}.get(number, str(number))
        ways.append(
            way(
                f"raw-{name}-approved-v4",
                raw4(APPROVED4, number, udp_header(443, name.encode())),
                APPROVED4,
                shown,
                contains=name.encode(),
                who="root",
            )
        )
        # The protocol's own number may not stand in the packet of an extension header's.
        ways.append(
            way(
                f"raw-{name}-approved-v6",
                raw6(APPROVED6, number, udp_header(443, name.encode())),
                APPROVED6,
                shown,
                contains=name.encode(),
                who="root",
            )
        )
    inner4 = b"\x45\0\0\x1c\0\1\0\0\x40\x11\0\0" + socket.inet_aton("10.10.1.2")
    inner4 += socket.inet_aton("198.51.100.40") + udp_header(443, b"")
    return [
        *ways,
        way("raw-whole-packet-in-ipip", raw4("198.51.100.41", 4, inner4), "198.51.100.41", who="root"),
        way(
            "raw-echo-approved-v4",
            raw4(APPROVED4, 1, b"\x08\0\0\0\0\1\0\1raw4echo"),
            APPROVED4,
            "icmp",
            contains=b"raw4echo",
            who="root",
        ),
        way(
            "raw-echo-approved-v6",
            raw6(APPROVED6, 58, b"\x80\0\0\0\0\1\0\1raw6echo"),
            APPROVED6,
            "icmp6",
            contains=b"raw6echo",
            who="root",
        ),
        way(
            "raw-echo-reply-v4", raw4("198.51.100.42", 1, b"\0\0\0\0\0\1\0\1out"), "198.51.100.42", who="root"
        ),
        way(
            "raw-timestamp-v4",
            raw4("198.51.100.43", 1, b"\x0d\0\0\0" + bytes(16)),
            "198.51.100.43",
            who="root",
        ),
        way(
            "raw-unreachable-v4",
            raw4("198.51.100.44", 1, b"\3\3\0\0\0\0\0\0" + inner4),
            "198.51.100.44",
            who="root",
        ),
        way(
            "raw-unreachable-v6",
            raw6("2001:db8:51::44", 58, b"\1\4\0\0\0\0\0\0out"),
            "2001:db8:51::44",
            who="root",
        ),
        way(
            "raw-solicit-wrong-hops",
            raw6("2001:db8:51::45", 58, b"\x87\0\0\0" + bytes(20), hops=64),
            "2001:db8:51::45",
            who="root",
        ),
        way(
            "raw-listener-wrong-hops",
            raw6("2001:db8:51::46", 58, b"\x83\0\0\0" + bytes(20), hops=64),
            "2001:db8:51::46",
            who="root",
        ),
        way(
            "raw-advert-of-a-router",
            raw6("ff02::1", 58, b"\x86\0\0\0" + bytes(12), hops=255),
            "ff02::1",
            "icmp6",
            contains=b"\x86",
            who="root",
        ),
        way(
            "raw-foreign-source-v4",
            raw4("198.51.100.47", 17, udp_header(443), source="10.10.1.77"),
            "198.51.100.47",
            who="root",
        ),
        way(
            "raw-foreign-source-v6",
            raw6("2001:db8:51::47", 17, udp_header(443), source="2001:db8:99::1"),
            "2001:db8:51::47",
            who="root",
        ),
        way(
            "raw-source-route-v4",
            raw4(
                APPROVED4, 17, udp_header(443, b"raw-lsrr"), options=bytes((0x83, 7, 4, 198, 51, 100, 9, 0))
            ),
            APPROVED4,
            contains=b"raw-lsrr",
            who="root",
        ),
        way(
            "raw-strict-source-route-v4",
            raw4(
                APPROVED4, 17, udp_header(443, b"raw-ssrr"), options=bytes((0x89, 7, 4, 198, 51, 100, 9, 0))
            ),
            APPROVED4,
            contains=b"raw-ssrr",
            who="root",
        ),
        way(
            "raw-options-v4",
            raw4("198.51.100.48", 6, tcp_header(443), options=b"\x94\4\0\0"),
            "198.51.100.48",
            who="root",
        ),
        way(
            "marked-to-another-server", tcp("198.51.100.49", 53, mark=0x64796E61), "198.51.100.49", who="root"
        ),
        way(
            "marked-to-another-port", tcp(UPSTREAM4, 443, mark=0x64796E61), UPSTREAM4, "tcp", 443, who="root"
        ),
    ]


def _extensions() -> list[Way]:
    """Root: IPv6 extension headers in front of TCP and UDP."""
    kinds = {
        "hop-by-hop": (0, b"\x01\x04\0\0\0\0"),
        "destination": (60, b"\x01\x04\0\0\0\0"),
        "routing-0": (43, b"\0\0\0\0\0\0"),
        "routing-4": (43, b"\4\0\0\0\0\0"),
        "mobility": (135, b"\0\0\0\0\0\0"),
        "shim6": (140, b"\0\0\0\0\0\0"),
    }
    ways = []
    for number, (name, (header, content)) in enumerate(kinds.items()):
        for protocol, payload in ((6, tcp_header(443)), (17, udp_header(443))):
            address = f"2001:db8:51::6{number}:{protocol}"
            ways.append(
                way(
                    f"raw-{name}-before-{protocol}",
                    raw6(address, header, extension(protocol, content) + payload),
                    address,
                    who="root",
                )
            )
    chain = extension(60) + extension(43) + extension(60, b"\0\0\0\0\0\0") + extension(6) + tcp_header(443)
    passing = segments("2001:db8:51::69", APPROVED6, following=17) + udp_header(443, b"raw-srh")
    return [
        *ways,
        way("raw-four-extensions", raw6("2001:db8:51::67", 0, chain), "2001:db8:51::67", who="root"),
        way(
            "raw-extension-other-port-of-approved",
            raw6(APPROVED6, 60, extension(17) + udp_header(4443)),
            APPROVED6,
            "udp",
            4443,
            who="root",
        ),
        way(
            "raw-segment-route-through-approved",
            raw6(APPROVED6, 43, passing),
            APPROVED6,
            contains=b"raw-srh",
            who="root",
        ),
        way("raw-no-next-header", raw6("2001:db8:51::68", 59, b"out"), "2001:db8:51::68", who="root"),
    ]


def _fragments() -> list[Way]:
    """Root: pieces of packets. Conntrack puts them together, so a lone piece waits for ever."""
    more = 0x2000
    datagram = udp_header(443, bytes(24))
    syn = tcp_header(443)
    cases4 = {
        "first": [raw4("198.51.100.50", 17, datagram[:16], fragment=more)],
        "last": [raw4("198.51.100.51", 17, datagram[16:], fragment=2)],
        "whole": [
            raw4("198.51.100.52", 17, datagram[:16], fragment=more),
            raw4("198.51.100.52", 17, datagram[16:], fragment=2),
        ],
        "tiny": [
            raw4("198.51.100.53", 6, syn[:8], fragment=more),
            raw4("198.51.100.53", 6, syn[8:], fragment=1),
        ],
        "overlapping": [
            raw4("198.51.100.54", 17, datagram[:16], fragment=more),
            raw4("198.51.100.54", 17, datagram[8:], fragment=1),
        ],
        "backwards": [
            raw4("198.51.100.55", 17, datagram[16:], fragment=2, number=8),
            raw4("198.51.100.55", 17, datagram[:16], fragment=more, number=8),
        ],
    }
    ways = [
        way(f"raw-fragment-{name}-v4", both(*pieces), f"198.51.100.5{place}", who="root")
        for place, (name, pieces) in enumerate(cases4.items())
    ]
    pieces6 = {
        "first": [(0, 1, datagram[:16])],
        "last": [(2, 0, datagram[16:])],
        "whole": [(0, 1, datagram[:16]), (2, 0, datagram[16:])],
        "atomic": [(0, 0, datagram)],
        "overlapping": [(0, 1, datagram[:16]), (1, 0, datagram[8:])],
    }
    for place, (name, pieces) in enumerate(pieces6.items()):
        address = f"2001:db8:51::5{place}"
        packets = [raw6(address, 44, _fragment(offset, flag) + data) for offset, flag, data in pieces]
        ways.append(way(f"raw-fragment-{name}-v6", both(*packets), address, who="root"))
    return [
        *ways,
        way(
            "raw-fragment-last-approved-v4",
            raw4(APPROVED4, 17, b"lastpiece4" + bytes(6), fragment=2, number=9),
            APPROVED4,
            "udp",
            contains=b"lastpiece4",
            who="root",
        ),
        way(
            "raw-fragment-last-approved-v6",
            raw6(APPROVED6, 44, _fragment(2, 0) + b"lastpiece6" + bytes(6)),
            APPROVED6,
            contains=b"lastpiece6",
            who="root",
        ),
    ]


def _fragment(offset: int, more: int, following: int = 17) -> bytes:
    return bytes((following, 0)) + ((offset << 3) | more).to_bytes(2, "big") + (77).to_bytes(4, "big")


def _flags() -> list[Way]:
    """Root: TCP packets that open nothing."""
    flags = {
        "rst": 0x04,
        "fin": 0x01,
        "null": 0x00,
        "syn-fin": 0x03,
        "xmas": 0x29,
        "ack": 0x10,
        "syn-ack": 0x12,
    }
    ways = []
    for place, (name, bits) in enumerate(flags.items()):
        port = 7000 + place
        v4, v6 = f"198.51.100.7{place}", f"2001:db8:51::7{place}"
        ways += [
            way(f"raw-{name}-v4", raw4(v4, 6, tcp_header(443, bits)), v4, who="root"),
            way(f"raw-{name}-v6", raw6(v6, 6, tcp_header(443, bits)), v6, who="root"),
            way(
                f"raw-{name}-other-port-of-approved-v4",
                raw4(APPROVED4, 6, tcp_header(port, bits)),
                APPROVED4,
                "tcp",
                port,
                who="root",
            ),
        ]
    return ways


ROOT_WAYS = (*_protocols(), *_extensions(), *_fragments(), *_flags())
