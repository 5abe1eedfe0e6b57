"""Name servers that give DNS cookies, or do not keep the case of a question. Pure.

Behaviours as in scenarios.py. What they answer is `fresh`'s; knobs besides its own:
`cookies` (gives them), `case` ("kept", "lower"; "udp": lower over UDP alone), `delay_s`.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2s
from typing import Any

from tests.lab.dnsbytes import Query
from tests.lab.scenarios import Send, fresh

COOKIE = 10
_OPT_SIZE = 11
_CLIENT = 8


def guarded(query: Query, knobs: Mapping[str, Any]) -> Send:
    """The scenario."""
    reply = fresh(query, knobs)
    case = knobs.get("case", "kept")
    if case == "lower" or (case == "udp" and query.transport == "udp"):
        end = 12 + len(query.name)
        reply = reply[:12] + reply[12:end].lower() + reply[end:]
    sent = cookie_of(query.data)
    if knobs.get("cookies") and len(sent) >= _CLIENT:
        client = sent[:_CLIENT]
        whole = client + blake2s(client + query.client[0].encode(), digest_size=16).digest()
        option = COOKIE.to_bytes(2, "big") + len(whole).to_bytes(2, "big") + whole
        opt = b"\0\0\x29\x04\xd0\0\0\0\0" + len(option).to_bytes(2, "big") + option
        reply = reply[:10] + b"\0\1" + reply[12:] + opt
    return Send(reply, delay_s=float(knobs.get("delay_s", 0.0)))


def cookie_of(message: bytes) -> bytes:
    """What stands in the COOKIE option of a question whose OPT has at most this one."""
    pos = 12
    while message[pos]:
        pos += message[pos] + 1
    pos += 5 + _OPT_SIZE
    if message[pos : pos + 2] != COOKIE.to_bytes(2, "big"):
        return b""
    return message[pos + 4 : pos + 4 + int.from_bytes(message[pos + 2 : pos + 4], "big")]
