"""`dynallow run` that kills itself (SIGKILL) where a test says: a program, and the agent that runs it.

    python -m tests.lab.dying POINT ARMED run --config FILE

It dies when it comes to POINT while the file ARMED is there. Must know the product's inside, where the
points are; kill -9 at a random moment hardly ever meets one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.agent import Agent
from tests.lab.lab import Lab

POINTS = {
    "half of a checkpoint is written": "dynallow.checkpoint.file:write",
    "the kernel has acknowledged, the ledger does not know": "dynallow.lease.ledger:Ledger.commit",
    "the new rules are loaded, nothing is revoked yet": "dynallow.inforce:InForce._revoke",
    "the checkpoint is withdrawn, nothing is revoked yet": "dynallow.firewall.leaser:Leaser.revoke",
    "the kernel has revoked, the ledger does not know": "dynallow.lease.ledger:Ledger.commit_revocation",
}


class DyingAgent(Agent):
    """Dies at a point once it is armed; disarmed it is the agent as it is."""

    point: str

    @property
    def armed(self) -> Path:
        """The file that arms it."""
        return self.directory / "armed"

    def _start(self) -> subprocess.Popen[str]:
        argv = ["-m", "tests.lab.dying", self.point, str(self.armed), "run", "--config", str(self.config)]
        with self._log.open("a") as log:
            return self.host.popen([self.host.python_path, *argv], stdout=log, stderr=log)


def start_dying(lab: Lab, settings: str, point: str) -> DyingAgent:
    """Ready to answer, and the host's resolver."""
    kind = type("Dying", (DyingAgent,), {"point": point})
    agent: DyingAgent = kind(lab.host, settings)
    lab.cleanup(agent.kill)
    agent.wait_ready()
    lab.host.resolv_conf(*agent.listens_on)
    return agent


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _deadly(point: str, armed: Path, original: Callable[..., Any]) -> Callable[..., Any]:
    def write_half(path: Path, data: bytes) -> Any:
        if armed.exists():
            path.with_name(f".{path.name}.new").write_bytes(data[: len(data) // 2])
            _die()
        return original(path, data)

    def called(*arguments: Any, **named: Any) -> Any:
        if armed.exists():
            _die()
        return original(*arguments, **named)

    return write_half if point.startswith("half") else called


def main() -> None:
    point, armed, *words = sys.argv[1:]
    module, _, path = POINTS[point].partition(":")
    holder: Any = __import__(module, fromlist=["x"])
    *parents, name = path.split(".")
    for parent in parents:
        holder = getattr(holder, parent)
    setattr(holder, name, _deadly(point, Path(armed), getattr(holder, name)))
    sys.argv = ["dynallow", *words]
    from dynallow.cli.main import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
