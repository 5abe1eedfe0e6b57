"""`make try`: the main job of dynallow, shown on an embedded default.

Every line that starts with `$` is really executed, in the lab's host, and
what follows is its output. Invariant: the exit code is 0 only if every step
held; nothing is left behind.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from types import FrameType

from tests.lab import Lab, LabError, Zone, topology
from tests.lab.agent import Agent
from tests.lab.needs import LAB_TOOLS, PATH, find, namespaces_refused

SETTINGS = f"""\
mode = "enforce"

[resolver]
upstreams = ["{topology.NAME_SERVER[0]}", "{topology.NAME_SERVER[1]}"]

[[rule]]
name   = "website"
names  = ["www.example.org", ".mirror.example.org"]
ports  = ["tcp/80", "tcp/443"]
reason = "the page that this host is for"
owner  = "you"

[[destination]]
name      = "ntp"
addresses = ["{topology.TIME_SERVER[0]}"]
ports     = ["udp/123"]
reason    = "time"
"""
APPROVED, APPROVED_ADDRESS = "www.example.org", "192.0.2.10"
DENIED, DENIED_ADDRESS = "telemetry.example.com", "198.51.100.7"
OTHER_SERVER = topology.OTHER_NAME_SERVER[0]
ZONES = (
    Zone("example.org").both("www", 10).chain("deb.mirror", 2, "192.0.2.20").txt("www", "hello"),
    Zone("example.com").a("telemetry", DENIED_ADDRESS),
)
HINT = f"""
You are root on the lab's host; dynallow guards it, mode enforce. Try for example:

    curl http://{APPROVED}/                    an approved name
    dig deb.mirror.example.org                      another one, behind two CNAMEs
    dig {DENIED}                       a name on nobody's list
    curl http://{DENIED_ADDRESS}/                       its address, unearned
    dig @{OTHER_SERVER} {DENIED}           another name server
    dynallow status · dynallow explain NAME         who may be reached, and why
    nft list table inet dynallow                    the kernel's view

