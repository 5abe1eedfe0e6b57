"""The process that captures: `python -m tests.lab.sniffer_process LINK FILE NONCE MARKERS`.

Knows one packet socket. Writes a pcap file; ends when it has seen MARKERS
packets that carry NONCE, and then says on stdout how many packets it took
and how many the kernel dropped.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time

from tests.lab.packets import COOKED, MARKER_ETHERTYPE, PCAP_HEADER, RECORD

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_RCVBUFFORCE = 33
_BUFFER = 64 << 20
_SNAP = 2048


def open_socket(link: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    except PermissionError:  # in a user namespace: as much as the machine allows
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    sock.bind((link, _ETH_P_ALL))
    return sock


def main() -> None:
    link, path, nonce, markers = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]), int(sys.argv[4])
    sock = open_socket(link)
    taken = 0
    with open(path, "wb") as file:
        file.write(PCAP_HEADER)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while markers:
            data, (_, ethertype, kind, hardware, sender) = sock.recvfrom(65535)
            if ethertype == MARKER_ETHERTYPE:
                markers -= data.startswith(nonce)
                continue
            now = time.time()
            kept = data[:_SNAP]
            file.write(
                RECORD.pack(int(now), int(now % 1 * 1e6), COOKED.size + len(kept), COOKED.size + len(data))
            )
            file.write(COOKED.pack(kind, hardware, len(sender), sender.ljust(8, b"\0"), ethertype) + kept)
            taken += 1
    _, drops = struct.unpack("II", sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
    sys.stdout.write(json.dumps({"packets": taken, "drops": drops}) + "\n")


if __name__ == "__main__":
    main()
