"""A real authoritative name server: Debian's knotd.

Knows knot's configuration. Chosen over nsd for being quick with large zones
and for serving any zone text from one directory without a control key.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence

import dns.exception

from tests.lab.namespace import Namespace
from tests.lab.topology import FAR_PORT
from tests.lab.waiting import LabError, wait_until
from tests.lab.zone import Zone


class KnotServer:
    """knotd in `place`, serving `zones` on port 53 of `addresses`."""

    def __init__(
        self, place: Namespace, zones: Sequence[Zone], addresses: Sequence[str], *, cookies: bool = False
    ) -> None:
        """With `cookies`, BADCOOKIE for every question over UDP that has no good one (RFC 7873)."""
        self._cookies = cookies
        self.addresses = tuple(addresses)
        self._place = place
        self._zones = tuple(zones)
        self.directory = place.directory / f"knot-{addresses[0]}"
        self.directory.mkdir()
        for zone in zones:
            (self.directory / f"{zone.origin}.zone").write_text(zone.text())
        config = self.directory / "knot.conf"
        config.write_text(self._config())
        self._log = (self.directory / "log").open("w")
        self.process = place.popen(["knotd", "-c", str(config)], stdout=self._log, stderr=subprocess.STDOUT)

    def wait_ready(self) -> None:
        """Return once the last zone is being served."""
        origin = self._zones[-1].origin
        wait_until(lambda: self._answers(origin), f"knotd serving {origin}", within_s=60)

    def update(self, zone: Zone) -> None:
        """Serve `zone` in place of the one with its origin."""
        self._zones = (*(old for old in self._zones if old.origin != zone.origin), zone)
        (self.directory / f"{zone.origin}.zone").write_text(zone.text())
        self.stop()
        self.process = self._place.popen(
            ["knotd", "-c", str(self.directory / "knot.conf")], stdout=subprocess.DEVNULL
        )
        self.wait_ready()

    def pause(self) -> None:
        """Be silent, as an upstream that has gone away; `resume` ends it."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def _answers(self, origin: str) -> bool:
        if self.process.poll() is not None:
            raise LabError(f"knotd ended: {(self.directory / 'log').read_text()}")
        try:
            return bool(self._place.ask(origin, "SOA", self.addresses[0], timeout=0.3).answer)
        except (dns.exception.DNSException, OSError):
            return False

    def _config(self) -> str:
        listen = ", ".join(f"{address}@{port}" for address in self.addresses for port in (53, FAR_PORT))
        zones = "".join(f"  - domain: {zone.origin}\n" for zone in self._zones)
        module = "mod-cookies:\n  - id: strict\n    badcookie-slip: 1\n" if self._cookies else ""
        loaded = "    global-module: mod-cookies/strict\n" if self._cookies else ""
        return (
            f"{module}server:\n    rundir: {self.directory}\n    listen: [{listen}]\n    tcp-workers: 1\n"
            "    udp-workers: 1\n    background-workers: 1\n"
            f"log:\n  - target: stderr\n    any: warning\n"
            f"database:\n    storage: {self.directory}/db\n    journal-db-max-size: 1M\n"
            f'template:\n  - id: default\n    storage: {self.directory}\n    file: "%s.zone"\n'
            f"    journal-content: none\n    zonefile-sync: -1\n{loaded}"
            f"zone:\n{zones}"
        )
