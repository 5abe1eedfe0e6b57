"""The lab: a host, a wire, an internet and a network elsewhere, in throw-away namespaces.

Knows every part and puts them together. Must not know what a test wants to
prove. Invariant: after `close`, or after the death of this process by any
means, no process, namespace, mount or file of the lab is left (files: except
after kill -9, where one directory below /tmp stays).
"""

from __future__ import annotations

import atexit
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from tests.lab import topology
from tests.lab.agent import Agent
from tests.lab.knot import KnotServer
from tests.lab.namespace import Namespace
from tests.lab.reachable import make_reachable
from tests.lab.scripted import Scenario, ScriptedServer
from tests.lab.sniffer import Sniffer
from tests.lab.web import Authority, WebServer
from tests.lab.zone import Zone

_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"
_HOSTS = "127.0.0.1 localhost\n::1 localhost\n"
_UNIX_PATH_ROOM = 60  # of the 107 bytes that the path of a unix socket may have
open_labs: list[Lab] = []
"""Those of this process that are not closed: what they say belongs to whatever fails now."""


class Lab:
    """One lab. Use as a context manager; `with Lab() as lab: lab.host.run(["dig", …])`."""

    def __init__(self, *, web: bool = True) -> None:
        """`web=False` leaves out the web servers, for tests of DNS alone."""
        self._stack = ExitStack()
        atexit.register(self.close)  # a script that forgets, or ends by an exception
        try:
            self.directory = self._make_directory()
            open_labs.append(self)
            self._stack.callback(open_labs.remove, self)
            self.host, self.router, self.internet, self.elsewhere = self._make_namespaces()
            topology.build(self.host, self.router, self.internet, self.elsewhere)
            self._furnish_host()
            self.authority = Authority(self.directory / "ca")
            if web:
                servers = [WebServer(place, self.authority) for place in (self.internet, self.elsewhere)]
                for server in servers:
                    self._stack.callback(server.stop)
                    server.wait_ready()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take everything down; a second call does nothing."""
        atexit.unregister(self.close)
        self._stack.close()

    # -- what a test starts -----------------------------------------------

    def serve(
        self,
        *zones: Zone,
        addresses: Sequence[str] = (*topology.NAME_SERVER, *topology.OTHER_NAME_SERVER),
        place: Namespace | None = None,
        cookies: bool = False,
    ) -> KnotServer:
        """A real name server (knotd) for `zones`, answering when this returns."""
        server = KnotServer(place or self.internet, zones, addresses, cookies=cookies)
        self._stack.callback(server.stop)
        server.wait_ready()
        return server

    def scripted(
        self,
        scenario: Scenario | str,
        *,
        addresses: Sequence[str] = topology.SCRIPTED_SERVER,
        place: Namespace | None = None,
        **knobs: object,
    ) -> ScriptedServer:
        """A name server that does what `scenario`, a module-level function, says; see scripted.py."""
        server = ScriptedServer(place or self.internet, scenario, addresses, knobs)
        self._stack.callback(server.stop)
        server.wait_ready()
        return server

    def sniffer(self) -> Sniffer:
        """A sniffer on the host's wire, already capturing; `stop()` it to see what passed."""
        sniffer = Sniffer(self.router, topology.WIRE, self.host, "eth0")
        self._stack.callback(sniffer.abandon)
        return sniffer

    def agent(
        self,
        settings: str,
        *,
        user: int | None = None,
        resolv_conf: bool = True,
        wait: bool = True,
        env: Mapping[str, str] | None = None,
        sockets: Sequence[socket.socket] = (),
        capabilities: str = "+net_admin,+net_bind_service",
        options: Sequence[str] = (),
    ) -> Agent:
        """The real agent on the host with these settings (TOML), ready to answer.

        `user` runs it as that uid with CAP_NET_ADMIN and CAP_NET_BIND_SERVICE only, or with other
        `capabilities`; `env` is added to its environment; `sockets` are handed over as systemd does;
        `options` are more arguments of `dynallow run`.
        """
        agent = Agent(
            self.host,
            settings,
            user=user,
            env=env,
            sockets=sockets,
            capabilities=capabilities,
            options=options,
        )
        self._stack.callback(agent.kill)
        if wait:
            try:
                agent.wait_ready()
            except BaseException:
                agent.kill()  # or the next test finds another agent on its host
                raise
        if resolv_conf:
            self.host.resolv_conf(*agent.listens_on)
        return agent

    def cleanup(self, action: Callable[[], object]) -> None:
        """Have `action` called when the lab closes, before everything that was there earlier."""
        self._stack.callback(action)

    # -- building ---------------------------------------------------------

    def _make_directory(self) -> Path:
        base = tempfile.gettempdir()
        directory = tempfile.mkdtemp(
            prefix="dynallow-lab-", dir=base if len(base) < _UNIX_PATH_ROOM else "/tmp"
        )
        self._stack.callback(shutil.rmtree, directory, ignore_errors=True)
        path = Path(directory)
        path.chmod(0o755)  # other users on the host must reach their files
        return path

    def _make_namespaces(self) -> Iterable[Namespace]:
        places = []
        for name in ("host", "router", "internet", "elsewhere"):
            place = Namespace(name, self.directory / name)
            self._stack.callback(place.close)
            places.append(place)
        for place in places:
            place.wait_ready()
        return places

    def _furnish_host(self) -> None:
        make_reachable(self.host)
        self.host.replace("/etc/resolv.conf", f"nameserver {topology.NAME_SERVER[0]}\n")
        # The machine's own resolver plug-ins (resolve, mdns, a running nscd) would go round the agent.
        self.host.replace("/etc/nsswitch.conf", _NSSWITCH)
        self.host.replace("/etc/hosts", _HOSTS)
        if Path("/run/nscd").is_dir():
            self.host.run(["mount", "-t", "tmpfs", "none", "/run/nscd"])
