"""Why a name, an address or a line of `denied` may pass or not.

    what was asked ─ facts, in the loop ─ the rest in a thread: hosts file, history, table, files and lines

Decides nothing: the verdict is the policy's and the table's own. Keeps: nothing that reads files or takes
longer than a moment runs in the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from dynallow.control.backend import BadRequestError
from dynallow.control.reports import past as history
from dynallow.control.reports.explain_address import AddressFacts, explain_address
from dynallow.control.reports.explain_name import NameFacts, explain_name
from dynallow.control.reports.explain_parts import Asked, Facts, facts
from dynallow.control.reports.hostsfile import HOSTS, addresses_in, names_in
from dynallow.control.reports.past import Past
from dynallow.control.reports.reach import is_dns
from dynallow.control.reports.source import Source
from dynallow.control.schema import ExplainReport
from dynallow.firewall.build import JUDGED_MARK
from dynallow.firewall.conntrack import flows_to
from dynallow.firewall.flows import TCP, UDP
from dynallow.lease.ledger import Ledger
from dynallow.lease.slices import slices
from dynallow.policy.names import Name, parse_name, to_text
from dynallow.policy.rrtypes import parse_type
from dynallow.policy.verdict import Outcome
from dynallow.resolver.answer import GRANTING_TYPES
from dynallow.settings import locate, place
from dynallow.units import PortRange, parse_port
from dynallow.usage.record import Record

_SEEN_MAX = 20


async def explain(
    agent: Source,
    subject: str,
    port: PortRange | None,
    user: int | None,
    past: Past | None = None,
    hosts: Path = HOSTS,
) -> ExplainReport:
    """The verdict on a name, an address or a line. Raises BadRequestError for none of them."""
    asked = Asked(subject.strip("[]"), port, user)
    await history.settled(past)
    if subject.startswith("@"):
        asked = await asyncio.to_thread(_line, past, subject)
    packed = _packed(asked.subject)
    given = facts(agent, asked)
    if packed is None:
        name = _name(asked.subject)
        of_name = _name_facts(agent, given, name)
        given.names = await _claimants(agent.ledger, {address for _, address, _ in given.leases}, given.now)
        return await asyncio.to_thread(_tell_name, of_name, past, hosts)
    given.leases = [(rule, packed, lease) for rule, lease in agent.ledger.at(packed, given.now)]
    of_address = AddressFacts(
        given,
        packed,
        packed in agent.own,
        until if (until := agent.ledger.blocked_until(packed)) > given.now else None,
        agent.ledger.lapsed.at(packed, agent.ledger.rules()),
    )
    given.names = await _claimants(agent.ledger, {packed}, given.now)
    return await asyncio.to_thread(_tell_address, of_address, past, hosts)


# ------------------------------------------------------------ what was asked


def _line(past: Past | None, subject: str) -> Asked:
    """What a line of `denied` was about."""
    one = history.find(past, subject)
    if one is None:
        raise BadRequestError(
            f"no line {subject} in the history",
            "`dynallow denied` shows them; the history forgets the oldest",
        )
    if one.kind == "question":
        return Asked(one.name, id=subject, qtype=parse_type(one.qtype))
    try:
        return Asked(one.address, parse_port(one.port), one.user, id=subject)
    except ValueError:  # what has no ports
        return Asked(one.address, None, one.user, one.port, id=subject)


def _packed(subject: str) -> bytes | None:
    try:
        address = ip_address(subject)
    except ValueError:
        return None
    # What a socket of IPv6 sends to such an address is IPv4.
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (inner or address).packed


def _name(subject: str) -> Name:
    try:
        return parse_name(subject)
    except ValueError as error:
        raise BadRequestError(f"expected a name, an address or a line of `denied`: {error}") from error


# ------------------------------------------------------------ in the loop's thread


def _name_facts(agent: Source, given: Facts, name: Name) -> NameFacts:
    types = GRANTING_TYPES if given.asked.qtype is None else (given.asked.qtype,)
    # The best that any type of address record gives: a rule may allow AAAA alone.
    verdicts = {kind: agent.road.decide(name, kind) for kind in types}
    allowed = (kind for kind, verdict in verdicts.items() if verdict.outcome is Outcome.ALLOWED)
    verdict = verdicts[qtype := next(allowed, types[0])]
    earners = dict.fromkeys([name, *(lead.root for lead in verdict.leads)])
    given.leases = [held for earner in earners for held in agent.ledger.of(earner, given.now)]
    return NameFacts(given, name, qtype, verdict)


async def _claimants(ledger: Ledger, addresses: Iterable[bytes], now: float) -> set[Name]:
    """Every name that has a live claim on one of the addresses; others have their turn between."""
    wanted = list(addresses)
    found: set[Name] = set()
    for rule in ledger.rules() if wanted else ():
        for some in slices(ledger.claims(rule)):
            claims = ledger.claims(rule)
            found |= {
                name
                for name in some
                if (its := claims.get(name)) and any(its.get(address, 0.0) > now for address in wanted)
            }
            await asyncio.sleep(0)
    return found


# ------------------------------------------------------------ in a thread


def _tell_name(of: NameFacts, past: Past | None, hosts: Path) -> ExplainReport:
    text = to_text(of.name)
    addresses = {str(ip_address(address)) for _, address, _ in of.given.leases}
    records = history.about(past, [text], addresses)
    mine = [record for record in records if record.subject.name == text]
    before = {record.subject.address for record in mine} - addresses - {""}
    seen = _names([*records, *(history.about(past, [], before) if before else ())])
    report = explain_name(of, addresses_in(hosts, text), [name for name in seen if name != text])
    return _completed(report, of.given, past, mine, [address for _, address, _ in of.given.leases])


def _tell_address(of: AddressFacts, past: Past | None, hosts: Path) -> ExplainReport:
    text = str(ip_address(of.packed))
    records = history.about(past, [], [text])
    report = explain_address(of, names_in(hosts, of.packed), _names(records))
    if of.given.asked.port is not None:
        its = str(of.given.asked.port)
        records = [record for record in records if record.subject.port == its]
    return _completed(report, of.given, past, records, [of.packed])


def _names(records: Iterable[Record]) -> list[str]:
    found = dict.fromkeys(record.subject.name for record in records if record.subject.name)
    return list(found)[:_SEEN_MAX]


def _completed(
    report: ExplainReport, given: Facts, past: Past | None, records: list[Record], addresses: list[bytes]
) -> ExplainReport:
    """With files and lines, the flows that live, and the past."""
    known = {*report["names"], *(lease["name"] for lease in report["leases"])}
    report["seen_names"] = [name for name in report["seen_names"] if name not in known]
    loaded = given.loaded
    by_name = {rule.name: rule for rule in loaded.policy.rules}
    for told in report["rules"]:
        if told["outcome"] == "destination":
            told["line"] = told["where"] = place(loaded.files, "destination", told["rule"])
            continue
        told["line"] = place(loaded.files, "rule", told["rule"])
        if told["where"] is None and told["pattern"] is not None and told["rule"] in by_name:
            told["where"] = locate(loaded, by_name[told["rule"]], told["exception"] or told["pattern"])
    decided = report["decided"]
    if decided is not None and (decided["by"] == "rule" or decided["by"] == "destination"):
        decided["where"] = place(loaded.files, decided["by"], decided["name"], "ports")
    report["flows"] = _flows(addresses, given)
    own = any(end.address.packed in addresses for end, _ in given.ways)  # then they are dynallow's, or DNS
    if report["flows"] and report["verdict"] != "allowed" and not own and not is_dns(given.asked.port):
        many = "flow to it is" if report["flows"] == 1 else "flows to it are"
        report["notes"].append(f"{report['flows']} {many} established, and what is established goes on")
    history.tell(report, past, records)
    return report


def _flows(addresses: list[bytes], given: Facts) -> int:
    """How many flows to these live and count as established; 0 where the kernel does not tell."""
    port = given.asked.port
    numbers = {"tcp": TCP, "udp": UDP}
    try:
        found = {
            flow.tuple
            for flow in flows_to(addresses, filtered=given.filtered)
            if flow.alive
            and flow.mark != JUDGED_MARK
            and (
                port is None
                or (flow.protocol == numbers[port.protocol] and port.first <= flow.port <= port.last)
            )
        }
    except OSError:
        return 0
    return len(found)
