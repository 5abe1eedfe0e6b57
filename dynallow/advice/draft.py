"""Advice as TOML: rules that `dynallow check` accepts; in comments their evidence, and what is left out.

Pure. Knows TOML's strings and comments through `plaintext.py` alone. Keeps: parsed, the text is the suggested
rules and nothing else, whatever names, users, units and processes are called.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from dynallow.advice.needs import Left
from dynallow.advice.plaintext import comment, day, listed_few, moment, quoted, rule_name
from dynallow.advice.suggest import Advice, Nameless, Suggested

_NAMES_A_LINE = 4
_SEEN_MAX = 40  # names told for a wildcard
_LEFT_MAX = 20  # lines of one reason
_ADDRESSES_MAX = 10  # of one destination
_DESTINATIONS_MAX = 20
_WORDS = 5

UserName = Callable[[int], str | int]
WHY_LEFT = {
    "tunnel": "WARNING: like a tunnel through DNS, many names below one domain that nobody connects to",
    "dns": "DNS past dynallow, by programs with a resolver of their own: no rule opens it",
    "excepted": "taken away by an exception",
    "expired": "listed by a rule that has expired",
    "type": "a record type that no rule opens; most of them lead to no address, and some carry tunnels",
    "lapsed": "allowed by name, but the address was used after its lease had ended",
    "port": "addresses that a rule or destination opens otherwise, and that no name gave",
    "user": "addresses that a rule or destination opens otherwise, and that no name gave",
    "private": "special addresses that no name gave",
    "protocol": "neither TCP nor UDP: no rule opens it",
    "special": "names that lead to this host, to the link, or to nobody",
    "reserved": "names that are answered here, or nowhere",
    "reverse": "names of addresses; those of leased ones are answered here",
    "search": "made by a search list: such names do not exist",
    "single": "single labels: search lists make whole names of them",
    "odd": "what no rule can list",
    "many": "too many: add those above, then ask again, or look at less (--since, --min-count)",
    "few": "seen too seldom (--min-count)",
}
_ORDER = {why: number for number, why in enumerate(WHY_LEFT)}


def draft(advice: Advice, user_name: UserName) -> str:
    """The whole text; empty where there is nothing to say."""
    blocks = [rule_block(rule, user_name) for rule in advice.rules]
    blocks += [[comment(line) for line in block] for block in _left_out(advice.left, user_name)]
    blocks += [[f"# {line}".rstrip() for line in block] for block in _destinations(advice, user_name)]
    return "\n".join("".join(f"{line}\n" for line in block) for block in blocks)


def rules_text(rules: Iterable[Suggested], user_name: UserName) -> str:
    """The rules alone, as a settings file takes them."""
    return "\n".join("".join(f"{line}\n" for line in rule_block(rule, user_name)) for rule in rules)


def rule_block(rule: Suggested, user_name: UserName) -> list[str]:
    """A rule's lines, its evidence before it."""
    return [
        *map(comment, _evidence(rule)),
        "[[rule]]",
        f"name    = {quoted(rule.name)}",
        "names   = [",
        *_name_lines(rule),
        "]",
        f"ports   = [{', '.join(quoted(str(port)) for port in rule.ports)}]",
        *([f"users   = [{', '.join(_user(user_name(uid)) for uid in rule.users)}]"] if rule.users else []),
        *([f"private = [{', '.join(quoted(str(net)) for net in rule.private)}]"] if rule.private else []),
        f"reason  = {quoted(rule.reason)}",
    ]


def _evidence(rule: Suggested) -> Iterator[str]:
    counts = f"connections: {rule.connections}, questions: {rule.questions}"
    yield f"{counts}, from {moment(rule.first)} to {moment(rule.last)} UTC"
    if rule.units:
        yield f"units: {listed_few(list(rule.units), _WORDS)}"
    if rule.processes:
        yield f"processes: {listed_few(list(rule.processes), _WORDS)}"
    if rule.guessed:
        yield "asked for, and nobody connected: the port is a guess" + (
            "" if rule.users else ", and so is who"
        )
    elif not rule.users:
        yield "who connected is not known: open to every user"
    if rule.private:
        yield "these names lead to special addresses, and `private` opens them: make sure that they are yours"
    for beside in rule.beside[:_WORDS]:
        key = {"user": "users", "private": "private"}.get(beside.why, "ports")
        at = f" ({beside.where})" if beside.where else ""
        yield f"or: rule {beside.rule} lists {beside.name}{at}; what it lacks can be added to its {key}"
    if len(rule.beside) > _WORDS:
        yield f"and {len(rule.beside) - _WORDS} more of these names are listed by rules"


