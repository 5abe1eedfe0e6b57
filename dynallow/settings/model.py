"""The settings: every key with its type, default and one line of meaning (DESIGN section 7).

Knows keys and single values. Must not know files, nor how keys bear on one another
(`crossing.py`). Keeps: frozen; every key has a default, so the empty file is valid; the
descriptions here are the README's table and the editors' schema.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dynallow.policy.rrtypes import AAAA, CNAME, HTTPS, SRV, SVCB, A
from dynallow.settings import fields as f
from dynallow.settings.upstream import Upstream, parse_upstream
from dynallow.units import Endpoint, PortRange, Rate, parse_endpoint

_SYSTEM: tuple[Upstream, ...] = (parse_upstream("system"),)
_LISTEN: tuple[Endpoint, ...] = (parse_endpoint("127.0.0.1:53"), parse_endpoint("[::1]:53"))
_HTTPS_PORT = (PortRange("tcp", 443, 443),)


def kebab(attribute: str) -> str:
    """The TOML key of a Python attribute."""
    return attribute.rstrip("_").replace("_", "-")


class Section(BaseModel):
    """A table of the settings; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=kebab, regex_engine="python-re")


class Zone(Section):
    """Names that are asked of servers of their own (split DNS)."""

    names: tuple[f.PatternText, ...] = Field(default=(), description="patterns of the names in this zone")
    upstreams: tuple[f.UpstreamText, ...] = Field(
        default=(), description="servers asked for these names alone"
    )


class ResolverSettings(Section):
    """The stub resolver."""

    listen: tuple[f.ListenEndpoint, ...] = Field(
        default=_LISTEN, description="where questions are answered, UDP and TCP"
    )
    upstreams: tuple[f.UpstreamText, ...] = Field(
        default=_SYSTEM,
        description='servers to ask; "system" = those that resolv.conf names, dynallow itself left out',
    )
    timeout: f.Duration = Field(default=2.0, description="one try; in all at most 3 tries over the upstreams")
    denied: Literal["nxdomain", "refused"] = Field(
        default="nxdomain", description="answer to a name that no rule allows"
    )
    denied_ttl: f.DeniedTtl = Field(
        default=10, description='how long clients may remember a denial, at most "1h"; "0s" = not at all'
    )
    cache_size: f.CountOrNone = Field(default=10000, description="most answers kept in memory")
    stale: f.Duration = Field(
        default=86400.0,
        description='how long expired data may still answer when every upstream fails (RFC 8767); "0s" = off',
    )
    search_suffixes: tuple[f.NameText, ...] = Field(
        default=(),
        description="the host's search list: a name with such a suffix that no rule allows does not exist",
    )
    dnssec: f.Flag = Field(
        default=False,
        description="serve validators behind dynallow: signatures, keys of the zones above the names, CD, AD",
    )
    zones: tuple[Zone, ...] = Field(default=(), alias="zone", description="split DNS")


class LeaseSettings(Section):
    """How long and how many addresses stay open."""

    grace: f.Duration = Field(default=60.0, description="a lease outlives the TTL told to the client by this")
    min: f.Duration = Field(default=60.0, description="shortest lease")
    max: f.Duration = Field(default=86400.0, description="longest lease")
    max_addresses_per_name: f.Count = Field(default=256, description="most addresses leased for one name")
    max_per_rule: f.Count = Field(default=65536, description="most leases of one rule")
    keep_alive: f.Flag = Field(
        default=True,
        description="ask again for a name whose lease is about to lapse while a flow to its address lives",
    )


class FirewallSettings(Section):
    """What becomes of packets that nothing allows."""

    denied: Literal["reject", "drop"] = Field(
        default="reject", description='"reject" lets connect() fail at once, "drop" lets it hang'
    )
    log_group: f.LogGroup = Field(default=100, description="NFLOG group of denied packets")
    log_rate: f.RateText = Field(
        default=Rate(50, "second"), description="most denied packets logged; up to 20 times as many at once"
    )
    dns: Literal["redirect", "reject"] = Field(
        default="redirect", description="other DNS on port 53: sent to dynallow, or rejected"
    )


class ControlSettings(Section):
    """Where the agent is asked and watched."""

    socket: f.SocketPath = Field(
        default=Path("/run/dynallow/control.sock"), description="control socket, 0660, group dynallow"
    )
    metrics: f.MetricsEndpoint = Field(
        default=None, description="endpoint of /metrics over TCP; empty = on the control socket only"
    )


class HistorySettings(Section):
    """What is remembered of questions, flows and denials."""

    keep: f.Duration = Field(
        default=90 * 86400.0,
        description='how long it is remembered what was asked, used and denied; "0s" = no file is kept',
    )
    max_size: f.Size = Field(
        default=64 << 20, description='largest size of that file, at least "1MiB"; the oldest goes first'
    )


class RuleSettings(Section):
    """Names, and who may use the addresses behind them on which ports."""

    name: f.RuleName = Field(description="the rule's name, unique; its kernel sets are called after it")
    names: tuple[f.PatternText, ...] = Field(default=(), description="name patterns that the rule lists")
    names_from: tuple[f.ListPath, ...] = Field(
        default=(), description="files with one pattern a line, relative to the file that names them"
    )
    except_: tuple[f.PatternText, ...] = Field(default=(), description="patterns taken away from this rule")
    ports: tuple[f.PortText, ...] = Field(
        default=_HTTPS_PORT, description="protocols and ports that are opened"
    )
    users: tuple[f.User, ...] = Field(
        default=(), description="users, by name or number, who may connect; empty = every user"
    )
    types: tuple[f.RecordType, ...] = Field(
        default=(A, AAAA, CNAME, HTTPS, SVCB, SRV),
        description="record types that may be asked for; others get an empty answer",
    )
    private: tuple[f.NetworkText, ...] = Field(
        default=(), description="special-purpose prefixes that answers may point into; otherwise removed"
    )
    allow_public_suffix: f.Flag = Field(
        default=False, description='accept patterns such as "*.com" that anyone can register a name under'
    )
    reason: f.Text = Field(default="", description="why the rule exists; told to users in denials")
    owner: f.Text = Field(default="", description="who answers for the rule")
    expires: f.Day = Field(default=None, description="last day (UTC) on which the rule allows anything")


class Destination(Section):
    """Addresses that are open without any DNS question."""

    name: f.RuleName = Field(description="the destination's name, unique")
    addresses: tuple[f.NetworkText, ...] = Field(description="addresses and prefixes")
    ports: tuple[f.PortText, ...] = Field(description="protocols and ports that are opened")
    users: tuple[f.User, ...] = Field(default=(), description="users who may connect; empty = every user")
    reason: f.Text = Field(default="", description="why the destination exists")


class Settings(Section):
    """All of it."""

    mode: Literal["observe", "enforce"] = Field(
        default="observe", description='"observe" logs what "enforce" would deny, and blocks nothing'
    )
    resolver: ResolverSettings = Field(default_factory=ResolverSettings)
    lease: LeaseSettings = Field(default_factory=LeaseSettings)
    firewall: FirewallSettings = Field(default_factory=FirewallSettings)
    control: ControlSettings = Field(default_factory=ControlSettings)
    history: HistorySettings = Field(default_factory=HistorySettings)
    rules: tuple[RuleSettings, ...] = Field(default=(), alias="rule")
    destinations: tuple[Destination, ...] = Field(default=(), alias="destination")
