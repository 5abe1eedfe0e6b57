"""A small signed internet: root, two top-level domains and zones below them, served and signed by knotd.

Knows knot's key manager and unbound's validator. Its trust anchor is its own root's
key. Invariant: each zone's DS stands in its parent, so that whoever trusts the root can
validate all of it, but for what is made to be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from tests.lab.certificates import Certificate
from tests.lab.knot import KnotServer
from tests.lab.namespace import Namespace
from tests.lab.topology import NAME_SERVER
from tests.lab.unbound import UnboundProcess, spare_from_echo
from tests.lab.zone import Zone

How = Literal["nsec", "nsec3", "many keys", "bogus", "unsigned"]
_MANY = 8  # keys that each sign the DNSKEY RRset: it then fits no datagram
_ALGORITHM = "ecdsap256sha256"


class SignedServer(KnotServer):
    """knotd for `zones`, each signed as it says; the first is the root."""

    def __init__(
        self, place: Namespace, zones: Mapping[Zone, How], addresses: Sequence[str] = NAME_SERVER
    ) -> None:
        self._how = {zone.origin: how for zone, how in zones.items()}
        self._keys = place.directory / f"keys-{addresses[0]}"
        (self._keys / "db").mkdir(parents=True)
        self._keymgr = self._keys / "keymgr.conf"
        self._keymgr.write_text(
            f"server:\n    rundir: {self._keys}\ndatabase:\n    storage: {self._keys}/db\n"
            f"policy:\n  - id: manual\n    manual: on\n    algorithm: {_ALGORITHM}\nzone:\n"
            + "".join(f"  - domain: {zone.origin}.\n    dnssec-policy: manual\n" for zone in zones)
        )
        self._keys_of: dict[str, str] = {}
        for zone, how in zones.items():
            if how != "unsigned":
                self._make_keys(place, zone, how)
            if zone.origin:
                parent = max((one for one in zones if _is_below(zone, one)), key=lambda one: len(one.origin))
                self._delegate(place, zone, how, parent)
        super().__init__(place, [*zones], addresses)

    def anchor(self) -> str:
        """The root's key, as a validator's configuration wants it."""
        return self._keys_of[""]

    def _make_keys(self, place: Namespace, zone: Zone, how: How) -> None:
        name = f"{zone.origin}."
        make = ["keymgr", "-c", str(self._keymgr), name, "generate", f"algorithm={_ALGORITHM}", "ksk=yes"]
        key = place.run([*make, "zsk=yes"]).stdout.strip()
        if how == "many keys":
            for _ in range(_MANY - 1):
                place.run([*make, "zsk=no"])
        self._keys_of[zone.origin] = place.run(["keymgr", "-c", str(self._keymgr), name, "ds", key]).stdout

    def _delegate(self, place: Namespace, zone: Zone, how: How, parent: Zone) -> None:
        label = f"{zone.origin}."
        parent.record(label, "NS", f"ns1.{label}").a(f"ns1.{label}", NAME_SERVER[0])
        if how == "unsigned":
            return
        # "NAME DS TAG ALGORITHM DIGEST-TYPE DIGEST", one line a digest; SHA-256 is 2
        digests = [line.split() for line in self._keys_of[zone.origin].splitlines()]
        (digest,) = [words[2:] for words in digests if words[4] == "2"]
        if how == "bogus":
            digest[-1] = digest[-1][::-1]
        parent.record(label, "DS", " ".join(digest))

    def _config(self) -> str:
        before, _, _ = super()._config().partition("database:")
        policies = "".join(
            f"  - id: {kind}\n    manual: on\n    algorithm: {_ALGORITHM}\n    nsec3: {nsec3}\n"
            for kind, nsec3 in (("nsec", "off"), ("nsec3", "on"))
        )
        zones = "".join(
            f"  - domain: {origin}.\n    file: {self.directory}/{origin}.zone\n"
            "    journal-content: none\n    zonefile-sync: -1\n    zonefile-load: whole\n"
            + ("" if how == "unsigned" else "    dnssec-signing: on\n    dnssec-policy: ")
            + ("" if how == "unsigned" else "nsec3\n" if how == "nsec3" else "nsec\n")
            for origin, how in self._how.items()
        )
        return (
            f"{before}database:\n    storage: {self._keys}/db\n    journal-db-max-size: 1M\n"
            f"policy:\n{policies}zone:\n{zones}"
        )


def _is_below(zone: Zone, other: Zone) -> bool:
    return zone is not other and (not other.origin or zone.origin.endswith("." + other.origin))


_VALIDATOR = """\
server:
    interface: {address}
    access-control: 0.0.0.0/0 allow
    do-daemonize: no
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    logfile: ""
    verbosity: 2
    val-log-level: 2
    num-threads: 1
    do-not-query-localhost: no
    do-ip6: no
    module-config: "validator iterator"
    trust-anchor: "{anchor}"
    trust-anchor-signaling: no
    root-key-sentinel: no
    domain-insecure: "insecure.example."
{more}remote-control:
    control-enable: no
{kind}-zone:
    name: "."
    {kind}-addr: {server}
"""


class Validator(UnboundProcess):
    """unbound that validates: behind `server`, or as a recursor in front of it that also speaks TLS."""

    def __init__(
        self,
        place: Namespace,
        address: str,
        server: str,
        anchor: str,
        *,
        shown: Certificate | None = None,
        recursive: bool = False,
    ) -> None:
        more = ""
        if shown is not None:
            more = (
                f'    interface: {address}@853\n    tls-service-pem: "{shown.chain}"\n'
                f'    tls-service-key: "{shown.key}"\n'
            )
            spare_from_echo(place, address)
        first = anchor.splitlines()[0]
        kind = "stub" if recursive else "forward"
        config = _VALIDATOR.format(address=address, anchor=first, more=more, kind=kind, server=server)
        super().__init__(place, address, "validator", config)
