"""Keeps a loopback listener to the loopback device: a neighbour on the wire does not reach it.

The kernel drops what comes from the wire for 127.0.0.0/8, but not with
`route_localnet`, which containers and load balancers set; and the chain, which
looks at what leaves, would let the reply out. Packets that `firewall.dns =
"redirect"` has turned to this host arrive on the loopback device as well.

Setting it takes no capability on a socket that has none yet (Linux 5.7 and
later, tried on 6.18 as an ordinary user); before that CAP_NET_RAW.
"""

from __future__ import annotations

import logging
import socket

from dynallow.units import Address

log = logging.getLogger(__name__)

_DEVICE = b"lo"
_NAME_MAX = 16


def keep_to_loopback(sock: socket.socket, address: Address) -> None:
    """Have `sock`, bound to `address` or about to be, hear the loopback device alone, if it is one of those.

    Not ::1: the kernel drops that from the wire whatever is set, and in IPv6 a
    socket kept to a device answers by the routes of that device alone, so that
    redirected questions, which come from the host's other addresses, got none.
    """
    if address.version == 6 or not address.is_loopback:
        return
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _NAME_MAX).rstrip(b"\0") == _DEVICE:
        return  # inherited so; to set it a second time would take CAP_NET_RAW
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _DEVICE)
    except OSError as error:
        log.warning(
            "%s listens on every device (%s): with route_localnet set, neighbours can ask it",
            address,
            error.strerror,
        )
