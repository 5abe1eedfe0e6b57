"""Web servers and an echo on every port, and the authority that signs their certificates.

Knows openssl and nft in the servers' namespaces; the answering itself is in
web_process.py. Invariant: a connection to any address on any TCP port, and a
datagram to any UDP port but DNS, gets an answer, so that a test which sees
none knows who stopped it.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.lab.namespace import Namespace
from tests.lab.needs import PATH
from tests.lab.topology import FAR_PORT, NAME_SERVER, NAME_SERVERS_NET
from tests.lab.waiting import LabError

_NAMES = [
    *(f"{star}example.{tld}" for tld in ("org", "net", "com") for star in ("", "*.", "*.fresh.", "*.corp.")),
    "*.debian.org",
    "localhost",
]
_NEAR_V4, _NEAR_V6 = NAME_SERVERS_NET
# notrack: at 10,000 fresh names a second the flows of the name servers would
# fill the machine's connection table, and that is not what is being tested.
_ANYTHING = f"""
table inet lab {{
  chain raw_in {{ type filter hook prerouting priority raw;
    ip daddr {_NEAR_V4} th dport 53 notrack
    ip6 daddr {_NEAR_V6} th dport 53 notrack
  }}
  chain raw_out {{ type filter hook output priority raw;
    ip saddr {_NEAR_V4} th sport 53 notrack
    ip6 saddr {_NEAR_V6} th sport 53 notrack
  }}
  chain pre {{ type nat hook prerouting priority dstnat;
    ip daddr != {_NEAR_V4} meta l4proto {{ tcp, udp }} th dport 53 dnat ip to {NAME_SERVER[0]}:{FAR_PORT}
    ip6 daddr != {_NEAR_V6} meta l4proto {{ tcp, udp }} th dport 53 dnat ip6 to [{NAME_SERVER[1]}]:{FAR_PORT}
    tcp dport != {{ 53, 80, 443 }} redirect to :7
    udp dport != 53 redirect to :7
  }}
}}
"""


class Authority:
    """A certificate authority of the lab's own, and one certificate for all its servers."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.certificate = directory / "ca.pem"
        self.server_certificate = directory / "server.pem"
        self.server_key = directory / "server.key"
        names = ",".join(f"DNS:{name}" for name in _NAMES)
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
        ca = ["-keyout", str(directory / "ca.key"), "-out", str(self.certificate)]
        usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]  # Python 3.13 and later ask for it
        openssl("req", "-x509", *new_key, "-subj", "/CN=dynallow lab", *usage, *ca)
        leaf = ["-keyout", str(self.server_key), "-out", str(self.server_certificate)]
        signer = ["-CA", str(self.certificate), "-CAkey", str(directory / "ca.key")]
        extensions = ["-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE"]
        openssl("req", "-x509", *new_key, "-subj", "/CN=lab server", *extensions, *signer, *leaf)


class WebServer:
    """HTTP, HTTPS and echo in `place`, on all its addresses."""

    def __init__(self, place: Namespace, authority: Authority) -> None:
        self._place = place
        place.run(["nft", "-f", "-"], stdin=_ANYTHING)
        config = place.directory / "web.json"
        config.write_text(
            json.dumps({"certificate": str(authority.server_certificate), "key": str(authority.server_key)})
        )
        self._log = place.directory / "web.log"
        with self._log.open("w") as log:
            self.process = place.popen(
                [place.python_path, "-m", "tests.lab.web_process", str(config)],
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def wait_ready(self) -> None:
        """Return once every port is open; the process says so itself."""
        if self.process.stdout is None or self.process.stdout.readline() != "ready\n":
            raise LabError(f"web server: {self._log.read_text()}")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()


def openssl(*arguments: str) -> None:
    """Run it; LabError with its words when it fails."""
    result = subprocess.run(
        ["openssl", *arguments], env={"PATH": PATH}, capture_output=True, text=True, check=False, timeout=90
    )
    if result.returncode:
        raise LabError(f"openssl: {result.stderr}")