def _name_lines(rule: Suggested) -> Iterator[str]:
    for wildcard in rule.wildcards:
        seen = wildcard.names
        yield f"    {quoted(str(wildcard.pattern))},  {comment(f'for {len(seen)} names that were seen:')}"
        for start in range(0, min(len(seen), _SEEN_MAX), _NAMES_A_LINE):
            yield f"    {comment('  ' + ', '.join(seen[start : start + _NAMES_A_LINE]))}"
        if len(seen) > _SEEN_MAX:
            yield f"    {comment(f'  and {len(seen) - _SEEN_MAX} more')}"
    for name in rule.names[len(rule.wildcards) :]:
        yield f"    {quoted(name)},  {comment(rule.counts[name])}"


def _user(name: str | int) -> str:
    return quoted(name) if isinstance(name, str) else str(name)


def _left_out(left: Sequence[Left], user_name: UserName) -> Iterator[list[str]]:
    by_text: dict[str, list[Left]] = defaultdict(list)
    for each in sorted(left, key=lambda each: _ORDER.get(each.why, len(_ORDER))):
        by_text[WHY_LEFT.get(each.why, each.why)].append(each)
    for text, group in by_text.items():
        lines = [f"left out: {text}"]
        for each in group[:_LEFT_MAX]:
            who = [str(user_name(uid)) for uid in sorted(each.users)]
            by = f" by {listed_few(who, _WORDS)}" if who else ""
            by += f" ({listed_few(sorted(each.processes), _WORDS)})" if each.processes else ""
            lines.append(f"  {each.what}: {each.times} ×{by}, last {moment(each.last)}")
            if each.text:
                lines[-1] += f": {each.text}"
        if len(group) > _LEFT_MAX:
            lines.append(f"  and {len(group) - _LEFT_MAX} more")
        yield lines


def _destinations(advice: Advice, user_name: UserName) -> Iterator[list[str]]:
    groups: dict[tuple[str, int | None, str], list[Nameless]] = defaultdict(list)
    for each in advice.nameless:
        groups[str(each.port), each.user, each.unit].append(each)
    if groups:
        yield [
            "left out: addresses that came from no name, so nothing says whose they are",
            "(a program with addresses of its own, or an answer from before the agent's start).",
            "To open some, uncomment them and say why.",
        ]
    taken: set[str] = set()
    for (port, user, unit), group in list(groups.items())[:_DESTINATIONS_MAX]:
        who = [str(user_name(user))] if user is not None else []
        name = rule_name(" ".join(("to", *([unit.rpartition(".")[0]] if unit else who), port)), taken)
        taken.add(name)
        yield _destination(name, port, group, user, user_name)
    if len(groups) > _DESTINATIONS_MAX:
        yield [f"and {len(groups) - _DESTINATIONS_MAX} more like these"]


def _destination(
    name: str, port: str, group: list[Nameless], user: int | None, user_name: UserName
) -> list[str]:
    addresses = [each.address for each in group]
    times, first = sum(each.times for each in group), min(each.first for each in group)
    processes = sorted({process for each in group for process in each.processes})
    of = f" by {listed_few(processes, _WORDS)}" if processes else ""
    hidden = len(addresses) - _ADDRESSES_MAX
    return [
        "[[destination]]",
        f"name      = {quoted(name)}",
        f"addresses = [{', '.join(map(quoted, addresses[:_ADDRESSES_MAX]))}]",
        *([f"# and {hidden} more addresses"] if hidden > 0 else []),
        f"ports     = [{quoted(port)}]",
        *([f"users     = [{_user(user_name(user))}]"] if user is not None else []),
        f"reason    = {quoted(f'{times} connections{of} since {day(first)}')}",
    ]