`exit` ends the shell and takes the lab down.
"""


class Show:
    """The steps, as they are printed and judged."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.failed: list[str] = []
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._bold, self._green, self._red, self._plain = (
            ("\033[1m", "\033[32m", "\033[31m", "\033[0m") if colour else ("",) * 4
        )
        self._step = 0
        self.env: dict[str, str] = {"PATH": PATH}

    def say(self, text: str) -> None:
        print(text, flush=True)

    def step(self, title: str) -> None:
        self._step += 1
        self.say(f"\n{self._bold}{self._step}. {title}{self._plain}")

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Print a command as one types it, run it, print what it printed."""
        self.say(f"   $ {command}")
        result = self.lab.host.run(shlex.split(command), check=False, env=self.env)
        output = (result.stdout + result.stderr).strip("\n")
        if output:
            self.say(textwrap.indent(output, "     "))
        return result

    def verdict(self, text: str, held: bool) -> None:
        """One thing that had to hold."""
        mark = f"{self._green}✓" if held else f"{self._red}✗"
        self.say(f"   {mark} {text}{self._plain}")
        if not held:
            self.failed.append(f"step {self._step}: {text}")


def main() -> int:
    signal.signal(signal.SIGTERM, _end)
    if reason := _why_not():
        print(f"make try cannot build its lab here: {reason}", file=sys.stderr)
        return 1
    try:
        with Lab() as lab:
            return _try_it(lab, shell="--shell" in sys.argv[1:])
    except LabError as error:
        print(f"\n✗ {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _try_it(lab: Lab, *, shell: bool) -> int:
    show = Show(lab)
    began = time.monotonic()
    lab.serve(*ZONES)
    show.say("A host, its wire and an internet with name servers and web servers, in throw-away namespaces.")
    _without(show)
    agent = lab.agent(SETTINGS)
    _provide_command(show, agent)
    _introduce(show)
    for step in (_approved, _leased, _unapproved, _unearned, _other_dns):
        step(show)
    _status(show)
    _explain(show)
    took_s = time.monotonic() - began
    if shell:
        _leave_in_shell(show)
    show.step("The agent stops, and the fence stays")
    agent.stop()
    show.verdict("SIGTERM ended the agent within a second", True)
    _refused(show, f"http://{DENIED_ADDRESS}/", "the address is refused still")
    return _judge(show, took_s)


def _without(show: Show) -> None:
    show.step("Before: without dynallow this host reaches everything")
    page = show.run(f"curl -sS http://{DENIED_ADDRESS}/").stdout
    show.verdict("any address answers", f"address={DENIED_ADDRESS}" in page)
    answer = show.run(f"dig +short @{OTHER_SERVER} {DENIED}").stdout
    show.verdict("any name server answers", DENIED_ADDRESS in answer)


def _introduce(show: Show) -> None:
    show.step("dynallow starts, with these settings, and resolv.conf points to it")
    show.say(textwrap.indent(SETTINGS.rstrip(), "     "))
    resolv = show.run("cat /etc/resolv.conf").stdout
    show.verdict("the host's resolver is dynallow", "nameserver 127.0.0.1\n" in resolv)


def _approved(show: Show) -> None:
    show.step("An approved name resolves, and its page comes")
    answer = show.run(f"dig +noall +answer {APPROVED} A").stdout
    show.verdict(f"{APPROVED} has its address", APPROVED_ADDRESS in answer)
    page = show.run(f"curl -sS -4 http://{APPROVED}/").stdout
    show.verdict("curl got the page over IPv4", f"address={APPROVED_ADDRESS} port=80" in page)
    ca = show.lab.authority.certificate
    page = show.run(f"curl -sS -6 --cacert {ca} https://{APPROVED}/").stdout
    show.verdict("and over IPv6 with TLS", "address=2001:db8::a port=443" in page)


def _leased(show: Show) -> None:
    show.step("Its address is in the kernel's set, with the name that earned it and its time")
    show.run("nft list set inet dynallow website_v4")
    element = show.lab.host.set_elements("website_v4").get(APPROVED_ADDRESS)
    show.verdict(
        f"{APPROVED_ADDRESS} is leased for {APPROVED}, and the lease ends by itself",
        element is not None and element.comment == APPROVED and (element.expires_s or 0) > 0,
    )


def _unapproved(show: Show) -> None:
    show.step("A name on no list does not exist here, and the answer says why")
    wire = show.lab.sniffer()
    text = show.run(f"dig +noall +comments {DENIED}").stdout
    show.verdict("NXDOMAIN", "status: NXDOMAIN" in text)
    show.verdict("with its reason (EDE 15, RFC 8914)", "EDE: 15" in text)
    show.verdict("the question never left the host (0 packets on the wire)", not wire.from_host())


def _unearned(show: Show) -> None:
    show.step("An address that no name earned is refused, at once")
    wire = show.lab.sniffer()
    _refused(show, f"http://{DENIED_ADDRESS}/", "refused")
    _refused(show, "http://[2001:db8::99]/", "refused over IPv6")
    show.verdict("0 packets on the wire", not wire.from_host())


def _refused(show: Show, url: str, what: str) -> None:
    began = time.monotonic()
    # -g: the brackets of an IPv6 address are not a range
    result = show.run(f"curl -sS -g --max-time 5 {url}")
    took_ms = (time.monotonic() - began) * 1000
    show.verdict(f"{what}, in {took_ms:.0f} ms", result.returncode == 7 and took_ms < 1000)


def _other_dns(show: Show) -> None:
    show.step("DNS to another server does not get out: dynallow answers in its place")
    wire = show.lab.sniffer()
    for way in ("", "+tcp "):
        text = show.run(f"dig {way}+noall +comments @{OTHER_SERVER} {DENIED}").stdout
        transport = "TCP" if way else "UDP"
        show.verdict(
            f"{transport}: {OTHER_SERVER} knows this name, and NXDOMAIN came", "status: NXDOMAIN" in text
        )
    show.verdict("0 packets on the wire", not wire.from_host())


def _status(show: Show) -> None:
    show.step("dynallow status: who may be reached right now, for how long, and why")
    result = show.run("dynallow status")
    held = result.returncode == 0 and APPROVED_ADDRESS in result.stdout and APPROVED in result.stdout
    show.verdict("the lease is there with its name", held)


def _explain(show: Show) -> None:
    show.step("dynallow explain: one of each kind")
    allowed, denied = 0, 5
    for target, kind, expected in (
        (APPROVED, "an approved name", allowed),
        (DENIED, "a name on no list", denied),
        (APPROVED_ADDRESS, "a leased address", allowed),
        (DENIED_ADDRESS, "an address that no name earned", denied),
    ):
        code = show.run(f"dynallow explain {target}").returncode
        show.verdict(
            f"{kind}: {'allowed' if expected == allowed else 'denied'} (exit {code})", code == expected
        )


def _provide_command(show: Show, agent: Agent) -> None:
    """Put `dynallow` on the path, so that what is printed is what is typed."""
    directory = show.lab.directory / "bin"
    directory.mkdir()
    command = directory / "dynallow"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(show.lab.host.python_path)} -m dynallow "$@"\n')
    command.chmod(0o755)
    show.env = {"PATH": f"{directory}:{PATH}", "DYNALLOW_SOCKET": str(agent.socket), "COLUMNS": "120"}


def _leave_in_shell(show: Show) -> None:
    """An interactive shell in the host; ^C in it is the shell's business, not ours."""
    rc = show.lab.directory / "bashrc"
    rc.write_text("PS1='lab-host# '\nunset PROMPT_COMMAND HISTFILE\n")
    show.say(HINT)
    env = show.lab.host.environment({**show.env, "TERM": os.environ.get("TERM", "dumb")})
    del env["COLUMNS"]  # the terminal's own width counts here
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # restore_signals does not cover SIGINT: an ignored signal stays ignored through exec.
        subprocess.run(
            show.lab.host.command(["bash", "--rcfile", str(rc), "-i"]),
            env=env,
            check=False,
            preexec_fn=_default_interrupt,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _judge(show: Show, took_s: float) -> int:
    if show.failed:
        show.say(f"\n✗ {len(show.failed)} did not hold:")
        for line in show.failed:
            show.say(f"   {line}")
        return 1
    show.say(f"\n✓ Every step held ({took_s:.1f} s). Nothing of this machine was touched.")
    if "--shell" not in sys.argv[1:]:
        show.say("  `make try SHELL=1` leaves you in a shell on that host.")
    return 0


def _why_not() -> str:
    if missing := [tool for tool in LAB_TOOLS if find(tool) is None]:
        return f"not installed: {', '.join(missing)}; `.ci/setup` says how to get them"
    if refused := namespaces_refused():
        return f"the kernel gives this user no namespaces ({refused}); run it as root"
    return ""


def _end(number: int, frame: FrameType | None) -> None:
    """SIGTERM unwinds like any exit, so that the lab is taken down."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
