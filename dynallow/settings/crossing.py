"""How settings bear on one another: what no single value shows.

Knows the model. Must not know files; each finding names the key it is about
by its path, and `load` knows which file that came from. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from dynallow.durations import format_duration
from dynallow.settings.model import (
    Destination,
    HistorySettings,
    LeaseSettings,
    ResolverSettings,
    RuleSettings,
    Section,
)
from dynallow.settings.upstream import Upstream
from dynallow.units import Endpoint, format_size

_HISTORY_MIN = 1 << 20
Finding = tuple[tuple[str | int, ...], str]  # path below the section, text


def findings(section: Section) -> Iterator[Finding]:
    """What does not fit together in `section`, a valid one."""
    match section:
        case ResolverSettings():
            yield from _resolver(section)
        case LeaseSettings():
            yield from _lease(section)
        case HistorySettings():
            if section.max_size < _HISTORY_MIN:
                yield ("max-size",), f'expected at least "1MiB", got "{format_size(section.max_size)}"'
        case RuleSettings():
            yield from _rule(section)
        case Destination():
            if not section.addresses:
                yield ("addresses",), "expected at least one address, got an empty array"
            if not section.ports:
                yield ("ports",), "expected at least one port, got an empty array"


def _resolver(resolver: ResolverSettings) -> Iterator[Finding]:
    if not resolver.listen:
        yield ("listen",), "expected at least one endpoint, got an empty array"
    for place, endpoint in enumerate(resolver.listen):
        if endpoint in resolver.listen[:place]:
            yield ("listen", place), f'expected each endpoint once, got "{endpoint}" again'
    if not resolver.timeout > 0:
        yield ("timeout",), 'expected more than "0s", got "0s"'
    yield from _servers(("upstreams",), resolver.upstreams, resolver.listen)
    for place, zone in enumerate(resolver.zones):
        if not zone.names:
            yield ("zone", place, "names"), "expected at least one pattern, got none"
        yield from _servers(("zone", place, "upstreams"), zone.upstreams, resolver.listen)


def _servers(
    path: tuple[str | int, ...], upstreams: tuple[Upstream, ...], listen: tuple[Endpoint, ...]
) -> Iterator[Finding]:
    if not upstreams:
        yield path, "expected at least one upstream, got none"
    for place, upstream in enumerate(upstreams):
        if upstream.endpoint in listen:
            # It would ask itself until every slot for questions in flight is taken.
            yield (*path, place), f'expected a server other than dynallow itself, got "{upstream}"'


def _lease(lease: LeaseSettings) -> Iterator[Finding]:
    longest = format_duration(lease.max)
    if not lease.min > 0:
        yield ("min",), 'expected more than "0s", got "0s"'
    if lease.min > lease.max:
        yield ("min",), f'expected at most lease.max ("{longest}"), got "{format_duration(lease.min)}"'
    if lease.grace >= lease.max:
        yield ("grace",), f'expected less than lease.max ("{longest}"), got "{format_duration(lease.grace)}"'


def _rule(rule: RuleSettings) -> Iterator[Finding]:
    if not rule.names and not rule.names_from:
        yield ("names",), "expected at least one pattern, or names-from, got none"
    if not rule.ports:
        yield ("ports",), "expected at least one port, got an empty array"
    if not rule.types:
        yield ("types",), "expected at least one record type, got an empty array"
