"""Reads the kernel's flows to some addresses, and takes from flows what they have for being established.

A flow that lost its lease is not deleted: the peer's next packet would make a new entry of it, begun by
the peer, and whoever answers what came in is let out. It gets a mark instead, by which `chain standing`
knows that it counts for nothing: each packet of it is judged as a new one's, for as long as it lives.

Best effort, and not for the loop's thread. Without conntrack in the kernel there is no flow to find.
Keeps: however many flows the kernel has, no more than one of its datagrams is held here.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from collections.abc import Collection, Iterator, Sequence

from dynallow.firewall.build import JUDGED_MARK
from dynallow.firewall.flows import Flow, flows_request, keys, mark_request, parse_flows

log = logging.getLogger(__name__)

_NETLINK_NETFILTER = 12
_RECEIVE = 65536
_RECEIVE_BUFFER = 4 << 20
_SO_RCVBUFFORCE = 33
_PATIENCE_S = 5.0
_TRIES = 3
_FEW = 4
"""Up to so many addresses each is asked for by itself, where the kernel can: 30 ms where there are 100,000
flows, of which reading all takes 270."""
_IN_ONE = 64  # marks in one datagram


def filters() -> bool:
    """Whether this kernel tells the flows to one IPv4 address alone (CTA_FILTER). Leaves nothing behind.

    A filter that means nothing is refused by a kernel that knows filters, and left aside by others.
    """
    try:
        with _open() as sock:
            body = struct.pack(">BBH", socket.AF_INET, 0, 0)
            body += struct.pack("=HHHHI", 12, 25 | 0x8000, 8, 1, 0xFFFFFFFF)
            sock.send(struct.pack("=IHHII", 16 + len(body), 0x101, 0x301, 1, 0) + body)
            part = parse_flows(sock.recv(_RECEIVE), frozenset(), 4)
            return part.done and part.errno in (errno.EINVAL, errno.EOPNOTSUPP)
    except OSError as error:
        log.debug("no filter of flows: %s", error)
        return False


def flows_to(addresses: Collection[bytes], *, filtered: bool) -> Iterator[Flow]:
    """Every flow whose first packet went to one of these packed addresses; `filtered`: see `filters`.

    As they are read; where others change the table meanwhile, one may be told twice. Raises OSError when the
    kernel does not tell them.
    """
    with _open() as sock:
        for size in (4, 16):
            wanted = [address for address in addresses if len(address) == size]
            if not wanted:
                continue
            # Of IPv6 the kernel (6.18) tells by its filter every flow but those wanted: it takes
            # ipv6_addr_cmp for a test of equality. To delete by such a filter would cut all the others.
            one_by_one = filtered and size == 4 and len(wanted) <= _FEW
            asked: Sequence[bytes | None] = wanted if one_by_one else [None]
            for one in asked:
                yield from _read(sock, keys(wanted if one is None else [one], size), size, one)


def disown(flows: Sequence[Flow]) -> int:
    """Let these count as established no longer; returns how many were there to be told so.

    Raises OSError when the kernel refuses.
    """
    count = 0
    with _open() as sock:
        for start in range(0, len(flows), _IN_ONE):
            some = flows[start : start + _IN_ONE]
            sock.send(mark_request(some, JUDGED_MARK, 1))
            answered = 0
            while answered < len(some):
                for number in _errors(sock.recv(_RECEIVE)):
                    answered += 1
                    if number == 0:
                        count += 1
                    elif number != errno.ENOENT:  # it ended by itself meanwhile
                        raise OSError(number, os.strerror(number))
    return count


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    try:
        sock.settimeout(_PATIENCE_S)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:  # in a user namespace: as much as there is
            pass
        sock.bind((0, 0))
    except BaseException:
        sock.close()
        raise
    return sock


def _read(sock: socket.socket, wanted: frozenset[bytes], size: int, one: bytes | None) -> Iterator[Flow]:
    """A dump, again while others change the table under it; what is found in any of them counts."""
    for sequence in range(1, _TRIES + 1):
        sock.send(flows_request(size, sequence, one))
        interrupted = False
        while True:
            part = parse_flows(sock.recv(_RECEIVE), wanted, size)
            yield from part.flows
            interrupted = interrupted or part.interrupted
            if part.errno:
                raise OSError(part.errno, os.strerror(part.errno))
            if part.done:
                break
        if not interrupted:
            break


def _errors(datagram: bytes) -> list[int]:
    """The errno of each acknowledgement."""
    found, offset = [], 0
    while offset + 20 <= len(datagram):
        length, kind = struct.unpack_from("=IH", datagram, offset)
        if length < 16:
            break
        if kind == 2:
            found.append(-struct.unpack_from("=i", datagram, offset + 16)[0])
        offset += (length + 3) & ~3
    return found
