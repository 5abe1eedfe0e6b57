"""Debian's unbound: as the recursor that everybody asks, and as a plain forwarder to compare with.

Knows unbound's configuration. Must not know who asks. It validates nothing and
denies nothing: what it answers is what any resolver would have told the client.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.lab.namespace import Namespace
from tests.lab.unbound import UnboundProcess

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


class Unbound(UnboundProcess):
    """unbound on port 53 of `address` in `place`; `zones` name the server of each zone.

    A `recursive` one asks them as authorities and follows what they leave
    unfinished; else they are resolvers, and it forwards.
    """

    def __init__(
        self, place: Namespace, address: str, zones: Mapping[str, str], *, recursive: bool = False
    ) -> None:
        kind = "stub" if recursive else "forward"
        known = "".join(
            f'{kind}-zone:\n    name: "{zone}"\n    {kind}-addr: {server}\n' for zone, server in zones.items()
        )
        super().__init__(place, address, "unbound", _CONFIG.format(address=address) + known)
