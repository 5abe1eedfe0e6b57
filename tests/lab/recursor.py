"""Debian's unbound: as the recursor that everybody asks, and as a plain forwarder to compare with.

Knows unbound's configuration. Must not know who asks. It validates nothing and
denies nothing: what it answers is what any resolver would have told the client.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

import dns.exception

from tests.lab.namespace import Namespace
from tests.lab.waiting import LabError, wait_until

_CONFIG = """\
server:
    interface: {address}
    access-control: 0.0.0.0/0 allow
    do-daemonize: no
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    logfile: ""
    num-threads: 1
    msg-cache-size: 32m
    rrset-cache-size: 32m
    module-config: "iterator"
    qname-minimisation: no
    minimal-responses: yes
    trust-anchor-signaling: no
    root-key-sentinel: no
remote-control:
    control-enable: no
"""


class Unbound:
    """unbound on port 53 of `address` in `place`; `zones` name the server of each zone.

    A `recursive` one asks them as authorities and follows what they leave
    unfinished; else they are resolvers, and it forwards.
    """

    def __init__(
        self, place: Namespace, address: str, zones: Mapping[str, str], *, recursive: bool = False
    ) -> None:
        self.place, self.address = place, address
        self._log = place.directory / f"unbound-{address}.log"
        config = place.directory / f"unbound-{address}.conf"
        kind = "stub" if recursive else "forward"
        config.write_text(
            _CONFIG.format(address=address)
            + "".join(
                f'{kind}-zone:\n    name: "{zone}"\n    {kind}-addr: {server}\n'
                for zone, server in zones.items()
            )
        )
        with self._log.open("w") as log:
            self.process = place.popen(
                ["unbound", "-d", "-c", str(config)], stdout=log, stderr=subprocess.STDOUT
            )

    def wait_ready(self, name: str) -> None:
        """Return once it answers for `name`."""
        wait_until(lambda: self._answers(name), "unbound answering")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def _answers(self, name: str) -> bool:
        if self.process.poll() is not None:
            raise LabError(f"unbound ended: {self._log.read_text()}")
        try:
            return bool(self.place.ask(name, "SOA", self.address, timeout=0.2).answer)
        except (dns.exception.DNSException, OSError):
            return False
