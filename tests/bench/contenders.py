"""The servers that are compared, each as it is set up for the same job.

Knows their settings files. Must not know what is measured. Invariant: they
all forward to the same upstream, listen on 127.0.0.1 port 53, have the same
room for answers, deny `DENIED` themselves, and run on one core (smartdns in five
threads, the others in one).

How much room matters: in a full cache dnsmasq looks at every entry before each
insertion, which at 10,000 entries makes a chain four times as dear as in one that
never fills. `CACHE` never fills: each server is measured at its best.

`dnsmasq-nftset` stands in the table that `dynallow ruleset` prints (its sets,
its output chain, conntrack and all), so that the kernel's work on each packet
is the same. Two differences remain. dnsmasq adds elements without a timeout,
so its set has a default one; and it finds its way to the upstream without a
mark. `smartdns-nftset` likewise, in the same table; it denies with an empty NOERROR,
the only denial that it knows. `dnsmasq`, `smartdns` and `unbound` run without any table:
what a resolver costs that protects nothing. `reflector` (not among those that run
unless asked for) answers everything with one and the same address: the floor of the method.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench import reflector
from tests.bench.workloads import DENIED, ORIGIN
from tests.lab.namespace import Namespace
from tests.lab.topology import NAME_SERVER

CACHE = 200_000
"""Entries. dnsmasq keeps one for each record, not for each answer."""
UPSTREAM = NAME_SERVER[0]

SETTINGS = f"""\
mode = "enforce"
[resolver]
listen = ["127.0.0.1:53"]
upstreams = ["{UPSTREAM}"]
cache-size = ROOM
[control]
socket = "CONTROL"
[lease]
max-per-rule = 131072
[[rule]]
name = "bench"
names = [".{ORIGIN}"]
"""

_UNBOUND = f"""\
server:
    interface: 127.0.0.1
    do-daemonize: no
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    logfile: "LOG"
    num-threads: 1
    msg-cache-size: 128m
    rrset-cache-size: 128m
    module-config: "iterator"
    do-not-query-localhost: no
    qname-minimisation: no
    local-zone: "{DENIED}" always_nxdomain
forward-zone:
    name: "."
    forward-addr: {UPSTREAM}
remote-control:
    control-enable: no
"""

_SMARTDNS = f"""\
bind 127.0.0.1:53
bind-tcp 127.0.0.1:53
server {UPSTREAM}
cache-size ROOM
cache-persist no
prefetch-domain no
serve-expired no
speed-check-mode none
dualstack-ip-selection no
max-reply-ip-num 16
resolv-hostname no
log-level error
log-file LOG
address /{DENIED}/#
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """One server. `set_path` names the nft set that its answers must be in, if any."""

    name: str
    tool: str
    argv: Callable[[Namespace, Path, int], list[str]]
    """The command, after preparing what it reads: on this host, in this directory, with this cache."""
    set_path: tuple[str, ...] = ()
    denied: str = "NXDOMAIN"
    """The rcode of its denials."""


def write_settings(directory: Path, cache: int = CACHE) -> Path:
    """dynallow's settings file."""
    file = directory / "dynallow.toml"
    text = SETTINGS.replace("CONTROL", str(directory / "control.sock")).replace("ROOM", str(cache))
    file.write_text(text)
    return file


def dynallow(host: Namespace, directory: Path, cache: int) -> list[str]:
    return [host.python_path, "-m", "dynallow", "run", "--config", str(write_settings(directory, cache))]


def _dnsmasq(host: Namespace, directory: Path, cache: int) -> list[str]:
    words = ["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--no-resolv"]
    words += ["--no-hosts", "--listen-address=127.0.0.1", "--bind-interfaces", f"--server={UPSTREAM}"]
    words += [f"--cache-size={cache}", "--dns-forward-max=1000", f"--local=/{DENIED}/"]
    return ["dnsmasq", *words, f"--log-facility={directory / 'dnsmasq.log'}"]


def _dnsmasq_nftset(host: Namespace, directory: Path, cache: int) -> list[str]:
    host.run(["nft", "-f", "-"], stdin=peer_table(host, directory))
    return [*_dnsmasq(host, directory, cache), f"--nftset=/{ORIGIN}/4#inet#bench#bench_v4"]


def _unbound(host: Namespace, directory: Path, cache: int) -> list[str]:
    file = directory / "unbound.conf"
    file.write_text(_UNBOUND.replace("LOG", str(directory / "unbound.log")))
    return ["unbound", "-d", "-c", str(file)]


def _smartdns(host: Namespace, directory: Path, cache: int, more: str = "") -> list[str]:
    file = directory / "smartdns.conf"
    text = _SMARTDNS.replace("ROOM", str(cache)).replace("LOG", str(directory / "smartdns.log"))
    file.write_text(text + more)
    return ["smartdns", "-f", "-c", str(file), "-p", "-"]


def _smartdns_nftset(host: Namespace, directory: Path, cache: int) -> list[str]:
    host.run(["nft", "-f", "-"], stdin=peer_table(host, directory))
    return _smartdns(host, directory, cache, f"nftset /{ORIGIN}/#4:inet#bench#bench_v4\n")


def _reflector(host: Namespace, directory: Path, cache: int) -> list[str]:
    return [host.python_path, "-I", "-S", reflector.__file__]


def own_table(host: Namespace, settings: Path) -> str:
    """What `dynallow ruleset` prints."""
    return host.run([host.python_path, "-m", "dynallow", "ruleset", str(settings)]).stdout


def peer_table(host: Namespace, directory: Path) -> str:
    """dynallow's table under another name, for a resolver that sets no mark and no timeout."""
    text = own_table(host, write_settings(directory))
    text = text.replace("table inet dynallow {", "table inet bench {")
    text = re.sub(r"^\tflags .*\n", "", text, flags=re.MULTILINE)  # an owned table ends with its maker
    text = re.sub(r"meta mark 0x[0-9a-f]+ ", "", text)
    return text.replace("\t\tflags timeout\n", "\t\tflags timeout\n\t\ttimeout 1h\n")


_ALL = (
    Contender("dynallow", sys.executable, dynallow, ("inet", "dynallow", "bench_v4")),
    Contender("dnsmasq", "dnsmasq", _dnsmasq),
    Contender("dnsmasq-nftset", "dnsmasq", _dnsmasq_nftset, ("inet", "bench", "bench_v4")),
    Contender("smartdns", "smartdns", _smartdns, denied="NOERROR"),
    Contender("smartdns-nftset", "smartdns", _smartdns_nftset, ("inet", "bench", "bench_v4"), "NOERROR"),
    Contender("unbound", "unbound", _unbound),
    Contender("reflector", sys.executable, _reflector, denied="NOERROR"),
)
CONTENDERS = {contender.name: contender for contender in _ALL}
PEERS = tuple(name for name in CONTENDERS if name != "reflector")
MEASURE = "dnsmasq-nftset"
"""The one that all others are compared with."""
