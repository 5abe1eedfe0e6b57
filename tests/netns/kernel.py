"""A bare namespace for tests of `firewall/` against the real kernel, in this very process.

Knows Namespace.entered: sockets and programs started inside belong to it. Must not know the agent.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.lab import elements
from tests.lab.namespace import Namespace
from tests.lab.needs import namespaces_refused, require

TOOLS = ("nft", "unshare", "nsenter")


def nft(*words: str, stdin: str | None = None) -> str:
    """`nft WORDS` in whatever network the calling thread is in."""
    return subprocess.run(
        ["nft", *words], input=stdin, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def listed() -> str:
    """The table as nft lists it, without what changes by itself."""
    return nft("-s", "list", "table", "inet", "dynallow")


def members(name: str) -> dict[bytes, elements.Element]:
    """Packed address → what nft says of the set's element."""
    found = elements.parse(nft("list", "set", "inet", "dynallow", name))
    return {ip_address(address).packed: element for address, element in found.items()}


def left_s(name: str, address: bytes) -> float:
    """How long the element still lives."""
    expires_s = members(name)[address].expires_s
    assert expires_s is not None
    return expires_s


class Since:
    """From now on: what was put into a set after this, and for how long, however long it took to look."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def passed_s(self) -> float:
        return time.monotonic() - self._began

    def lasts(self, name: str, address: bytes, seconds: float, rounding_s: float = 0.0) -> bool:
        """Whether the element was to last so long; `rounding_s` is how much longer it may."""
        found_s = left_s(name, address)
        return seconds - self.passed_s - 0.02 < found_s <= seconds + rounding_s


def json_members(name: str) -> list[dict[str, Any]]:
    """The set's elements as `nft -j` has them."""
    for item in json.loads(nft("-j", "list", "set", "inet", "dynallow", name))["nftables"]:
        if "set" in item:
            found = item["set"].get("elem", [])
            return [one["elem"] if isinstance(one, dict) and "elem" in one else {"val": one} for one in found]
    raise AssertionError(f"no set {name}")


@contextmanager
def bare_network(directory: Path) -> Iterator[Namespace]:
    """A namespace without any address; the calling thread is inside."""
    require(*TOOLS)
    if refused := namespaces_refused():
        pytest.skip(f"no network namespaces: {refused}")
    place = Namespace("bare", directory / "bare")
    try:
        place.wait_ready()
        with place.entered():
            yield place
    finally:
        place.close()


def flush() -> None:
    """Nothing of a former test."""
    nft("flush", "ruleset")
