"""The real agent between whose sockets and the kernel a fault can be put, from the test's side.

Knows `faulty_process.py` and its control socket. Must not import dynallow.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections import Counter
from collections.abc import Sequence

from tests.lab.agent import Agent
from tests.lab.lab import Lab
from tests.lab.waiting import wait_until


class FaultyAgent(Agent):
    """`dynallow run` behind `faulty_process.py`; without a fault it is the agent as it is."""

    def _start(self) -> subprocess.Popen[str]:
        self._control = self.directory / "faults.sock"
        self._control.unlink(missing_ok=True)
        argv = ["-m", "tests.lab.faulty_process", str(self._control), "run", "--config", str(self.config)]
        argv += self._options
        with self._log.open("a") as log:
            return self.host.popen([self.host.python_path, *argv], stdout=log, stderr=log, env=self._env)

    def fault(self, kind: str, times: int = 1_000_000, *, number: int = 0, delay_s: float = 0.0) -> None:
        """From now on, and so often, this fault instead of any other."""
        self._tell(kind=kind, number=number, delay_s=delay_s)
        self._tell(times=times)

    def mend(self) -> None:
        """No fault any more."""
        self._tell(times=0)

    def set_clock(self, ahead_s: float) -> None:
        """Have the wall clock of this agent go so much before the machine's."""
        self._tell(clock_s=ahead_s)

    def privileged(self, on: bool) -> None:
        """Take CAP_NET_ADMIN away from its main thread, or give it back; done when this returns."""
        before = self.struck["privileged"]
        self._tell(privileged=on)
        wait_until(lambda: self.struck["privileged"] > before, "the capability")

    @property
    def struck(self) -> Counter[str]:
        """How often each kind has struck since the agent's start."""
        return Counter(self._tell())

    def _tell(self, **wanted: object) -> dict[str, int]:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(30)
            control.connect(str(self._control))
            with control.makefile("rw") as stream:
                stream.write(json.dumps(wanted) + "\n")
                stream.flush()
                told: dict[str, int] = json.loads(stream.readline())
        return told


def faulty_agent(lab: Lab, settings: str, options: Sequence[str] = ()) -> FaultyAgent:
    """It, ready to answer; the host's resolver. It ends with the lab at the latest."""
    agent = FaultyAgent(lab.host, settings, options=options)
    lab.cleanup(agent.kill)
    try:
        agent.wait_ready()
    except BaseException:
        agent.kill()
        raise
    lab.host.resolv_conf(*agent.listens_on)
    return agent


def lowest_free(pid: int) -> int:
    """The lowest number that no descriptor of the process has: as its limit, it leaves none to be had."""
    taken = {int(number) for number in os.listdir(f"/proc/{pid}/fd")}
    return next(number for number in range(len(taken) + 1) if number not in taken)
