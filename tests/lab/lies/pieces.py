"""What the lies are made of, and the table that they enter themselves into. Pure.

An honest address belongs to one name and may be told when the message that
carries it is beyond reproach; evil ones stand only where no resolver may take
them from. Beside each lie stands what a client may be told of it:

    GOOD      exactly the name's honest address
    NOTHING   no address at all
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.lab import dnsbytes as d
from tests.lab.dnsbytes import Query
from tests.lab.scenarios import Reaction, Send, fresh_address

GOOD, NOTHING = "good", "nothing"
PLAIN = d.QR | d.RD | d.RA
EVIL = {d.A: "198.51.100.66", d.AAAA: "2001:db8:bad::66"}
EVIL_PREFIXES = ("198.51.100.", "2001:db8:bad:")
EMPTY = Send(b"", framed=False, close=True)  # TCP: close without a word
Play = Callable[[Query], Reaction]


class Lie(NamedTuple):
    """What the server does, and what a client may be told of it."""

    play: Play
    told: str


LIES: dict[str, Lie] = {}


def tell(label: str, told: str, play: Play) -> None:
    """Enter a lie under the label that asks for it."""
    if label in LIES:
        raise ValueError(f"two lies are called {label}")
    LIES[label] = Lie(play, told)


def tells(told: str) -> Callable[[Play], Play]:
    """Enter the function under its own name."""

    def enter(play: Play) -> Play:
        tell(play.__name__.replace("_", "-"), told, play)
        return play

    return enter


def honest_address(name: str, rtype: int) -> str:
    """The address that the name really has: the number at the end of its first label says which."""
    return fresh_address(number_of(name), 4 if rtype == d.A else 6)


def number_of(name: str) -> int:
    return int(name.split(".", 1)[0].rsplit("-", 1)[1])


def right(query: Query, owner: bytes = d.ASKED, ttl: int = 300) -> bytes:
    """The honest record."""
    return d.address(honest_address(query.text, query.qtype), owner=owner, ttl=ttl)


def evil(query: Query, owner: bytes = d.ASKED) -> bytes:
    """A record that must never count, of the asked type."""
    return d.address(EVIL[query.qtype], owner=owner)


def rdata(query: Query) -> bytes:
    """The evil record's data."""
    return evil(query)[12:]


def good(query: Query) -> bytes:
    """The honest answer."""
    return d.reply(query, [right(query)])


def over_tcp(query: Query, udp: Reaction, tcp: Reaction) -> Reaction:
    """One thing over UDP, another over TCP."""
    return tcp if query.transport == "tcp" else udp


def elsewhere(text: str = "elsewhere.example.net") -> bytes:
    """A name that nobody asked for."""
    return d.name(text)


def at_record(query: Query) -> int:
    """Where the first record of a reply begins."""
    return 12 + len(query.question)


def truncated(query: Query, answer: Sequence[bytes] = ()) -> bytes:
    """TC=1, with or without data."""
    return d.reply(query, answer, flags=PLAIN | d.TC)
