"""The sniffer on the wire, from the test's side.

Knows how to start sniffer_process.py and how to end it exactly. Invariant:
everything that left the host before `stop()` was called is in what `stop()`
returns, and a capture that lost a packet is an error, not a shorter list.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
from itertools import count
from pathlib import Path

from tests.lab import packets
from tests.lab.namespace import Namespace
from tests.lab.packets import MARKER_ETHERTYPE, Packet
from tests.lab.waiting import CaptureError, LabError

_numbers = count(1)


class Sniffer:
    """Captures on `link` of `router` until `stop`; `peer_link` of `peer` is its other end."""

    def __init__(self, router: Namespace, link: str, peer: Namespace, peer_link: str) -> None:
        self.path = Path(router.directory / f"capture-{next(_numbers)}.pcap")
        self._peer, self._peer_link = peer, peer_link
        self._nonce = secrets.token_bytes(16)
        self._cpus = sorted(os.sched_getaffinity(0))
        arguments = [link, str(self.path), self._nonce.hex(), str(len(self._cpus))]
        self._process = router.popen(
            [router.python_path, "-m", "tests.lab.sniffer_process", *arguments], stderr=subprocess.STDOUT
        )
        self._expect("ready\n")

    def stop(self) -> list[Packet]:
        """Every packet of both directions, up to now."""
        self._send_markers()
        stats = json.loads(self._read_line() or "{}")
        self.abandon()
        if stats.get("drops", 1):
            raise CaptureError(f"the capture is not whole: {stats}")
        return list(packets.read(self.path.read_bytes()))

    def from_host(self) -> list[Packet]:
        """`stop`, and of that what the host sent, without ARP, ND and MLD."""
        return [packet for packet in self.stop() if packet.from_host and not packet.is_housekeeping]

    def abandon(self) -> None:
        """End the capture without looking at it."""
        self._process.kill()
        self._process.wait(60)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _send_markers(self) -> None:
        """One marker from every CPU, from the host's end of the wire.

        A veth hands packets over through the sending CPU's own backlog, so
        that one marker proves nothing of what another CPU sent before it.
        """
        with self._peer.entered():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        frame = b"\xff" * 6 + bytes(6) + MARKER_ETHERTYPE.to_bytes(2, "big") + self._nonce + bytes(30)
        with sock:
            sock.bind((self._peer_link, 0))
            try:
                for cpu in self._cpus:
                    os.sched_setaffinity(0, {cpu})
                    sock.send(frame)
            finally:
                os.sched_setaffinity(0, self._cpus)

    def _expect(self, line: str) -> None:
        if (found := self._read_line()) != line:
            self._process.kill()
            rest = self._process.stdout.read() if self._process.stdout else ""
            raise LabError(f"sniffer: {found}{rest}")

    def _read_line(self) -> str:
        return self._process.stdout.readline() if self._process.stdout else ""
