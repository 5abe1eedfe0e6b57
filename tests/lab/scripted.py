"""A name server whose behaviour a test writes as a function.

Knows how to start scripted_process.py and to ask it what it saw. The
scenario runs in that process, inside the namespace, so it is named
`module:function`; a function object is turned into that name.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from tests.lab.dnsbytes import Query
from tests.lab.namespace import Namespace
from tests.lab.scenarios import Reaction
from tests.lab.waiting import LabError, wait_until

Scenario = Callable[[Query, Mapping[str, Any]], Reaction]
_numbers = count(1)


class ScriptedServer:
    """Port 53 (UDP and TCP) of `addresses`, played by `scenario`."""

    def __init__(
        self,
        place: Namespace,
        scenario: Scenario | str,
        addresses: Sequence[str],
        knobs: Mapping[str, object],
        port: int = 53,
    ) -> None:
        self.addresses = tuple(addresses)
        directory = place.directory / f"scripted-{next(_numbers)}"
        directory.mkdir()
        self._control = directory / "control"
        self._log = directory / "log"
        config = directory / "config.json"
        config.write_text(
            json.dumps(
                {
                    "scenario": _dotted(scenario),
                    "addresses": self.addresses,
                    "port": port,
                    "knobs": dict(knobs),
                    "control": str(self._control),
                }
            )
        )
        with self._log.open("w") as log:
            self.process = place.popen(
                [place.python_path, "-m", "tests.lab.scripted_process", str(config)], stdout=log, stderr=log
            )

    def wait_ready(self) -> None:
        """Return once it serves; its control socket opens last."""
        wait_until(self._is_up, "scripted name server")

    def queries(self, name: str | None = None, rtype: str | None = None, transport: str | None = None) -> int:
        """How many questions came, of those that match what is given."""
        return sum(
            number
            for (asked, kind, way), number in self.counts().items()
            if name in (None, asked) and rtype in (None, kind) and transport in (None, way)
        )

    def counts(self) -> Counter[tuple[str, str, str]]:
        """(name, type, "udp" or "tcp") → questions so far."""
        return Counter({(name, kind, way): number for name, kind, way, number in self._tell({})})

    def reset(self) -> None:
        """Count from zero again."""
        self._tell({"reset": True})

    def turn(self, **knobs: object) -> None:
        """Change the scenario's knobs; the next question sees them."""
        self._tell({"knobs": knobs})

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def _is_up(self) -> bool:
        if self.process.poll() is not None:
            raise LabError(f"scripted name server ended: {self._log.read_text()}")
        try:
            self._tell({})
        except OSError:
            return False
        return True

    def _tell(self, request: Mapping[str, object]) -> list[list[Any]]:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(30)
            control.connect(str(self._control))
            with control.makefile("rw") as stream:
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                line = stream.readline()
        if not line:
            raise LabError(f"scripted name server: {self._log.read_text()}")
        told: list[list[Any]] = json.loads(line)
        return told


def _dotted(scenario: Scenario | str) -> str:
    if isinstance(scenario, str):
        return scenario
    where: str = scenario.__qualname__
    if "." in where or "<" in where:
        raise ValueError(f"expected a module-level function, got {where}")
    return f"{scenario.__module__}:{where}"
