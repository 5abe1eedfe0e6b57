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


class UnboundProcess:
    """`unbound -d` in `place` with a configuration; `address` is one that it answers at."""

    def __init__(self, place: Namespace, address: str, name: str, config: str) -> None:
        self.place, self.address = place, address
        directory = place.directory / f"{name}-{address}"
        directory.mkdir(exist_ok=True)
        self.log = directory / "log"
        file = directory / "unbound.conf"
        file.write_text(config)
        with self.log.open("w") as log:
            self.process = place.popen(
                ["unbound", "-d", "-c", str(file)], stdout=log, stderr=subprocess.STDOUT
            )

    def wait_ready(self, name: str) -> None:
        """Return once it answers for `name`, which has an address or a SOA."""
        wait_until(lambda: self._answers(name), f"unbound at {self.address}")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def _answers(self, name: str) -> bool:
        if self.process.poll() is not None:
            raise LabError(f"unbound ended: {self.log.read_text()}")
        try:
            kinds = ("SOA", "A")
            return any(self.place.ask(name, kind, self.address, timeout=0.5).answer for kind in kinds)
        except (OSError, dns.exception.DNSException):  # nobody listens yet
            return False


def spare_from_echo(place: Namespace, address: str) -> None:
    """The web servers' ruleset turns other ports to their echo; not for this address."""
    family = "ip6" if ":" in address else "ip"
    rule = ["insert", "rule", "inet", "lab", "pre", family, "daddr", address, "accept"]
    place.run(["nft", *rule], check=False)


class UnboundServer(UnboundProcess):
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
            f'  directory: "{place.directory}"',
            '  local-zone: "." typetransparent\n  local-data: ". 300 IN NS ns1.example.org."',
            *(f'stub-zone:\n  name: "{zone}"\n  stub-addr: {behind}\n  stub-prime: no' for zone in zones),
            "remote-control:\n  control-enable: no",
        ]
        for address in addresses:
            spare_from_echo(place, address)
        super().__init__(place, addresses[0], "unbound", "\n".join(lines) + "\n")
