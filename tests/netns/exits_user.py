"""Ways out that an ordinary user tries, with sockets that need no privilege.

A table. Left out: SCTP and DCCP by socket (not in every kernel; their packets
are among root's ways), IPv4 source routes by socket option (the kernel wants
a privilege for those).
"""

from __future__ import annotations

import socket

from tests.netns.attempts import (
    DEVICE,
    IP_OPTIONS,
    MPTCP,
    UDP_SEGMENT,
    UDPLITE,
    dns_tcp,
    fast_open,
    free_bind,
    join,
    ping,
    question,
    segments,
    tcp,
    udp,
)
from tests.netns.wayout import (
    ADMIN4,
    ADMIN6,
    APPROVED4,
    APPROVED6,
    LAPSED4,
    LAPSED6,
    LINK_LOCAL,
    OTHER4,
    OTHER6,
    TAIL,
    UNASKED4,
    UNASKED6,
    UPSTREAM4,
    UPSTREAM6,
    Way,
    way,
)


def _label(name: str) -> bytes:
    first = name.split(".", 1)[0].encode()
    return bytes((len(first),)) + first


def _dns() -> list[Way]:
    """Port 53 of anybody, and of the upstream itself."""
    ways = []
    servers = [
        ("far", "198.51.100.1", "2001:db8:51::1"),
        ("near", OTHER4, OTHER6),
        ("upstream", UPSTREAM4, UPSTREAM6),
        ("approved", APPROVED4, APPROVED6),
    ]
    for place, v4, v6 in servers:
        for version, address in (("v4", v4), ("v6", v6)):
            plain, long, edns = (f"{kind}-{place}-{version}.{TAIL}" for kind in ("plain", "l" * 40, "edns"))
            ways += [
                way(
                    f"dns-udp-{place}-{version}",
                    udp(address, 53, question(plain)),
                    address,
                    "udp",
                    53,
                    _label(plain),
                    local=True,
                ),
                way(
                    f"dns-long-txt-{place}-{version}",
                    udp(address, 53, question(long)),
                    address,
                    "udp",
                    53,
                    _label(long),
                    local=True,
                ),
                way(
                    f"dns-edns-{place}-{version}",
                    udp(address, 53, question(edns, edns=True)),
                    address,
                    "udp",
                    53,
                    _label(edns),
                    local=True,
                ),
                way(f"dns-tcp-{place}-{version}", dns_tcp(address, plain), address, "tcp", 53, local=True),
            ]
    for version, address in (("v4", "198.51.100.2"), ("v6", "2001:db8:51::2")):
        ways += [
            way(
                f"dns-udp-bound-to-device-{version}",
                udp(address, 53, question(TAIL), device=DEVICE),
                address,
                "udp",
                53,
                local=True,
            ),
            way(
                f"dns-tcp-bound-to-device-{version}",
                dns_tcp(address, TAIL, device=DEVICE),
                address,
                "tcp",
                53,
                local=True,
            ),
        ]
    for version, address in (("v4", "198.51.100.3"), ("v6", "2001:db8:51::3")):
        ways += [
            way(f"not-dns-on-udp-53-{version}", udp(address, 53, b"\0tunnel"), address, "udp", local=True),
            way(f"not-dns-on-tcp-53-{version}", tcp(address, 53, b"\0tunnel"), address, "tcp", local=True),
        ]
    for version, address, group53, group55 in (
        ("v4", "198.51.100.4", "224.0.0.251", "224.0.0.252"),
        ("v6", "2001:db8:51::4", "ff02::fb", "ff02::1:3"),
    ):
        zone = f"%{DEVICE}" if version == "v6" else ""
        for port in (853, 5353, 5355):
            ways += [
                way(f"udp-{port}-{version}", udp(address, port), address, "udp", port),
                way(f"tcp-{port}-{version}", tcp(address, port), address, "tcp", port),
            ]
        ways += [
            way(f"mdns-{version}", udp(group53 + zone, 5353, question(TAIL)), group53, "udp"),
            way(f"llmnr-{version}", udp(group55 + zone, 5355, question(TAIL)), group55, "udp"),
        ]
    return [
        *ways,
        way("tls-dns-of-approved-v4", tcp(APPROVED4, 853), APPROVED4, "tcp", 853),
        way("tls-dns-of-approved-v6", tcp(APPROVED6, 853), APPROVED6, "tcp", 853),
    ]


