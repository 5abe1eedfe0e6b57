"""Special-purpose addresses (invariant 6): one of each range, its neighbours, and every embedding."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from dynallow.policy.special import is_acceptable, special_purpose


def packed(text: str) -> bytes:
    return ip_address(text).packed


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("0.0.0.0", "this network"),
        ("10.255.255.255", "private use"),
        ("100.64.0.0", "shared address space"),
        ("127.0.0.53", "loopback"),
        ("169.254.169.254", "link-local"),
        ("172.31.255.255", "private use"),
        ("192.0.0.8", "IETF protocol assignments"),
        ("192.0.0.170", "IETF protocol assignments"),
        ("192.88.99.1", "6to4 relay anycast"),
        ("192.168.0.1", "private use"),
        ("224.0.0.1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "limited broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::ffff:192.0.2.1", "IPv4-mapped"),
        ("::192.0.2.1", "IPv4-compatible"),
        ("64:ff9b::10.0.0.1", "private use, inside NAT64"),
        ("64:ff9b:1::1", "local-use NAT64"),
        ("100::1", "discard-only"),
        ("100:0:0:1::1", "dummy prefix"),
        ("2001:1::", "IETF protocol assignments"),
        ("2001:10::1", "IETF protocol assignments"),
        ("2002:7f00:1::", "loopback, inside 6to4"),
        # Teredo: the client's 10.0.0.1 is inverted to f5ff:fffe; the server's stands in clear.
        ("2001:0:c000:201::f5ff:fffe", "private use, inside Teredo"),
        ("2001:0:a00:1::3fff:fdfe", "private use, inside Teredo"),
        ("::ffff:0:10.0.0.1", "private use, inside IPv4-translated"),
        ("5f00::1", "segment routing SIDs"),
        ("fd00::1", "unique-local"),
        ("fe80::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
    ],
)
def test_special_purpose_range_is_named(address: str, name: str) -> None:
    assert special_purpose(packed(address)) == name


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.0.0.9",
        "192.0.0.10", "192.0.1.0", "192.31.196.1", "192.52.193.1", "192.175.48.1", "192.167.255.255",
        "192.169.0.0", "223.255.255.255", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
        "2001:1::1", "2001:1::2", "2001:1::3", "2001:2::1", "2001:3::1", "2001:4:112::1", "2001:20::1",
        "2001:30::1", "2001:200::1", "2001:db8::1", "3fff::1", "2606:4700::1", "2620:4f:8000::1",
        "64:ff9b::1.1.1.1", "64:ff9b::192.0.2.1", "2002:101:101::1", "2001:0:101:101::fefe:fefe", "fbff::1",
    ],
)  # fmt: skip
def test_special_purpose_reachable_or_documentation_address_is_left_alone(address: str) -> None:
    assert special_purpose(packed(address)) is None


def test_is_acceptable_private_prefix_opens_only_itself() -> None:
    private = (ip_network("10.0.0.0/8"),)
    assert is_acceptable(packed("10.1.2.3"), private, ())
    assert not is_acceptable(packed("192.168.0.1"), private, ())
    assert not is_acceptable(packed("10.1.2.3"), (), ())
    assert is_acceptable(packed("1.1.1.1"), (), ())


@pytest.mark.parametrize("form", ["64:ff9b::10.0.0.1", "::ffff:10.0.0.1", "::10.0.0.1", "2002:a00:1::"])
def test_is_acceptable_embedded_private_address_needs_the_ipv6_prefix_named(form: str) -> None:
    assert not is_acceptable(packed(form), (ip_network("10.0.0.0/8"),), ())
    assert is_acceptable(
        packed(form), (ip_network(f"{form}/96" if form != "2002:a00:1::" else "2002::/16", strict=False),), ()
    )


def test_is_acceptable_own_address_is_refused_in_every_form() -> None:
    own = {packed("198.51.100.7"), packed("2001:db8::7")}
    assert not is_acceptable(packed("198.51.100.7"), (), own)
    assert not is_acceptable(packed("2001:db8::7"), (), own)
    assert not is_acceptable(packed("64:ff9b::198.51.100.7"), (), own)
    assert not is_acceptable(packed("2002:c633:6407::1"), (), own)
    assert is_acceptable(packed("198.51.100.8"), (), own)
    assert is_acceptable(packed("198.51.100.7"), (ip_network("198.51.100.0/24"),), own)
