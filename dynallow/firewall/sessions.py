"""Who is connected to this host before conntrack has ever looked: made known to it, and so stays connected.

Knows /proc/net/tcp and conntrack. A kernel without a rule that asks for it tracks no connection; when a table
does, a packet that the host sends first on an old connection passes for the first of a new one, and mode
"enforce" would reset it. Only connections that came in to a listening port count: that opens nothing which
the peer's next packet would not open by itself. What this host has begun is not touched.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from dynallow.errors import KernelError

_ESTABLISHED, _LISTEN = "01", "0A"  # include/net/tcp_states.h
_STATE_ESTABLISHED = 3  # TCP_CONNTRACK_ESTABLISHED
_BE_LIBERAL = 0x08  # nothing is known of the windows
_STATUS = 0x02 | 0x04 | 0x08  # IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED (else EBUSY)
_TIMEOUT_S = 432000  # the kernel's own for an established connection


class Session(NamedTuple):
    """A connection that a peer has opened to this host."""

    peer: str
    peer_port: int
    host: str
    host_port: int


def inbound_sessions(proc: Path = Path("/proc")) -> Iterator[Session]:
    """Each established TCP connection to a port that somebody listens on, loopback left out."""
    rows = [row for name in ("tcp", "tcp6") for row in _rows(proc / "net" / name)]
    listening = {port for _, port, _, _, state in rows if state == _LISTEN}
    for host, host_port, peer, peer_port, state in rows:
        if state == _ESTABLISHED and host_port in listening and not ip_address(peer).is_loopback:
            yield Session(peer, peer_port, host, host_port)


def keep_sessions(proc: Path = Path("/proc")) -> int:
    """Make conntrack know them; how many it did not know. Raises KernelError."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        return sum(map(_make_known, inbound_sessions(proc)))
    except NetlinkError as error:
        raise KernelError(f"conntrack did not take an open connection: {error}", errno=error.code) from error


def _make_known(session: Session) -> bool:
    from pyroute2 import Conntrack
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple

    family = socket.AF_INET6 if ":" in session.peer else socket.AF_INET
    there = NFCTAttrTuple(
        family, session.peer, session.host, socket.IPPROTO_TCP, session.peer_port, session.host_port
    )
    back = NFCTAttrTuple(
        family, session.host, session.peer, socket.IPPROTO_TCP, session.host_port, session.peer_port
    )
    flags = {"value": (_BE_LIBERAL, _BE_LIBERAL)}  # flags, mask
    tcp = [
        ["CTA_PROTOINFO_TCP_STATE", _STATE_ESTABLISHED],
        ["CTA_PROTOINFO_TCP_FLAGS_ORIGINAL", flags],
        ["CTA_PROTOINFO_TCP_FLAGS_REPLY", flags],
    ]
    with Conntrack(nfgen_family=family) as conntrack:
        try:
            conntrack.entry(
                "add",
                tuple_orig=there,
                tuple_reply=back,
                status=_STATUS,
                timeout=_TIMEOUT_S,
                protoinfo={"attrs": [["CTA_PROTOINFO_TCP", {"attrs": tcp}]]},
            )
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
            return False
    return True


def _rows(table: Path) -> Iterator[tuple[str, int, str, int, str]]:
    """(local address, port, remote address, port, state) of each socket."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        words = line.split()
        yield (*_endpoint(words[1]), *_endpoint(words[2]), words[3])


def _endpoint(text: str) -> tuple[str, int]:
    """The kernel prints an address as 32-bit words in the host's own byte order."""
    digits, _, port = text.partition(":")
    raw = bytes.fromhex(digits)
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    address = ip_address(raw)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address), int(port, 16)
