"""The host's DNS: who has the listeners' ports, whom resolv.conf asks, who else resolves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dynallow.cli.checks.finding import Finding
from dynallow.cli.checks.listeners import SERVICE_MANAGER, Listener, processes, read_listeners
from dynallow.cli.checks.resolvconf import name_servers
from dynallow.control.schema import StatusReport
from dynallow.units import Address, Endpoint

# Names as /proc/PID/comm has them: cut after 15 bytes.
_RESOLVERS = {
    "systemd-resolve": "systemctl disable --now systemd-resolved",
    "dnsmasq": "systemctl disable --now dnsmasq",
    "unbound": "systemctl disable --now unbound",
    "named": "systemctl disable --now named",
    "pdns_recursor": "systemctl disable --now pdns-recursor",
    "nscd": "systemctl disable --now nscd (it keeps answers beyond their leases)",
}


def examine_dns(
    proc: Path, etc: Path, listen: Sequence[Endpoint], status: StatusReport | None
) -> Iterator[Finding]:
    """Everything between a program's getaddrinfo and the agent."""
    agent = status["agent"]["pid"] if status is not None else None
    for port in sorted({endpoint.port for endpoint in listen}):
        wanted = [endpoint.address for endpoint in listen if endpoint.port == port]
        yield judge_port(port, wanted, read_listeners(proc, port), agent)
    yield judge_resolv_conf(etc / "resolv.conf", name_servers(etc / "resolv.conf"), listen)
    yield from judge_resolvers(name for _, name in processes(proc))
    if any(name == "dockerd" for _, name in processes(proc)) or (etc / "docker").is_dir():
        yield judge_docker(_read(etc / "docker/daemon.json"))


def judge_port(port: int, wanted: Iterable[Address], found: list[Listener], agent: int | None) -> Finding:
    """Whether the agent has the port on its addresses, or could have it."""
    concerned = [one for one in found if any(one.covers(address) for address in wanted)]
    held = [one for one in concerned if one.pid == SERVICE_MANAGER]  # by dynallow.socket, or one like it
    others = sorted(
        {str(one) for one in concerned if one not in held and (agent is None or one.pid not in (agent, None))}
    )
    check, expected = f"port {port}", f"dynallow on {', '.join(map(str, wanted))}"
    if others:
        todo = "stop it, or set resolver.listen to other addresses"
        return Finding(check, "fail" if agent is None else "warn", ", ".join(others), expected, todo)
    if agent is None:
        return Finding(check, "ok", "held open by systemd" if held else "free for the agent")
    if not concerned:
        return Finding(check, "fail", "nobody listens", expected, "systemctl restart dynallow")
    return Finding(check, "ok", expected)


def judge_resolv_conf(path: Path, servers: Sequence[Address], listen: Sequence[Endpoint]) -> Finding:
    """Whether every program that reads resolv.conf asks the agent, and nobody else."""
    # resolv.conf knows no ports: only listeners on 53 can be named there.
    ours = [endpoint.address for endpoint in listen if endpoint.port == 53]
    strangers = [server for server in servers if not any(server == own or own.is_unspecified for own in ours)]
    expected = f"nameserver {', '.join(map(str, ours))} alone" if ours else "a listener on port 53"
    if not servers:
        return Finding("resolv.conf", "warn", f"{path} names no server", expected, _resolv_todo(path, ours))
    text = ", ".join(map(str, servers))
    if strangers:
        return Finding("resolv.conf", "fail", f"nameserver {text}", expected, _resolv_todo(path, ours))
    return Finding("resolv.conf", "ok", f"nameserver {text}")


def _resolv_todo(path: Path, ours: Sequence[Address]) -> str:
    if not ours:
        return "set resolver.listen to an address on port 53"
    whose = f" (now a link to {path.readlink()})" if path.is_symlink() else ""
    return f'write "nameserver {ours[0]}" alone into {path}{whose}'


def judge_resolvers(names: Iterable[str]) -> Iterator[Finding]:
    """Others that resolve: their questions bypass the policy's answers, or are refused by the chain."""
    running = sorted(set(names) & _RESOLVERS.keys())
    for name in running:
        yield Finding("other resolvers", "warn", f"{name} runs", "dynallow alone", _RESOLVERS[name])
    if not running:
        yield Finding("other resolvers", "ok", "none runs")


def judge_docker(daemon: str | None) -> Finding:
    """Containers cannot ask a listener on the host's loopback address."""
    todo = 'add the bridge\'s address to resolver.listen, and to "dns" in /etc/docker/daemon.json'
    try:
        options = json.loads(daemon or "{}")
    except ValueError:
        return Finding("docker", "warn", "/etc/docker/daemon.json is no JSON", '{"dns": […]}', todo)
    servers = options.get("dns") if isinstance(options, dict) else None
    if servers:
        return Finding("docker", "info", f"containers ask {', '.join(map(str, servers))}")
    return Finding(
        "docker", "warn", "containers are told no server of dynallow's", "dns in daemon.json", todo
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None
