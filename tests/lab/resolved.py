"""systemd-resolved with DNSSEC on, without systemd: in a mount namespace of its own, without a bus.

Knows its files and that it insists on a user called systemd-resolve. Must not know what is
asked of it. It answers at 127.0.0.53 of the host that it runs on.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import dns.exception

from tests.lab.namespace import Namespace
from tests.lab.needs import ROOT
from tests.lab.waiting import LabError, wait_until

ADDRESS = "127.0.0.53"
_PLACES = [Path(root) / "lib/systemd" for root in ("/", "/usr", ROOT / ".venv/lab", ROOT / ".venv/lab/usr")]
_USER = 991
_START = """\
mount -t tmpfs none /run
cd /run
mkdir -p systemd/resolve systemd/netif/links systemd/resolved.conf.d dnssec-trust-anchors.d
chown {user}:{user} /run/systemd/resolve
cp {place}/resolved.conf /run/systemd/resolved.conf.d/lab.conf
cp {place}/anchor /run/dnssec-trust-anchors.d/lab.positive
mount --bind {place}/passwd /etc/passwd
mount --bind {place}/group /etc/group
exec {program}
"""
_SETTINGS = "[Resolve]\nDNS={server}\nDNSSEC=yes\nDomains=~.\nLLMNR=no\nMulticastDNS=no\n"


def program() -> Path | None:
    """Where it is, if it is there."""
    return next(
        (place / "systemd-resolved" for place in _PLACES if (place / "systemd-resolved").exists()), None
    )


class Resolved:
    """systemd-resolved in `host`, which asks `server` and trusts the root's key in `anchor` (a DS record)."""

    def __init__(self, host: Namespace, server: str, anchor: str) -> None:
        self.host = host
        found = program()
        if found is None:
            raise LabError("systemd-resolved is not installed")
        place = host.directory / "resolved"
        place.mkdir()
        owner, kind, *rdata = anchor.splitlines()[0].split()
        (place / "anchor").write_text(f"{owner} IN {kind} {' '.join(rdata)}\n")
        (place / "resolved.conf").write_text(_SETTINGS.format(server=server))
        for name, line in (("passwd", "x:{0}:{0}::/:/bin/false"), ("group", "x:{0}:")):
            known = Path("/etc", name).read_text()
            (place / name).write_text(f"{known}systemd-resolve:{line.format(_USER)}\n")
        self._log = place / "log"
        script = _START.format(user=_USER, place=place, program=found)
        with self._log.open("w") as log:
            self.process = host.popen(
                ["unshare", "-m", "sh", "-ec", script],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SYSTEMD_LOG_TARGET": "console"},
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_ready(self, name: str) -> None:
        """Return once it answers for `name`."""
        wait_until(lambda: self._answers(name), "systemd-resolved answering")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def _answers(self, name: str) -> bool:
        if self.process.poll() is not None:
            raise LabError(f"systemd-resolved ended: {self.log}")
        try:
            return bool(self.host.ask(name, "A", ADDRESS, timeout=0.5).answer)
        except (dns.exception.DNSException, OSError):
            return False
