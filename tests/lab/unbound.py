"""A real resolver that also speaks DNS over TLS and HTTPS: Debian's unbound.

Knows unbound's configuration. Asks the lab's knotd for what it is asked, so that
what comes back is a real resolver's answer.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import dns.exception

from tests.lab.certificates import Certificate
from tests.lab.namespace import Namespace
from tests.lab.waiting import LabError, wait_until

HTTPS_PORT = 8443  # 443 is the web server's


class UnboundServer:
    """unbound in `place` on `addresses`: 53 (UDP and TCP), 853 (TLS) and 8443 (HTTPS, /dns-query)."""

    def __init__(
        self,
        place: Namespace,
        addresses: Sequence[str],
        zones: Sequence[str],
        behind: str,
        shown: Certificate,
    ) -> None:
        self.addresses = tuple(addresses)
        self._place = place
        directory = place.directory / f"unbound-{addresses[0]}"
        directory.mkdir()
        config = directory / "unbound.conf"
        listen = [f"{address}@{port}" for address in addresses for port in (53, 853, HTTPS_PORT)]
        lines = [
            "server:",
            *(f"  interface: {each}" for each in listen),
            "  access-control: 0.0.0.0/0 allow",
            "  access-control: ::/0 allow",
            f"  https-port: {HTTPS_PORT}",
            f'  tls-service-pem: "{shown.chain}"',
            f'  tls-service-key: "{shown.key}"',
            '  chroot: ""\n  username: ""\n  pidfile: ""\n  logfile: ""\n  use-syslog: no',
            '  do-daemonize: no\n  module-config: "iterator"\n  num-threads: 1',
            "  do-not-query-localhost: no\n  incoming-num-tcp: 100\n  outgoing-range: 512",
            f'  directory: "{directory}"',
            '  local-zone: "." typetransparent\n  local-data: ". 300 IN NS ns1.example.org."',
            *(f'stub-zone:\n  name: "{zone}"\n  stub-addr: {behind}\n  stub-prime: no' for zone in zones),
            "remote-control:\n  control-enable: no",
        ]
        config.write_text("\n".join(lines) + "\n")
        # The web servers' ruleset turns other ports to their echo; not here.
        for address in addresses:
            family = "ip6" if ":" in address else "ip"
            place.run(
                ["nft", "insert", "rule", "inet", "lab", "pre", family, "daddr", address, "accept"],
                check=False,
            )
        self._log = (directory / "log").open("w+")
        self.process = place.popen(
            ["unbound", "-d", "-c", str(config)], stdout=self._log, stderr=subprocess.STDOUT
        )
        self._zone = zones[0]

    def wait_ready(self) -> None:
        """Return once it answers for its first zone."""
        wait_until(self._answers, "unbound")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self._log.close()

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            self._log.seek(0)
            raise LabError(f"unbound ended: {self._log.read()}")
        try:
            return bool(self._place.ask(self._zone, "SOA", self.addresses[0], timeout=0.5).answer)
        except (OSError, dns.exception.DNSException):  # nobody listens yet
            return False
