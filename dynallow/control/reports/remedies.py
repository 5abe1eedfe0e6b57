"""What would have to change in the settings so that something is allowed.

Decides nothing and changes nothing: says what an administrator would have to write, and where.
Whether it *should* be allowed is not known here, so nothing is proposed that is wider than what was asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from dynallow.policy.names import Name, labels, to_text
from dynallow.policy.patterns import Pattern, parse_pattern
from dynallow.policy.policy import Policy
from dynallow.policy.rules import Rule
from dynallow.settings import Loaded, place
from dynallow.settings.places import Kind
from dynallow.settings.suffixes import covers_public_suffix
from dynallow.units import PortRange


class Remedy(NamedTuple):
    """One thing to do; `name` and `key` say where in the settings, empty: nowhere in particular."""

    text: str
    kind: Kind = "rule"
    name: str = ""
    key: str = ""

    def told(self, loaded: Loaded) -> str:
        """With its file and line. Reads the files."""
        where = place(loaded.files, self.kind, self.name, self.key) if self.name else None
        return f"{self.text} ({where})" if where else self.text


class Opening(NamedTuple):
    """A rule or destination as far as ports and users go."""

    kind: Kind
    name: str
    ports: tuple[PortRange, ...]
    users: tuple[int, ...]


def quoted(text: str) -> str:
    """As TOML has it."""
    return json.dumps(text, ensure_ascii=False)


def widen(opening: Opening, port: PortRange | None, user: int | None) -> list[Remedy]:
    """What a rule lacks whose address it is."""
    kind, name, ports, users = opening
    found = []
    if port is not None and not any(port in covered for covered in ports):
        found.append(Remedy(f"add {quoted(str(port))} to ports of {kind} {name}", kind, name, "ports"))
    if user is not None and users and user not in users:
        found.append(Remedy(f"add {user} to users of {kind} {name}", kind, name, "users"))
    return found


def list_name(policy: Policy, name: Name, port: PortRange | None, wall: float) -> list[Remedy]:
    """For a name that no rule lists: the rules that list its neighbours, and one of its own."""
    text = to_text(name)
    try:
        parse_pattern(text)
    except ValueError:
        return [Remedy("nothing: no rule can list such a name")]
    found = [
        Remedy(
            f"add {quoted(text)} to names of rule {rule.name}, which lists others below {above}",
            "rule",
            rule.name,
            "names",
        )
        for above, rules in _neighbours(policy, name)
        for rule in rules
        if not rule.expired(wall)
    ]
    ports = f", ports = [{quoted(str(port))}]" if port is not None else ""
    found.append(
        Remedy(f'list it in a rule of its own: [[rule]] name = "NAME", names = [{quoted(text)}]{ports}')
    )
    return found


def _neighbours(policy: Policy, name: Name) -> Iterable[tuple[str, list[Rule]]]:
    """The nearest domain above the name, not open to everybody, below which rules list others."""
    parts = labels(name)
    for start in range(1, len(parts)):
        above = parts[start:]
        if covers_public_suffix(Pattern(above, apex=False, below=True)) is not None:
            return
        wire = b"".join(bytes((len(part),)) + part for part in above) + b"\0"
        near = {*policy.listed.match_some_below(wire), *policy.listed.match(wire)}
        if near:
            yield to_text(wire), [policy.rules[index] for index in sorted(near)][:2]
            return


def unexcept(rule: str, exception: str, where: str | None) -> Remedy:
    """For a name that its rule excepts."""
    place_text = f" ({where})" if where else ""
    return Remedy(f"take {quoted(exception)} out of except of rule {rule}{place_text}")


def renew(rule: str, day: str | None) -> Remedy:
    """For a rule that has expired."""
    return Remedy(f"set a later `expires` in rule {rule}, which expired on {day}", "rule", rule, "expires")


def add_type(rule: str, qtype: str) -> Remedy:
    """For a record type that the rule leaves out."""
    return Remedy(f"add {quoted(qtype)} to types of rule {rule}", "rule", rule, "types")


def destination(address: str, port: PortRange | None) -> Remedy:
    """For an address that no name will earn."""
    ports = f", ports = [{quoted(str(port))}]" if port is not None else ', ports = ["tcp/PORT"]'
    return Remedy(
        f'or open it without DNS: [[destination]] name = "NAME", addresses = [{quoted(address)}]{ports}'
    )
