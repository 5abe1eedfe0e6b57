"""Ends the flows that nothing justifies any more, once their addresses stand in the revoked sets.

    flows to the addresses ─ those that began here ─ that nothing else opens ─ count as established no longer
                                                                              ─ their sockets are ended

The chain has stopped them before this begins, since what is established counts for nothing towards a
revoked address. This makes it last, when the address is earned again or leaves the sets, and lets the
programs know. Best effort; in a thread. Flows that others began (an SSH session from there) are none of ours.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable
from itertools import islice
from typing import NamedTuple

from dynallow.firewall import conntrack, sock_destroy
from dynallow.firewall.build import JUDGED_MARK
from dynallow.firewall.flows import TCP, UDP, Flow
from dynallow.firewall.justified import Openings, is_justified
from dynallow.firewall.probe import Features
from dynallow.firewall.sock_destroy import Ends, Held

log = logging.getLogger(__name__)

_AT_ONCE = 50_000
"""Flows that are held at a time: some 25 MiB; sockets are read anew for each lot."""


class Cut(NamedTuple):
    """What became of the flows to some addresses."""

    flows: int = 0
    """Those that may not go on."""
    sockets: int = 0
    """How many of their sockets were ended."""
    whole: bool = False
    """Every one of them was found, and counts for nothing."""


def cut(opened: Openings, own: Container[bytes], features: Features) -> Cut:
    """End the flows from here to the keys of `opened`, but for those that its values let go on."""
    told = conntrack.flows_to(opened.keys(), filtered=features.conntrack_filter)
    flows = (flow for flow in told if flow.source in own and not _is_here(flow.address, own))
    done = Cut(whole=True)
    try:
        while some := list(islice(flows, _AT_ONCE)):
            cut = _cut({flow.tuple: flow for flow in some}.values(), opened, features)
            done = Cut(done.flows + cut.flows, done.sockets + cut.sockets, done.whole and cut.whole)
    except OSError as error:
        log.warning("flows cannot be read, they are stopped by the revoked sets alone: %s", error)
        done = done._replace(whole=False)
    return done


def _cut(flows: Iterable[Flow], opened: Openings, features: Features) -> Cut:
    """Those of some that have been found."""
    held = _sockets()
    condemned = [
        (flow, socket)
        for flow in flows
        for socket in (held.get(_ends(flow)),)
        if not is_justified(flow, opened[flow.address], socket)
    ]
    fresh = [flow for flow, _ in condemned if flow.mark != JUDGED_MARK]
    alive = sum(1 for flow in fresh if flow.alive)
    whole = True
    try:
        conntrack.disown(fresh)
    except OSError as error:
        log.warning("flows could not be marked, they are stopped by the revoked sets alone: %s", error)
        whole = False
    sockets = [socket for flow, socket in condemned if socket is not None and flow.protocol in (TCP, UDP)]
    return Cut(alive, _destroy(sockets) if features.sock_destroy else 0, whole)


def _is_here(address: bytes, own: Container[bytes]) -> bool:
    """What goes by the loopback interface, which is open: of 127.0.0.0/8 all, though one is listed."""
    return address in own or (len(address) == 4 and address[0] == 127)


def _sockets() -> dict[Ends, Held]:
    try:
        return sock_destroy.sockets()
    except OSError as error:
        log.warning("sockets cannot be read, programs are not told that their flows have ended: %s", error)
        return {}


def _destroy(sockets: list[Held]) -> int:
    try:
        return sock_destroy.destroy(sockets)
    except OSError as error:
        log.warning("sockets could not be ended, their programs find out by themselves: %s", error)
        return 0


def _ends(flow: Flow) -> Ends:
    return flow.protocol, flow.source, flow.source_port, flow.address, flow.port
