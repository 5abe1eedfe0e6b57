"""The real agent in the lab's host, from the test's side.

Knows `dynallow run`, its signals, its control socket and its exit. Must not
import dynallow: what is tested is the program, not its modules.
"""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from tests.lab.namespace import Namespace
from tests.lab.standing import clock
from tests.lab.waiting import LabError, in_time, wait_until

STOP_WITHIN_S = 1.0  # a promise, for tests that have the machine to themselves
_ENDED_WITHIN_S = 30.0
READY_WITHIN_S = 120.0  # 0.3 on a machine that has nothing else to do
_LISTEN = ["127.0.0.1:53", "[::1]:53"]  # DESIGN section 7
_CAPABILITIES = "+net_admin,+net_bind_service"
SHARED = ("--without", "ownership")
"""Options of an agent whose table others can change, as on a kernel before 6.9."""
# As systemd does it (sd_listen_fds(3)): descriptors from 3 on, and who they are for.
_HAND_OVER = """
import fcntl, os, sys
given = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 200) for number in sys.argv[1].split(",")]
os.closerange(3, 200)
for place, number in enumerate(given):
    os.dup2(number, 3 + place)
    os.close(number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(given))}
os.execvp(sys.argv[2], sys.argv[2:])
"""
OPENED_LATER = 8
"""Descriptors that an agent opens when it first needs them: its history (three files), netlink sockets."""
_numbers = count(1)


class Agent:
    """`dynallow run` with a settings file of its own, and `dynallow VERB` against it."""

    def __init__(
        self,
        host: Namespace,
        settings: str,
        *,
        user: int | None = None,
        env: Mapping[str, str] | None = None,
        sockets: Sequence[socket.socket] = (),
        capabilities: str = _CAPABILITIES,
        options: Sequence[str] = (),
    ) -> None:
        self.host = host
        self.user = user
        self._sockets = sockets
        self._capabilities = capabilities
        self._options = options
        self._env = env
        self.directory = host.directory / f"agent-{next(_numbers)}"
        self.directory.mkdir()
        self.directory.chmod(0o777)  # the control socket is made here, by whoever the agent is
        self.config = self.directory / "dynallow.toml"
        self.socket = self.directory / "control.sock"
        self._log = self.directory / "log"
        self.write_settings(settings)
        self.process = self._start()

    def write_settings(self, settings: str) -> None:
        """Replace the settings file; a control socket is named in it unless it names one itself."""
        self.config.write_text(settings + self._control_section(settings))

    def _control_section(self, settings: str) -> str:
        try:
            control = tomllib.loads(settings).get("control", {})
        except tomllib.TOMLDecodeError:  # a test of broken settings
            return ""
        if "socket" in control:
            self.socket = Path(control["socket"])
            return ""
        if control:  # the table is there already: tables merge with those of conf.d
            (self.directory / "conf.d").mkdir(exist_ok=True)
            extra = f'[control]\nsocket = "{self.socket}"\n'
            (self.directory / "conf.d/lab.toml").write_text(extra)
            return ""
        return f'\n[control]\nsocket = "{self.socket}"\n'

    def _start(self) -> subprocess.Popen[str]:
        argv = [self.host.python_path, "-m", "dynallow", "run", "--config", str(self.config)]
        argv += self._options
        if self.user is not None:
            argv = [
                "setpriv",
                f"--reuid={self.user}",
                f"--regid={self.user}",
                "--clear-groups",
                f"--inh-caps={self._capabilities}",
                f"--ambient-caps={self._capabilities}",
                "--",
                *argv,
            ]
        descriptors = [sock.fileno() for sock in self._sockets]
        if descriptors:
            argv = [self.host.python_path, "-ISc", _HAND_OVER, ",".join(map(str, descriptors)), *argv]
        with self._log.open("a") as log:
            return self.host.popen(argv, stdout=log, stderr=log, env=self._env, pass_fds=descriptors)

    # -- life ---------------------------------------------------------------

    def wait_ready(self, within_s: float = READY_WITHIN_S) -> None:
        """Return once the control socket answers; the agent opens it when all else is up."""
        wait_until(self._is_ready, "the agent's control socket", within_s)

    def stop(self, within_s: float = _ENDED_WITHIN_S) -> int:
        """SIGTERM; its exit code. Fails unless it ends in time."""
        began = clock()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(_ENDED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM did not end the agent:\n{self.log}") from None
        in_time(clock() - began, within_s, "the end after SIGTERM")
        return code

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(60)

    def start(self, *, wait: bool = True) -> None:
        """Start again with the same settings file, after `stop` or `kill`."""
        if self.process.poll() is None:
            raise LabError("the agent still runs")
        self.process = self._start()
        if wait:
            self.wait_ready()

    def reload(self, settings: str | None = None) -> subprocess.CompletedProcess[str]:
        """`dynallow reload`, with other settings if given; returns it whatever its exit code."""
        if settings is not None:
            self.write_settings(settings)
        return self.cli("reload")

    # -- looking ------------------------------------------------------------

    @property
    def log(self) -> str:
        """What it has written to stderr and stdout, of all its starts."""
        return self._log.read_text()

    @property
    def listens_on(self) -> tuple[str, ...]:
        """The addresses on port 53 that a resolv.conf may name."""
        try:
            listen = tomllib.loads(self.config.read_text()).get("resolver", {}).get("listen", _LISTEN)
        except tomllib.TOMLDecodeError:
            return ()
        found = (endpoint.rpartition(":") for endpoint in listen)
        return tuple(address.strip("[]") for address, _, port in found if port == "53")

    def cli(
        self, *words: str, stdin: str | None = None, user: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`dynallow WORDS` on the host against this agent; returns it whatever its exit code."""
        return self.host.run(
            [self.host.python_path, "-m", "dynallow", *words],
            check=False,
            user=user,
            stdin=stdin,
            env={**(self._env or {}), "DYNALLOW_SOCKET": str(self.socket), "COLUMNS": "160"},
        )

    def cli_json(self, *words: str) -> Any:
        """What `dynallow WORDS --json` prints."""
        result = self.cli(*words, "--json")
        try:
            return json.loads(result.stdout)
        except json.JSONDecodeError:
            raise AssertionError(f"no JSON from {words}: {result}") from None

    def get(self, path: str = "/v1/status", timeout: float = 60.0) -> tuple[int, str]:
        """Status code and body of a GET on the control socket."""
        connection = UnixConnection(str(self.socket), timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def rss_bytes(self) -> int:
        """Resident memory right now."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * 4096

    def cpu_s(self) -> float:
        """CPU time used so far, user and system; read from schedstat for its nanoseconds."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise LabError(f"the agent ended with {self.process.returncode}:\n{self.log}")
        try:
            return self.get()[0] == 200
        except (OSError, http.client.HTTPException):
            return False


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
