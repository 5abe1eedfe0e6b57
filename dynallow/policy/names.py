"""DNS names: text at the edges, lower-case wire form everywhere inside.

Knows the two forms of a name and IDNA. Must not know patterns or rules.
Keeps: a `Name` is uncompressed, ASCII-lower-cased, ends in the root's zero
byte and holds at most 255 bytes, so that it can be a key, and a slice at a
label's offset is again a name (its ancestor). A label that holds a dot byte
can therefore never pass for two labels.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache
from ipaddress import ip_network

Name = bytes

ROOT: Name = b"\0"
MAX_LABEL = 63  # RFC 1035 section 2.3.4
MAX_WIRE = 255  # … which is 253 characters of text without the trailing dot

# The other dots of UTS 46 section 4: ideographic, fullwidth, halfwidth.
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
# `_` is no host name character (RFC 952) but is common in names that are asked for.
_PLAIN = re.compile(rb"[a-z0-9_-]+")
_GLOB = re.compile(rb"[a-z0-9_*-]+")
_PORT = re.compile(r".*[^:]:\d{1,5}")
_DECIMAL = re.compile("[0-9]{3}")
_ADDRESS_LIKE = re.compile(r"[0-9A-Fa-f:./\[\]]+")
_UNESCAPED = frozenset(string.ascii_letters.encode() + string.digits.encode() + b"_-")
_PLAIN_BYTES = string.ascii_lowercase.encode() + string.digits.encode() + b"_-"


def parse_name(text: str) -> Name:
    r"""A name from text: IDNA to A-labels, case and one trailing dot ignored.

    Reads RFC 1035 escapes (`\.`, `\046`), so that what `to_text` printed can be given back.
    Raises ValueError, "expected …, got …".
    """
    bare = text.strip()
    if bare == ".":
        return ROOT
    if "\\" in bare:
        return to_wire(_unescaped_labels(bare), text)
    reject_non_name(bare)
    return to_wire(encode_labels(bare, text), text)


def to_text(name: Name) -> str:
    """The name as printed: no trailing dot, "." for the root, odd bytes escaped (RFC 1035 section 5.1)."""
    # Each fresh lease and each denial prints its own. Most are plain, and most have a parent in common.
    size = name[0]
    label = name[1 : size + 1]
    if label.isalnum() or (size and not label.translate(None, _PLAIN_BYTES)):
        return label.decode() + _ending(name[size + 1 :])
    return _escaped(name) or "."


@lru_cache(maxsize=1024)
def _ending(parent: Name) -> str:
    """What a parent adds to the text of its children."""
    return "." + _escaped(parent) if parent != ROOT else ""


def _escaped(name: Name) -> str:
    return ".".join(["".join(map(_ESCAPED.__getitem__, label)) for label in labels(name)])


def labels(name: Name) -> tuple[bytes, ...]:
    """The labels from left to right, without the root's."""
    parts = []
    offset = 0
    while size := name[offset]:
        parts.append(name[offset + 1 : offset + 1 + size])
        offset += size + 1
    return tuple(parts)


def to_wire(parts: tuple[bytes, ...], text: str) -> Name:
    """The wire form of `parts`; `text` is what the error quotes."""
    wire = b"".join([bytes((len(part),)) + part for part in parts]) + ROOT
    if len(wire) > MAX_WIRE:
        raise ValueError(f'expected a name of at most 253 characters, got {len(wire) - 2} in "{text}"')
    return wire


def encode_labels(bare: str, text: str, *, wildcards: bool = False) -> tuple[bytes, ...]:
    """`bare` split and checked label by label; `text` is what the error quotes."""
    if not bare.isascii():
        bare = ".".join(_DOTS.split(bare))
    return tuple([_encode_label(label, text, wildcards) for label in bare.removesuffix(".").split(".")])


def reject_non_name(text: str) -> None:
    """Say clearly what else than a name was given: nothing, a URL, an address, a port."""
    if not text:
        raise ValueError('expected a name such as "deb.debian.org", got ""')
    if "://" in text:
        raise ValueError(f'expected a host name alone, got the URL "{text}"')
    if _ADDRESS_LIKE.fullmatch(text) and _is_network(text.strip("[]")):
        raise ValueError(f'expected a name, got the address "{text}" (addresses go under [[destination]])')
    if "/" in text:
        raise ValueError(f'expected a host name without a path, got "{text}"')
    if _PORT.fullmatch(text):
        raise ValueError(f'expected a name without a port, got "{text}" (ports go into ports)')


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _encode_label(label: str, text: str, wildcards: bool) -> bytes:
    if not label:
        raise ValueError(f'expected a name without empty labels, got "{text}"')
    encoded = label.lower().encode() if label.isascii() else _to_a_label(label, text)
    if len(encoded) > MAX_LABEL:
        raise ValueError(f'expected labels of at most 63 characters, got {len(encoded)} in "{text}"')
    if (_GLOB if wildcards else _PLAIN).fullmatch(encoded) is None:
        raise ValueError(f'expected letters, digits, "-" and "_" in each label, got "{text}"')
    return encoded


def _to_a_label(label: str, text: str) -> bytes:
    from dns import name as dns_name  # 30 ms to import, and hardly any list holds a U-label

    if "*" in label:
        raise ValueError(f'expected a wildcard label in ASCII (its A-label begins "xn--"), got "{text}"')
    try:
        return dns_name.IDNA_2008_UTS_46.encode(label).lower()
    except (dns_name.IDNAException, dns_name.LabelTooLong) as error:
        raise ValueError(f'expected a valid internationalized name, got "{text}"') from error


def _unescaped_labels(text: str) -> tuple[bytes, ...]:
    parts, label, offset = [], bytearray(), 0
    while offset < len(text):
        char = text[offset]
        offset += 1
        if char == ".":
            parts.append(bytes(label).lower())
            label.clear()
            continue
        value = ord(char)
        if char == "\\":
            digits = _DECIMAL.match(text, offset)
            escaped = digits[0] if digits else text[offset : offset + 1]
            value = int(escaped) if digits else ord(escaped or "\uffff")
            offset += len(escaped)
        if value > 255 or (char != "\\" and value > 126):
            raise ValueError(f'expected RFC 1035 escapes ("\\046" or "\\."), got "{text}"')
        label.append(value)
    if label:
        parts.append(bytes(label).lower())
    if any(not 0 < len(part) <= MAX_LABEL for part in parts):
        raise ValueError(f'expected labels of 1 to 63 characters, got "{text}"')
    return tuple(parts)


def _escape(byte: int) -> str:
    if byte in _UNESCAPED:
        return chr(byte)
    return f"\\{chr(byte)}" if 0x21 <= byte <= 0x7E else f"\\{byte:03d}"


_ESCAPED = tuple(_escape(byte) for byte in range(256))
