"""Invariant 6: an address is ordinary exactly when no reading of it is special-purpose.

The table here is written from the registries a second time, as plain networks, and read with
`ipaddress`; it shares no code with the policy's.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from dynallow.policy.special import embedded, is_ordinary, special_purpose

NOT_REACHABLE = [
    ip_network(text)
    for text in [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",
        "::ffff:0:0/96",
        "64:ff9b:1::/48",
        "100::/64",
        "100:0:0:1::/64",
        "2001::/23",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    ]
]
REACHABLE = [
    ip_network(text)
    for text in [
        "192.0.0.9",
        "192.0.0.10",
        "2001:1::1",
        "2001:1::2",
        "2001:1::3",
        "2001:3::/32",
        "2001:4:112::/48",
        "2001:20::/28",
        "2001:30::/28",
        "2001:2::/48",
        "2001::/32",
    ]
]


def plain(address: IPv4Address | IPv6Address) -> bool:
    if any(address in network for network in REACHABLE if network.version == address.version):
        return True
    return not any(address in network for network in NOT_REACHABLE if network.version == address.version)


def readings(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    found: list[IPv4Address | IPv6Address] = [address]
    if isinstance(address, IPv6Address):
        if address.sixtofour:
            found.append(address.sixtofour)
        if address.teredo:
            found.extend(address.teredo)
        for prefix in ("64:ff9b::/96", "::ffff:0:0:0/96"):
            if address in IPv6Network(prefix):
                found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def corners() -> list[bytes]:
    """First and last address of each range and the ones just outside."""
    found = []
    for network in NOT_REACHABLE + REACHABLE:
        size = 4 if network.version == 4 else 16
        ends = int(network.network_address), int(network.broadcast_address)
        for number in (ends[0] - 1, ends[0], ends[1], ends[1] + 1):
            if 0 <= number < 2 ** (8 * size):
                found.append(number.to_bytes(size, "big"))
    return found


ipv4 = st.binary(min_size=4, max_size=4) | st.sampled_from(
    [corner for corner in corners() if len(corner) == 4]
)
filler = st.binary(min_size=16, max_size=16)
embeddings = st.builds(lambda inner: IPv6Address("64:ff9b::").packed[:12] + inner, ipv4)
embeddings |= st.builds(lambda inner: IPv6Address("::ffff:0:0:0").packed[:12] + inner, ipv4)
embeddings |= st.builds(lambda inner, rest: b"\x20\x02" + inner + rest[6:], ipv4, filler)
embeddings |= st.builds(
    lambda server, client, rest: b"\x20\x01\0\0" + server + rest[8:12] + bytes(byte ^ 255 for byte in client),
    ipv4,
    ipv4,
    filler,
)


def check(packed: bytes) -> None:
    address = ip_address(packed)
    assert (special_purpose(packed) is None) == all(map(plain, readings(address))), address
    if is_ordinary(packed):
        assert special_purpose(packed) is None, address
        assert not embedded(packed), address


def test_special_purpose_corner_of_every_range_agrees_with_the_table() -> None:
    for packed in corners():
        check(packed)


@settings(max_examples=300, deadline=None)
@given(ipv4 | filler | embeddings)
def test_special_purpose_random_and_embedding_addresses_agree_with_the_table(packed: bytes) -> None:
    check(packed)


def test_is_ordinary_says_so_of_every_block_that_holds_nothing_special() -> None:
    """All starts of 16 bits: it is not just always False."""
    fours = [network for network in NOT_REACHABLE if network.version == 4]
    special: set[int] = set()
    for network in fours:
        special.update(range(int(network[0]) >> 16, (int(network[-1]) >> 16) + 1))
    for start in range(0x10000):
        assert is_ordinary(start.to_bytes(2, "big") + b"\2\3") == (start not in special), hex(start)
    for start in range(0x2000, 0x4000):
        assert is_ordinary(start.to_bytes(2, "big") + b"\x0d" + bytes(13)) == (start != 0x2002), hex(start)
