"""Listening sockets that were opened before this process was: socket activation (sd_listen_fds(3)).

systemd keeps such a socket open from boot to shutdown, so port 53 takes no capability, and a question
that comes while no agent runs waits in it. Knows the protocol and which address a socket is bound to; must
not know what is served on it. Keeps: each socket is handed out once, to the setting that names its address;
children inherit neither sockets nor variables.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping
from ipaddress import ip_address

from dynallow.errors import DynallowError
from dynallow.units import Endpoint, Protocol

_FIRST = 3
_PID, _COUNT, _NAMES = "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"
_MOST = 1024
_UNITS = "the lines ListenDatagram= and ListenStream= of dynallow.socket say what it opens"
Place = tuple[Protocol, Endpoint]
_PROTOCOLS: Mapping[int, Protocol] = {socket.SOCK_DGRAM: "udp", socket.SOCK_STREAM: "tcp"}


class Inherited:
    """The sockets that a service manager has handed over, until they are taken."""

    def __init__(
        self, sockets: Mapping[tuple[Protocol, Endpoint], socket.socket], strange: list[str]
    ) -> None:
        self._sockets = dict(sockets)
        self._strange = strange

    def take(self, protocol: Protocol, endpoint: Endpoint) -> socket.socket | None:
        """The socket bound to `endpoint`, which is the caller's from now on; None if there is none."""
        return self._sockets.pop((protocol, endpoint), None)

    def close(self) -> list[str]:
        """Let go of what nobody took; says what that was."""
        left = [f"{protocol} {endpoint}" for protocol, endpoint in self._sockets]
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        left += self._strange
        self._strange = []
        return left


def inherit(environ: MutableMapping[str, str] = os.environ, first: int = _FIRST) -> Inherited:
    """Take over what LISTEN_FDS names, if it is meant for this process; forget the variables in any case.

    Raises DynallowError when they are no such thing, or a descriptor is not open.
    """
    pid, count, names = (environ.pop(key, "") for key in (_PID, _COUNT, _NAMES))
    if not count or pid != str(os.getpid()):
        return Inherited({}, [])
    if not (count.isascii() and count.isdigit() and int(count) <= _MOST):
        raise DynallowError(f"{_COUNT}: expected a number of sockets, got {count!r}", _UNITS)
    sockets: dict[Place, socket.socket] = {}
    strange: list[str] = []
    labels = names.split(":")
    for place in range(int(count)):
        label = labels[place] if place < len(labels) and labels[place] else f"descriptor {first + place}"
        try:
            os.set_inheritable(first + place, False)
            sock = socket.socket(fileno=first + place)
        except OSError as error:
            text = f"{label}, handed over by the service manager, is no socket: {error.strerror}"
            raise DynallowError(text, _UNITS) from error
        key = _place(sock)
        if key is None or key in sockets:
            strange.append(label)
            sock.close()
        else:
            sock.setblocking(False)
            sockets[key] = sock
    return Inherited(sockets, strange)


def _place(sock: socket.socket) -> Place | None:
    """What it serves; None for one that no setting can name."""
    protocol = _PROTOCOLS.get(sock.type)
    if protocol is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    if protocol == "tcp" and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return None
    address = ip_address(sock.getsockname()[0].partition("%")[0])
    endpoint = Endpoint(address, sock.getsockname()[1])
    both = sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    if both and address.is_unspecified:  # and that cannot be changed any more
        raise DynallowError(
            f"the inherited socket {protocol} {endpoint} takes IPv4 as well",
            "BindIPv6Only=ipv6-only in its socket unit: the settings name the families apart",
        )
    return protocol, endpoint