def _addresses() -> list[Way]:
    """Addresses that nothing has earned, and more than was earned of those that are."""
    ways = []
    for version, far, approved, lapsed, unasked, admin, gateway in (
        ("v4", "198.51.100.10", APPROVED4, LAPSED4, UNASKED4, ADMIN4, "10.10.1.1"),
        ("v6", "2001:db8:51::10", APPROVED6, LAPSED6, UNASKED6, ADMIN6, "fd00:10:1::1"),
    ):
        other = far[:-2] + "11"
        bound = far[:-2] + "12"
        ways += [
            way(f"tcp-{version}", tcp(far, 443), far, "tcp", 443),
            way(f"udp-{version}", udp(far, 443), far, "udp", 443),
            way(f"udp-connected-{version}", udp(far, 444, connected=True), far, "udp", 444),
            way(f"tcp-fast-open-{version}", fast_open(far, 80), far, "tcp", 80),
            way(f"mptcp-{version}", tcp(far, 8443, protocol=MPTCP), far, "tcp", 8443),
            way(f"udp-larger-than-the-wire-{version}", udp(other, 443, bytes(4000)), other, "udp"),
            way(
                f"udp-segments-{version}",
                udp(other[:-1] + "3", 443, bytes(3000), options=((socket.SOL_UDP, UDP_SEGMENT, 1000),)),
                other[:-1] + "3",
                "udp",
            ),
            way(f"udp-bound-to-device-{version}", udp(bound, 443, device=DEVICE), bound, "udp"),
            way(f"tcp-bound-to-device-{version}", tcp(bound, 443, device=DEVICE), bound, "tcp"),
            way(f"tcp-other-port-of-approved-{version}", tcp(approved, 8443), approved, "tcp", 8443),
            way(f"ssh-of-approved-{version}", tcp(approved, 22), approved, "tcp", 22),
            way(f"udp-on-tcp-port-of-approved-{version}", udp(approved, 80), approved, "udp", 80),
            way(f"lapsed-{version}", tcp(lapsed, 443), lapsed, "tcp"),
            way(f"not-resolved-yet-{version}", tcp(unasked, 443), unasked, "tcp"),
            way(f"of-another-user-{version}", tcp(admin, 443), admin, "tcp"),
            way(f"ping-approved-{version}", ping(approved), approved, _icmp(far), contains=b"out"),
            way(f"ping-{version}", ping(far), far, _icmp(far)),
            way(
                f"udplite-approved-{version}",
                udp(approved, 443, b"lite-out", protocol=UDPLITE),
                approved,
                "udplite",
                contains=b"lite-out",
            ),
            way(f"gateway-tcp-{version}", tcp(gateway, 443), gateway, "tcp"),
            way(f"gateway-udp-{version}", udp(gateway, 443), gateway, "udp"),
        ]
    return ways


def _icmp(address: str) -> str:
    return "icmp6" if ":" in address else "icmp"


def _options_and_groups() -> list[Way]:
    """What an ordinary user can put into headers, and groups that nobody joined."""
    record_route = bytes((7, 7, 4, 0, 0, 0, 0, 0))
    through6 = segments("::", APPROVED6)
    v6 = socket.IPPROTO_IPV6
    return [
        way("igmp-join", join("239.9.9.9"), "224.0.0.22", "igmp"),
        way("link-local-udp", udp(f"{LINK_LOCAL}%{DEVICE}", 443), LINK_LOCAL, "udp"),
        way("link-local-tcp", tcp(f"{LINK_LOCAL}%{DEVICE}", 443), LINK_LOCAL, "tcp"),
        way(
            "record-route-v4",
            udp("198.51.100.30", 443, options=((0, IP_OPTIONS, record_route),)),
            "198.51.100.30",
        ),
        way(
            "segment-route-through-approved-v6",
            udp("2001:db8:51::31", 443, b"srh-out", options=((v6, socket.IPV6_RTHDR, through6),)),
            APPROVED6,
            "udp",
            443,
            b"srh-out",
        ),
        way(
            "segment-route-through-approved-tcp-v6",
            tcp("2001:db8:51::32", 80, options=((v6, socket.IPV6_RTHDR, through6),)),
            APPROVED6,
            "tcp",
            80,
        ),
        way(
            "segment-route-v6",
            udp(
                APPROVED6, 443, b"out", options=((v6, socket.IPV6_RTHDR, segments("::", "2001:db8:51::33")),)
            ),
            "2001:db8:51::33",
        ),
        way("foreign-source-v6", free_bind("2001:db8:51::34"), "2001:db8:51::34"),
        way(
            "foreign-source-dns-v6",
            free_bind("2001:db8:51::35", 53, question(TAIL)),
            "2001:db8:51::35",
            local=True,
        ),
        way("multicast-v4", udp("239.1.2.3", 443), "239.1.2.3"),
        way("multicast-link-v6", udp(f"ff02::1234%{DEVICE}", 443), "ff02::1234"),
        way("multicast-wide-v6", udp("ff0e::1234", 443, device=DEVICE), "ff0e::1234"),
        way("broadcast", udp("255.255.255.255", 443), "255.255.255.255", "udp", 443),
        way("broadcast-of-the-link", udp("10.10.1.255", 443), "10.10.1.255"),
        way("dhcp-from-an-ordinary-port", udp("255.255.255.255", 67), "255.255.255.255", "udp", 67),
        way("dhcpv6-from-an-ordinary-port", udp(f"ff02::1:2%{DEVICE}", 547), "ff02::1:2"),
    ]


USER_WAYS = (*_options_and_groups(), *_dns(), *_addresses())
