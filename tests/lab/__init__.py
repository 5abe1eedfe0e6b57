"""The lab: throw-away namespaces with name servers, web servers, a sniffer and the real agent.

    with Lab() as lab:
        lab.serve(Zone("example.org").a("www", "192.0.2.10"))
        agent = lab.agent(SETTINGS)
        wire = lab.sniffer()
        lab.host.run(["curl", "http://www.example.org/"])
        assert not wire.from_host()

Nothing of the machine is touched, and nothing is left behind.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.agent import Agent
    from tests.lab.lab import Lab
    from tests.lab.namespace import NOBODY, CommandError, Namespace
    from tests.lab.packets import Packet
    from tests.lab.scripted import ScriptedServer
    from tests.lab.sniffer import Sniffer
    from tests.lab.waiting import LabError, wait_until
    from tests.lab.zone import Zone

__all__ = [
    "NOBODY",
    "Agent",
    "CommandError",
    "Lab",
    "LabError",
    "Namespace",
    "Packet",
    "ScriptedServer",
    "Sniffer",
    "Zone",
    "wait_until",
]
_MODULES = {
    "Agent": "agent",
    "Lab": "lab",
    "Packet": "packets",
    "ScriptedServer": "scripted",
    "Sniffer": "sniffer",
    "LabError": "waiting",
    "wait_until": "waiting",
    "Zone": "zone",
}


def __getattr__(name: str) -> object:
    """On first use: the lab's server processes import this package too, and must start in no time."""
    if name not in __all__:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"tests.lab.{_MODULES.get(name, 'namespace')}"), name)
