"""Which addresses an answer may not carry unless a rule names their prefix (invariant 6).

Knows the two IANA special-purpose address registries (as of 2025-10) and the
IPv6 forms that carry an IPv4 address. Must not know names or rules.
Keeps: an address is ordinary only when no reading of it (its own, or any
IPv4 address that it embeds) falls into a range that is not globally
reachable. Attacker: DNS rebinding, an approved name that suddenly points at
the host's own services, at the LAN or at a cloud's metadata address.

Documentation and benchmarking ranges are left alone: nothing answers there,
and tests and labs live in them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

# Globally Reachable "True" inside a range that is not; looked at first.
_REACHABLE = (
    "192.0.0.9/32",  # Port Control Protocol anycast, RFC 7723
    "192.0.0.10/32",  # TURN anycast, RFC 8155
    "2001:1::1/128",  # Port Control Protocol anycast, RFC 7723
    "2001:1::2/128",  # TURN anycast, RFC 8155
    "2001:1::3/128",  # DNS-SD service registration anycast, RFC 9665
    "2001:3::/32",  # AMT, RFC 7450
    "2001:4:112::/48",  # AS112-v6, RFC 7535
    "2001:20::/28",  # ORCHIDv2, RFC 7343
    "2001:30::/28",  # drone remote identification, RFC 9374
    "2001:2::/48",  # benchmarking, RFC 5180: left alone (see above)
)
# The more specific before the wider, so that the name is the fitting one. Ranges whose
# reachability is "N/A" (deprecated relays, tunnels) count by what they embed or are refused.
_SPECIAL = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private use"),
    ("100.64.0.0/10", "shared address space"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private use"),
    ("192.0.0.0/24", "IETF protocol assignments"),
    ("192.88.99.0/24", "6to4 relay anycast"),  # deprecated, RFC 7526; .2 is 6a44's, RFC 6751
    ("192.168.0.0/16", "private use"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "limited broadcast"),
    ("240.0.0.0/4", "reserved"),
    ("::1/128", "loopback"),
    ("::/128", "unspecified"),
    ("::ffff:0:0/96", "IPv4-mapped"),
    ("::/96", "IPv4-compatible"),  # deprecated, RFC 4291 section 2.5.5.1
    ("64:ff9b:1::/48", "local-use NAT64"),  # RFC 8215
    ("100::/64", "discard-only"),  # RFC 6666
    ("100:0:0:1::/64", "dummy prefix"),  # RFC 9780
    ("2001::/23", "IETF protocol assignments"),  # Teredo, inside, is read before this
    ("5f00::/16", "segment routing SIDs"),  # RFC 9602
    ("fc00::/7", "unique-local"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),  # deprecated, RFC 3879, yet still routed at some sites
    ("ff00::/8", "multicast"),
)

_Range = tuple[int, int, str]  # mask, network, name


def _ranges(version: int, texts: tuple[tuple[str, str], ...]) -> tuple[_Range, ...]:
    networks = [(ip_network(text), name) for text, name in texts]
    return tuple(
        (int(network.netmask), int(network.network_address), name)
        for network, name in networks
        if network.version == version
    )


def _by_first_byte(version: int) -> tuple[tuple[_Range, ...], ...]:
    """For each first byte of an address the ranges to try, the reachable ones (no name) before the others."""
    ranges = _ranges(version, tuple((text, "") for text in _REACHABLE)) + _ranges(version, _SPECIAL)
    shift = 24 if version == 4 else 120
    found: list[list[_Range]] = [[] for _ in range(256)]
    for one in ranges:
        mask, network, _ = one
        for byte in range(network >> shift, (network >> shift) + 256 - (mask >> shift)):
            found[byte].append(one)
    return tuple(map(tuple, found))


_FOURS = _by_first_byte(4)
# First byte → the second bytes behind which something special may lie.
_ODD_FOURS = tuple(
    frozenset(
        second
        for second in (range(256) if ranges else ())  # most have none, and this is done at each start
        if any(second & mask >> 16 & 255 == network >> 16 & 255 for mask, network, _ in ranges)
    )
    for ranges in _FOURS
)
_SIXES = _by_first_byte(6)
_TEREDO = bytes.fromhex("20010000")
_ONLY_CARRIERS = (_TEREDO, b"\x20\x02")  # no more special than what they carry


def is_ordinary(packed: bytes) -> bool:
    """Whether the first bytes alone show an address to be neither special-purpose nor carrying another one.

    True for nearly all that answers hold, and asked for each address of each fresh answer.
    """
    first = packed[0]
    if len(packed) == 4:
        return packed[1] not in _ODD_FOURS[first]
    # Inside global unicast, 2000::/3, only 2001::/23 and 2002::/16 are anything else.
    if first == 0x20:
        return packed[1] > 2 or packed[1] == 0 or (packed[1] == 1 and packed[2] > 1)
    return 0x20 < first < 0x40


def all_ordinary(addresses: Iterable[bytes]) -> bool:
    """The same of all of them, in one step."""
    for packed in addresses:
        if packed[1] in _ODD_FOURS[packed[0]] if len(packed) == 4 else not is_ordinary(packed):
            return False
    return True


def special_purpose(packed: bytes) -> str | None:
    """The name of the special-purpose range that `packed` (4 or 16 bytes) lies in, or None."""
    if is_ordinary(packed):
        return None
    if len(packed) == 4:
        ranges = _FOURS[packed[0]]
    else:
        for form, inner in embedded(packed):
            if not is_ordinary(inner) and (name := special_purpose(inner)):
                return f"{name}, inside {form}"
        if packed.startswith(_ONLY_CARRIERS):
            return None
        ranges = _SIXES[packed[0]]
    address = int.from_bytes(packed, "big")
    for mask, network, name in ranges:
        if address & mask == network:
            return name or None
    return None


def embedded(packed: bytes) -> tuple[tuple[str, bytes], ...]:
    """The IPv4 addresses that an IPv6 address carries, each with the name of the form.

    Mapped and compatible addresses are special as a whole and need no reading here, except that
    the host's own IPv4 address must be found in them too.
    """
    if len(packed) != 16:
        return ()
    if packed.startswith(b"\x20"):
        if packed[1] == 2:
            return (("6to4", packed[2:6]),)
        if packed.startswith(_TEREDO):
            # RFC 4380 section 4: server in clear, client inverted against NATs that rewrite payloads.
            inverted = int.from_bytes(packed[12:], "big") ^ 0xFFFFFFFF
            return (("Teredo", packed[4:8]), ("Teredo", inverted.to_bytes(4, "big")))
    form = _BEFORE_IPV4.get(packed[:12])
    if form is None or (form == _COMPATIBLE and packed[12:] <= b"\0\0\0\1"):
        return ()
    return ((form, packed[12:]),)


_COMPATIBLE = "IPv4-compatible"
_BEFORE_IPV4 = {
    bytes.fromhex("0064ff9b0000000000000000"): "NAT64",  # RFC 6052
    bytes.fromhex("0000000000000000ffff0000"): "IPv4-translated",  # RFC 2765, never withdrawn from stacks
    bytes.fromhex("00000000000000000000ffff"): "IPv4-mapped",
    bytes(12): _COMPATIBLE,
}


def is_acceptable(packed: bytes, private: tuple[Network, ...], own: Container[bytes]) -> bool:
    """Whether an answer for a rule with these `private` prefixes may carry the address.

    `own`: the host's addresses, packed. A private IPv4 prefix does not open the IPv6 forms that
    embed it: traffic to those leaves by another road (a NAT64 gateway, a tunnel), so the
    embedding IPv6 prefix must itself be named.
    """
    if packed not in own and (is_ordinary(packed) or _is_harmless(packed, own)):
        return True
    if not private:
        return False
    address = ip_address(packed)
    return any(network.version == address.version and address in network for network in private)


def _is_harmless(packed: bytes, own: Container[bytes]) -> bool:
    if special_purpose(packed) is not None:
        return False
    return len(packed) == 4 or all([inner not in own for _, inner in embedded(packed)])
