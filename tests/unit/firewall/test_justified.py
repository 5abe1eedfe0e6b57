"""What lets a flow go on when a lease of its address was taken away: ports, protocols, users, a mark."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from dynallow.firewall.build import AGENT_MARK, Way
from dynallow.firewall.flows import Flow
from dynallow.firewall.justified import is_justified, openings
from dynallow.firewall.sock_destroy import Held
from dynallow.lease.grant import Grant, Limits
from dynallow.lease.ledger import Ledger
from dynallow.settings import Settings
from dynallow.units import parse_endpoint

ONE = ip_address("192.0.2.1").packed
SETTINGS = Settings.model_validate(
    {
        "rule": [
            {"name": "web", "names": ["a.example.org"], "ports": ["tcp/443"]},
            {"name": "own", "names": ["a.example.org"], "ports": ["udp/1000-1010"], "users": [33]},
            {"name": "gone", "names": ["b.example.org"], "ports": ["tcp/80"]},
        ],
        "destination": [{"name": "ntp", "addresses": ["192.0.2.0/24"], "ports": ["udp/123"]}],
    }
)
WAYS: tuple[Way, ...] = ((parse_endpoint("192.0.2.1:8443"), "tcp"),)


def held(uid: int = 0, mark: int = 0) -> Held:
    return Held(uid, mark, b"")


@pytest.mark.parametrize(
    ("protocol", "port", "socket", "justified"),
    [
        (6, 443, None, True),
        (17, 443, None, False),
        (6, 80, None, False),  # no lease of that rule
        (17, 123, None, True),
        (17, 1005, held(33), True),
        (17, 1005, held(0), False),
        (17, 1005, None, False),
        (17, 1011, held(33), False),
        (6, 8443, held(0, AGENT_MARK), True),
        (6, 8443, held(0), False),
        (6, 8443, None, True),
        (1, 0, None, False),
    ],
)
def test_flow_goes_on_by_what_opens_its_own_port_to_its_own_user(
    protocol: int, port: int, socket: Held | None, justified: bool
) -> None:
    ledger = Ledger(Limits(), ["web", "own", "gone"])
    ledger.commit(ledger.plan([Grant(rule, (ONE,), 300, b"\1a\0") for rule in ("web", "own")], 0.0)[0])
    opened = openings([ONE], SETTINGS, WAYS, ledger, 1.0)
    flow = Flow(protocol, bytes(4), 40000, ONE, port, 0, True, b"")
    assert is_justified(flow, opened[ONE], socket) is justified


def test_lease_that_has_lapsed_opens_nothing() -> None:
    ledger = Ledger(Limits(), ["web"])
    ledger.commit(ledger.plan([Grant("web", (ONE,), 0, b"\1a\0")], 0.0)[0])
    flow = Flow(6, bytes(4), 40000, ONE, 443, 0, True, b"")
    assert not is_justified(flow, openings([ONE], SETTINGS, (), ledger, 1000.0)[ONE], None)
