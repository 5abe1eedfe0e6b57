"""The lab's addresses and links.

Knows `ip` and sysctls. Must not know what runs in the namespaces.

    host ──eth0── to-host │ router │ to-internet ──eth0── internet
                 (the wire) │        │ to-elsewhere ──eth0── elsewhere

Everything that leaves the host crosses `to-host`; that is where the sniffer
sits. `internet` owns every address that has no other place (AnyIP: a local
default route), `elsewhere` the prefixes below.
"""

from __future__ import annotations

from tests.lab.namespace import Namespace

HOST = ("10.10.1.2", "fd00:10:1::2")
HOST_GATEWAY = ("10.10.1.1", "fd00:10:1::1")
INTERNET = ("10.10.0.2", "fd00:10::2")
INTERNET_GATEWAY = ("10.10.0.1", "fd00:10::1")
ELSEWHERE = ("10.20.0.2", "fd00:20::2")
ELSEWHERE_GATEWAY = ("10.20.0.1", "fd00:20::1")

NAME_SERVER = ("10.10.0.10", "fd00:10::10")  # the honest upstream
OTHER_NAME_SERVER = ("10.10.0.11", "fd00:10::11")  # just as honest, and not approved
SCRIPTED_SERVER = ("10.10.0.12", "fd00:10::12")  # where a scenario misbehaves
TIME_SERVER = ("10.10.0.20", "fd00:10::20")

FAR_PORT = 5300  # where the name server answers for all other addresses of the internet
NAME_SERVERS_NET = ("10.10.0.0/24", "fd00:10::/64")
ELSEWHERE_NETS = ("203.0.113.0/24", "2001:db8:e::/48")

WIRE = "to-host"  # the router's end of the host's link


def build(host: Namespace, router: Namespace, internet: Namespace, elsewhere: Namespace) -> None:
    """Wire the four together; every address is usable when this returns."""
    for namespace in (host, router, internet, elsewhere):
        _prepare(namespace)
    for namespace in (router, internet, elsewhere):
        # Error replies are evidence: none may be held back. The host keeps the kernel's defaults.
        namespace.sysctl(ipv4__icmp_ratemask=0, ipv6__icmp__ratelimit=0)
    router.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
    router.ip(
        "link set lo up",
        *(
            f"link add to-{place.name} type veth peer name eth0 netns {place.pid}"
            for place in (host, internet, elsewhere)
        ),
        *_addresses("to-host", HOST_GATEWAY),
        *_addresses("to-internet", INTERNET_GATEWAY),
        *_addresses("to-elsewhere", ELSEWHERE_GATEWAY),
        *(f"route add {net} via {gateway}" for net, gateway in zip(ELSEWHERE_NETS, ELSEWHERE, strict=True)),
        *(f"route add default via {gateway}" for gateway in INTERNET),
    )
    host.ip(
        "link set lo up", *_addresses("eth0", HOST), *(f"route add default via {g}" for g in HOST_GATEWAY)
    )
    _build_server_side(internet, INTERNET, INTERNET_GATEWAY, own=10)
    _build_server_side(elsewhere, ELSEWHERE, ELSEWHERE_GATEWAY, own=0)


def _prepare(namespace: Namespace) -> None:
    """Before any link exists, so that each one inherits it."""
    keys = {
        # Duplicate address detection would make IPv6 addresses wait for a second.
        "ipv6__conf__default__accept_dad": 0,
        "ipv6__conf__default__dad_transmits": 0,
        "ipv6__conf__default__accept_ra": 0,
        "ipv6__conf__all__disable_ipv6": 0,
        "ipv6__conf__default__disable_ipv6": 0,
        # Replies leave from whatever address was asked.
        "ipv4__conf__all__rp_filter": 0,
        "ipv4__conf__default__rp_filter": 0,
    }
    namespace.sysctl(**keys)


def _build_server_side(
    namespace: Namespace, addresses: tuple[str, str], gateways: tuple[str, str], own: int
) -> None:
    """`own` further addresses each from .10 and .20 on; beyond those, everything is local."""
    more = [
        f"addr add {prefix}{base + n}/{length} dev eth0" + (" nodad" if length == 64 else "")
        for base in (10, 20)
        for n in range(own)
        for prefix, length in (("10.10.0.", 24), ("fd00:10::", 64))
    ]
    v4, v6 = gateways
    namespace.sysctl(ipv4__ip_nonlocal_bind=1, ipv6__ip_nonlocal_bind=1)
    namespace.ip(
        "link set lo up",
        *_addresses("eth0", addresses),
        *more,
        *(f"route add {net} via {v4}" for net in ("10.10.0.0/16", "10.20.0.0/16")),
        *(f"route add {net} via {v6}" for net in ("fd00:10::/32", "fd00:20::/32")),
        "route add local default dev lo table main",
        "route add local ::/0 dev lo table main",
    )


def _addresses(link: str, addresses: tuple[str, str]) -> list[str]:
    v4, v6 = addresses
    return [f"link set {link} up", f"addr add {v4}/24 dev {link}", f"addr add {v6}/64 dev {link} nodad"]
