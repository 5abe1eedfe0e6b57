"""Every listening socket of the settings, over UDP and TCP: inherited where one is bound there, else opened.

Knows who listens; must not know what is answered. Keeps: all of them or none, and before anything else
is done, so that an agent which cannot have its ports has touched nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from dynallow.errors import DynallowError
from dynallow.resolver.attendant import Attendant
from dynallow.resolver.inherited import Inherited
from dynallow.resolver.options import HopOptions
from dynallow.resolver.road import Road
from dynallow.resolver.tcp import TcpClients, TcpListener
from dynallow.resolver.udp import UdpListener
from dynallow.resolver.witness import NoWitness, Witness
from dynallow.units import Endpoint

Listener = UdpListener | TcpListener


def open_listeners(
    endpoints: Iterable[Endpoint],
    road: Road,
    attendant: Attendant,
    inherited: Inherited,
    witness: Witness | None = None,
) -> list[Listener]:
    """Not answering yet. Raises DynallowError where an address cannot be had, and then holds none."""
    options = HopOptions()
    witness = witness or NoWitness()
    clients = TcpClients(road, options, attend=attendant.attend, witness=witness)
    opened: list[Listener] = []
    try:
        for endpoint in endpoints:
            udp = inherited.take("udp", endpoint)
            opened.append(UdpListener(endpoint, road, options, attendant, udp, witness))
            opened.append(TcpListener(endpoint, clients, inherited.take("tcp", endpoint)))
    except OSError as error:
        for listener in opened:
            listener.close()
        hint = "`dynallow doctor` shows who holds the port"
        if error.errno == errno.EACCES:
            hint = "run as root, with CAP_NET_BIND_SERVICE, or have systemd open it (dynallow.socket)"
        raise DynallowError(f"cannot listen: {error.strerror or error}", hint) from error
    return opened
