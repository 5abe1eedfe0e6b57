"""Addresses that are open for another reason than a lease: to block them would cut that too. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable
from ipaddress import ip_address

from dynallow.settings import Settings
from dynallow.units import Endpoint


def is_spared(
    packed: bytes, own: Container[bytes], upstreams: Iterable[Endpoint], settings: Settings
) -> bool:
    """Whether the host itself, an upstream server or a destination has this address."""
    address = ip_address(packed)
    return (
        address.is_loopback
        or packed in own
        or any(endpoint.address == address for endpoint in upstreams)
        or any(
            address in network
            for destination in settings.destinations
            for network in destination.addresses
            if network.version == address.version
        )
    )
