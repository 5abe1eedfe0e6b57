"""One network and mount namespace, and how to do things in it.

Knows the holder process and `nsenter`. Must not know what the namespace is
for. Invariant: nothing done here is seen by the machine outside, and nothing
outlives `close` or the death of this process (see holder.py).
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import dns.message
import dns.query
import dns.rdatatype

from tests.lab import elements, holder
from tests.lab.needs import PATH, ROOT, has_users
from tests.lab.waiting import LabError

NOBODY = 65534
Output = int | IO[Any] | None
_libc = ctypes.CDLL(None, use_errno=True)


class CommandError(LabError):
    """A command ended otherwise than it should; carries what it printed."""

    def __init__(self, result: subprocess.CompletedProcess[str]) -> None:
        super().__init__(f"exit {result.returncode} of {result.args}\n{result.stdout}{result.stderr}")
        self.result = result


class Namespace:
    """A place in the lab's network, with its own view of /etc/resolv.conf."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        directory.mkdir()
        self._holder = subprocess.Popen(
            [sys.executable, "-I", "-S", holder.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # ^C at the terminal is for the parent to act on
        )
        self.pid = self._holder.pid
        self.python_path = sys.executable

    def wait_ready(self) -> None:
        """Return once the namespaces exist; apart from `__init__` so that several start at once."""
        if self._holder.stdout is None or self._holder.stdout.readline() != b"ready\n":
            stderr = self._holder.stderr.read().decode() if self._holder.stderr else ""
            raise LabError(f"namespace {self.name}: {stderr.strip()}")

    def close(self) -> None:
        """End every process in here, then the namespace."""
        for pipe in (self._holder.stdin, self._holder.stdout, self._holder.stderr):
            if pipe is not None:
                pipe.close()
        self._holder.wait(60)

    # -- commands ---------------------------------------------------------

    def command(self, argv: Sequence[str], user: int | None = None) -> list[str]:
        """`argv` as it must be started from outside; the process id stays that of `argv`."""
        enter = ["nsenter", "-t", str(self.pid), "-n", "-m", f"--wdns={ROOT}", "--"]
        return [*enter, *_become(user), *argv]

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Little and known: a proxy, a locale or a ~/.digrc of the developer's must not matter."""
        return {
            "PATH": PATH,
            "HOME": str(self.directory),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            **(extra or {}),
        }

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        user: int | None = None,
        timeout: float = 90.0,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end. `user` is a uid; raises CommandError unless it exits 0 or `check` is off."""
        result = subprocess.run(
            self.command(argv, user),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment(env),
            check=False,
        )
        if check and result.returncode:
            raise CommandError(result)
        return result

    def popen(
        self,
        argv: Sequence[str],
        *,
        user: int | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Output = subprocess.DEVNULL,
        stdout: Output = subprocess.PIPE,
        stderr: Output = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[str]:
        """Start and leave running; it ends with the namespace at the latest."""
        return subprocess.Popen(
            self.command(argv, user),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            env=self.environment(env),
            pass_fds=pass_fds,
        )

    def python(
        self, code: str, *arguments: str, check: bool = True, user: int | None = None, timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run `code` in a Python process in here, with `arguments` as its sys.argv[1:]."""
        return self.run([self.python_path, "-c", code, *arguments], check=check, user=user, timeout=timeout)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread into this network: sockets made inside stay in it.

        Only the network: mounts, and so resolv.conf, remain the machine's.
        """
        with open("/proc/thread-self/ns/net") as before, open(f"/proc/{self.pid}/ns/net") as inside:
            _set_network(inside.fileno())
            try:
                yield
            finally:
                _set_network(before.fileno())

    # -- network and files ------------------------------------------------

    def ip(self, *lines: str) -> None:
        """Run `ip` commands as one batch."""
        self.run(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")

    def sysctl(self, **values: int) -> None:
        """Set keys below /proc/sys/net; `__` stands for `/`."""
        script = "".join(
            f"echo {value} >/proc/sys/net/{key.replace('__', '/')};" for key, value in values.items()
        )
        self.run(["sh", "-ec", script])

    def replace(self, path: str, text: str) -> Path:
        """Show `text` at `path` in here only; the returned file may be rewritten in place."""
        source = self.directory / path.strip("/").replace("/", "-")
        source.write_text(text)
        source.chmod(0o644)
        self.run(["mount", "--bind", str(source), path])
        return source

    def resolv_conf(self, *servers: str) -> None:
        """Make `servers` the resolvers of every program in here."""
        lines = [f"nameserver {server}\n" for server in servers]
        # In place: the bind mount shows this inode, not its name.
        (self.directory / "etc-resolv.conf").write_text("".join([*lines, "options timeout:2 attempts:2\n"]))

    # -- looking ----------------------------------------------------------

    def ask(
        self,
        name: str,
        rtype: str = "A",
        server: str = "127.0.0.1",
        *,
        tcp: bool = False,
        timeout: float = 30.0,
    ) -> dns.message.Message:
        """One DNS question by dnspython, from inside, without a process; raises dns.exception.Timeout."""
        question = dns.message.make_query(name, rtype, use_edns=0, payload=1232)
        with self.entered():
            if tcp:
                return dns.query.tcp(question, server, timeout=timeout)
            # A resolver waits on when a stranger answers first; so does this one.
            return dns.query.udp(question, server, timeout=timeout, ignore_unexpected=True)

    def addresses(self, name: str, rtype: str = "A", server: str = "127.0.0.1") -> list[str]:
        """The addresses that `ask` brings for `name`, wherever its CNAMEs lead."""
        wanted = dns.rdatatype.from_text(rtype)
        answer = self.ask(name, rtype, server).answer
        return [str(record) for rrset in answer if rrset.rdtype == wanted for record in rrset]

    def nft_json(self, *words: str) -> list[dict[str, Any]]:
        """`nft -j list …`, by default the ruleset, as nft's own list of objects."""
        listed = self.run(["nft", "-j", "list", *(words or ("ruleset",))]).stdout
        found: list[dict[str, Any]] = json.loads(listed)["nftables"]
        return found

    def set_elements(self, name: str, table: str = "inet dynallow") -> dict[str, elements.Element]:
        """Address → what `nft list set` says of it, times to the millisecond."""
        return elements.parse(self.run(["nft", "list", "set", *table.split(), name]).stdout)


def _become(user: int | None) -> list[str]:
    """The words that give up root. In a one-user namespace only the capabilities can go."""
    if user is None:
        return []
    drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    if has_users():
        return [*drop, f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]
    return [*drop, "--securebits=+noroot,+noroot_locked", "--"]


def _set_network(descriptor: int) -> None:
    if _libc.setns(descriptor, holder.CLONE_NEWNET) != 0:
        raise LabError(f"setns: {os.strerror(ctypes.get_errno())}")
