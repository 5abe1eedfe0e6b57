"""The agent as on a kernel that cannot refresh an element in place (before about 6.12)."""

from __future__ import annotations

import subprocess

from tests.lab.agent import Agent
from tests.lab.lab import Lab


class OldKernelAgent(Agent):
    """`dynallow run --without in-place-refresh`."""

    def _start(self) -> subprocess.Popen[str]:
        argv = ["-m", "dynallow", "run", "--without", "in-place-refresh", "--config", str(self.config)]
        with self._log.open("a") as log:
            return self.host.popen([self.host.python_path, *argv], stdout=log, stderr=log)


def start_agent(lab: Lab, settings: str, *, in_place: bool) -> Agent:
    """The agent, ready to answer, with or without refresh in place; the host's resolver."""
    if in_place:
        return lab.agent(settings)
    agent = OldKernelAgent(lab.host, settings)
    lab.cleanup(agent.kill)
    agent.wait_ready()
    lab.host.resolv_conf(*agent.listens_on)
    return agent


def leave(lab: Lab, agent: Agent) -> None:
    """Stop the agent and take its table away, so that the next one starts on an empty kernel."""
    agent.stop()
    lab.host.run(["nft", "delete", "table", "inet", "dynallow"])
