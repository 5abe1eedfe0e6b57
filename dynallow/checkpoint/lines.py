"""The checkpoint's text: a line that says what it is, a checksum, and a line for each thing remembered.

    dynallow-checkpoint 1 <boot> <written, ms> <SHA-256 of all else>
    name <name>                                        too long for an element's comment
    claim <rule> <name> <address> <until, ms>          a lease's further earner
    derived <rule> <name> <root> <until, ms> <steps>
    answer <name> <type> <made, ms> <message>          as it could have come from an upstream

Names, addresses and messages are hexadecimal, times monotonic milliseconds of this boot. Pure: knows
the form; must not know files, clocks, or whether anything of it is true. Keeps: what cannot be read raises
ValueError, whatever the bytes are, and nothing here is longer than `SIZE_MAX`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

from dynallow.errors import WireError
from dynallow.policy.names import Name
from dynallow.wire.names import read_name

FORMAT: Final = 1
"""Counted up by whoever changes what a line means: another version's checkpoint is not read."""
SIZE_MAX: Final = 8 << 20
_MAGIC: Final = "dynallow-checkpoint"
_HEAD_MAX: Final = 256
_NO_BOOT: Final = "-"
_DIGITS_MAX: Final = 18
_ADDRESS_SIZES: Final = (4, 16)


class Header(NamedTuple):
    """When and in which boot it was written."""

    boot: str
    """Empty where the system does not tell."""
    written: float
    """Monotonic seconds."""


class Claim(NamedTuple):
    """A name that has earned a lease, too, or whose whole name the kernel does not hold."""

    rule: str
    name: Name
    address: bytes
    until: float


class Lineage(NamedTuple):
    """A derived name: under which rule, from which listed name, how long, by how many answers."""

    rule: str
    target: Name
    root: Name
    until: float
    steps: int


class Told(NamedTuple):
    """An answer that was cached: to which question, made when, and the message that says it."""

    name: Name
    qtype: int
    made: float
    message: bytes


def write_name(name: Name) -> str:
    """A name that no comment holds."""
    return f"name {name.hex()}\n"


def write_claim(claim: Claim) -> str:
    """See `Claim`."""
    return f"claim {claim.rule} {claim.name.hex()} {claim.address.hex()} {_ms(claim.until)}\n"


def write_lineage(derived: Lineage) -> str:
    """See `Lineage`."""
    rule, target, root, until, steps = derived
    return f"derived {rule} {target.hex()} {root.hex()} {_ms(until)} {steps}\n"


def write_told(told: Told) -> str:
    """See `Told`."""
    return f"answer {told.name.hex()} {told.qtype} {_ms(told.made)} {told.message.hex()}\n"


def seal(header: Header, lines: Iterable[str]) -> bytes:
    """The whole of a checkpoint; beyond `SIZE_MAX` what came last is left out."""
    room = SIZE_MAX - _HEAD_MAX
    kept: list[str] = []
    for line in lines:
        room -= len(line)
        if room < 0:
            break
        kept.append(line)
    body = "".join(kept).encode("ascii")
    head = f"{_MAGIC} {FORMAT} {header.boot or _NO_BOOT} {_ms(header.written)}"
    return f"{head} {_digest(head, body)}\n".encode("ascii") + body


def unseal(data: bytes) -> tuple[Header, dict[str, list[str]]]:
    """When it was written, and by kind what its lines say. Raises ValueError: torn, or another's."""
    head, end, body = data.partition(b"\n")
    words = head.decode("ascii").split(" ")
    if not end or len(words) != 5 or words[0] != _MAGIC:
        raise ValueError("it is no checkpoint")
    if words[1] != str(FORMAT):
        raise ValueError("another version has written it")
    if words[4] != _digest(" ".join(words[:4]), body):
        raise ValueError("it is damaged")
    found: dict[str, list[str]] = {"name": [], "claim": [], "derived": [], "answer": []}
    for line in body.decode("ascii").splitlines():
        kind, _, rest = line.partition(" ")
        if kind in found:
            found[kind].append(rest)
    return Header("" if words[2] == _NO_BOOT else words[2], _seconds(words[3])), found


def _digest(head: str, body: bytes) -> str:
    return hashlib.sha256(head.encode("ascii") + b"\n" + body).hexdigest()


def read_name_line(line: str) -> Name:
    """Raises ValueError."""
    return _name(line)


def read_claim(line: str) -> Claim:
    """Raises ValueError."""
    rule, name, address, until = _words(line, 4)
    packed = bytes.fromhex(address)
    if len(packed) not in _ADDRESS_SIZES:
        raise ValueError("not an address")
    return Claim(rule, _name(name), packed, _seconds(until))


def read_lineage(line: str) -> Lineage:
    """Raises ValueError."""
    rule, target, root, until, steps = _words(line, 5)
    return Lineage(rule, _name(target), _name(root), _seconds(until), _number(steps))


def read_told(line: str) -> Told:
    """Raises ValueError."""
    name, qtype, made, message = _words(line, 4)
    return Told(_name(name), _number(qtype), _seconds(made), bytes.fromhex(message))


def _words(line: str, count: int) -> list[str]:
    words = line.split(" ")
    if len(words) != count:
        raise ValueError(f"{len(words)} words")
    return words


def _name(text: str) -> Name:
    """A name as all others are: uncompressed, in lower case, whole."""
    raw = bytes.fromhex(text)
    try:
        name, end = read_name(raw, 0, {})
    except (IndexError, WireError) as error:
        raise ValueError("not a name") from error
    if end != len(raw) or name != raw:
        raise ValueError("not a name")
    return name


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise ValueError("not a number")
    return int(text)


def _ms(seconds: float) -> int:
    """Whole milliseconds, rounded down: what is remembered ends no later than it did."""
    return max(int(seconds * 1000), 0)


def _seconds(text: str) -> float:
    return _number(text) / 1000
