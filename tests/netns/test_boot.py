"""What is in force before the agent is there: the ruleset that it has kept, or what stands in for it.

Needs the lab. No systemd here: the commands of dynallow-firewall.service are run by hand, on a host that
has nothing in its kernel, as after power-on.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import NOBODY, Lab, Zone, wait_until
from tests.lab.agent import Agent
from tests.lab.needs import ROOT, require_lab
from tests.netns import traffic

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "web"
names = [".example.org"]
"""
OBSERVE = SETTINGS.replace("enforce", "observe")
BROKEN = '\n[[rule]]\nname = "Web"\nnames = ["*.com"]\n'
NO_TOML = "\n[resolver\n"
EXIT_SETTINGS = 3
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).recv(1)"
LISTEN = """
import socket, sys
sock = socket.create_server(("", 2222))
print("ready", flush=True)
while True:
    connection, _ = sock.accept()
    connection.send(b"!")
    connection.close()
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    require_lab()
    with Lab() as built:
        built.serve(Zone("example.org").both("www", 10))
        yield built


@pytest.fixture
def state(lab: Lab, tmp_path: Path) -> Iterator[Path]:
    """The state directory of a host that is switched off at the end."""
    directory = tmp_path / "state"
    directory.mkdir()
    yield directory
    lab.host.run(["nft", "flush", "ruleset"])


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    return tmp_path / "dynallow.toml"


def start_agent(lab: Lab, state: Path, settings: str = SETTINGS) -> Agent:
    agent = lab.agent(settings, env={"STATE_DIRECTORY": str(state)})
    wait_until(lambda: (state / "ruleset.nft").exists(), "the kept ruleset")
    return agent


def power_off(lab: Lab, agent: Agent) -> None:
    agent.kill()
    lab.host.run(["nft", "flush", "ruleset"])


def boot(lab: Lab, state: Path, settings: Path) -> subprocess.CompletedProcess[str]:
    """What dynallow-firewall.service runs, word by word."""
    unit = (ROOT / "systemd/dynallow-firewall.service").read_text()
    found = re.search(r"^ExecStart=/bin/sh -c '(.*)'$", unit, re.MULTILINE)
    assert found is not None
    command = found[1].replace(
        "/opt/dynallow/bin/dynallow firewall",
        f"{lab.host.python_path} -m dynallow firewall --config {settings}",
    )
    return lab.host.run(["sh", "-c", command], check=False, env={"STATE_DIRECTORY": str(state)})


def chains(lab: Lab) -> str:
    listed = lab.host.run(["nft", "-s", "list", "table", "inet", "dynallow"], check=False).stdout
    return listed[listed.find("\tchain ") :]


def leaks(lab: Lab) -> list[str]:
    """What gets out of all that no rule allows."""
    traffic.forget_flows(lab)
    wire = lab.sniffer()
    with traffic.running(lab, "forbidden", traffic.FORBIDDEN):
        lab.host.run(["true"])
    return traffic.to_forbidden(wire.stop())


def test_kept_ruleset_is_what_was_in_force(lab: Lab, state: Path, settings: Path) -> None:
    agent = start_agent(lab, state)
    before = chains(lab)
    assert (state / "ruleset.nft").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in state.iterdir()] == ["ruleset.nft"]
    power_off(lab, agent)
    assert leaks(lab)  # the control: without a table it gets out
    assert boot(lab, state, settings).returncode == 0  # there is no settings file at all
    assert chains(lab) == before
    assert leaks(lab) == []
    agent.start()
    assert lab.host.addresses("www.example.org") == ["192.0.2.10"]
    agent.kill()


def test_table_with_leases_is_left_alone(lab: Lab, state: Path, settings: Path) -> None:
    agent = start_agent(lab, state)
    assert lab.host.addresses("www.example.org") == ["192.0.2.10"]
    handles = lab.host.run(["nft", "-a", "list", "chain", "inet", "dynallow", "output"]).stdout
    # Its first words alone, then all of it: both must see that there is nothing to do.
    alone = lab.host.run(["nft", "-f", str(state / "ruleset.nft")], check=False)
    assert "exists" in alone.stderr or "Operation not permitted" in alone.stderr
    done = boot(lab, state, settings)
    assert done.returncode == 0
    assert done.stdout in (
        "table inet dynallow is held by the agent, which is running; left as it is\n",
        "table inet dynallow is in force; left as it is\n",  # where nobody can own it
    )
    assert lab.host.run(["nft", "-a", "list", "chain", "inet", "dynallow", "output"]).stdout == handles
    assert "192.0.2.10" in lab.host.set_elements("web_v4")
    assert "changed table" not in agent.log
    agent.kill()


def test_reload_is_kept_and_a_switch_of_mode_or_a_broken_reload_is_not(lab: Lab, state: Path) -> None:
    agent = start_agent(lab, state)
    kept = state / "ruleset.nft"
    first = kept.read_text()
    assert "policy drop" in first
    assert agent.cli("mode", "observe").returncode == 0
    assert agent.reload(SETTINGS + BROKEN).returncode == EXIT_SETTINGS
    assert kept.read_text() == first
    assert agent.reload(SETTINGS.replace('"web"', '"net"')).returncode == 0
    assert "set net_v4" in kept.read_text()
    assert "set web_v4" not in kept.read_text()
    agent.kill()


def test_disk_that_is_full_leaves_the_old_file_whole_and_is_a_warning(lab: Lab, state: Path) -> None:
    lab.host.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", str(state)])
    inside = Path(f"/proc/{lab.host.pid}/root{state}")
    try:
        agent = lab.agent(SETTINGS, env={"STATE_DIRECTORY": str(state)})
        wait_until(lambda: (inside / "ruleset.nft").exists(), "the kept ruleset")
        first = (inside / "ruleset.nft").read_text()
        lab.host.run(["sh", "-c", f"cat /dev/zero >{state}/filling"], check=False)
        assert agent.reload(SETTINGS.replace('"web"', '"net"')).returncode == 0
        (warning,) = _of_the_ruleset(agent)
        assert "No space left" in warning
        assert (inside / "ruleset.nft").read_text() == first
        (inside / "filling").unlink()
        assert agent.reload().returncode == 0
        assert _of_the_ruleset(agent) == []
        assert "set net_v4" in (inside / "ruleset.nft").read_text()
        agent.kill()
    finally:
        lab.host.run(["umount", "-l", str(state)])


def _of_the_ruleset(agent: Agent) -> list[str]:
    """The history, which has no room either, warns for itself."""
    return [warning for warning in agent.cli_json("status")["warnings"] if "ruleset.nft" in warning]


@pytest.mark.parametrize(("text", "closed"), [(SETTINGS, True), (OBSERVE, False), ("", False)])
def test_first_boot_takes_what_the_settings_say(
    lab: Lab, state: Path, settings: Path, text: str, closed: bool
) -> None:
    settings.write_text(text)
    assert boot(lab, state, settings).returncode == 0
    assert ("policy drop" in chains(lab)) == closed
    assert ("priority filter; policy accept" in chains(lab).partition("}")[0]) == (not closed)
    assert bool(leaks(lab)) == (not closed)


@pytest.mark.parametrize(
    "text",
    [SETTINGS + BROKEN, SETTINGS + NO_TOML, NO_TOML + "mode = 'enforce'\n"],
    ids=["faults", "no-toml", "no-toml-before"],
)
def test_broken_settings_that_name_enforce_close_the_host_but_let_it_be_mended(
    lab: Lab, state: Path, settings: Path, text: str
) -> None:
    settings.write_text(text)
    ssh = lab.host.popen([lab.host.python_path, "-c", LISTEN])
    try:
        assert ssh.stdout is not None
        assert ssh.stdout.readline() == "ready\n"
        done = boot(lab, state, settings)
        assert done.returncode == EXIT_SETTINGS
        assert "closed" in done.stderr
        assert "Traceback" not in done.stderr
        assert leaks(lab) == []
        address = lab.host.run(["ip", "-4", "-br", "address", "show", "eth0"]).stdout.split()[2]
        lab.internet.python(CONNECT, address.partition("/")[0], "2222")
    finally:
        ssh.kill()
        ssh.communicate()


@pytest.mark.parametrize(
    "text",
    [OBSERVE + BROKEN, BROKEN, NO_TOML, NO_TOML + '# mode = "enforce"\n', None],
    ids=["observe", "no-mode", "no-toml", "comment", "no-file"],
)
def test_broken_settings_that_do_not_name_enforce_load_nothing(
    lab: Lab, state: Path, settings: Path, text: str | None
) -> None:
    if text is not None:
        settings.write_text(text)
    done = boot(lab, state, settings)
    assert done.returncode == EXIT_SETTINGS
    assert "nothing was loaded" in done.stderr
    assert chains(lab) == ""


def test_broken_settings_with_enforce_in_another_file_close_the_host(
    lab: Lab, state: Path, settings: Path
) -> None:
    settings.write_text(BROKEN)
    (settings.parent / "conf.d").mkdir()
    (settings.parent / "conf.d/mode.toml").write_text('mode = "enforce"\n')
    assert boot(lab, state, settings).returncode == EXIT_SETTINGS
    assert "policy drop" in chains(lab)


@pytest.mark.parametrize(("text", "code"), [(SETTINGS, 0), (BROKEN, EXIT_SETTINGS)], ids=["good", "broken"])
def test_kept_ruleset_that_the_kernel_does_not_take_still_says_that_it_was_closed(
    lab: Lab, state: Path, settings: Path, text: str, code: int
) -> None:
    power_off(lab, start_agent(lab, state))
    kept = state / "ruleset.nft"
    kept.write_text(kept.read_text().replace("ct state established", "ct state no-such-state", 1))
    settings.write_text(text)
    done = boot(lab, state, settings)
    assert done.returncode == code
    assert "no-such-state" in done.stderr
    assert "policy drop" in chains(lab)
    assert leaks(lab) == []


@pytest.mark.parametrize(("text", "closed"), [(SETTINGS, True), (OBSERVE, False), (SETTINGS + BROKEN, False)])
def test_kept_ruleset_of_observe_gives_way_to_sound_settings_of_enforce(
    lab: Lab, state: Path, settings: Path, text: str, closed: bool
) -> None:
    """As README has it: observe, `dynallow mode enforce`, the settings after it; and then the power fails."""
    agent = start_agent(lab, state, OBSERVE)
    assert agent.cli("mode", "enforce").returncode == 0
    power_off(lab, agent)
    settings.write_text(text)
    assert boot(lab, state, settings).returncode == 0
    assert ("policy drop" in chains(lab)) == closed
    assert "priority filter; policy" in chains(lab)


@pytest.mark.parametrize("text", ["", "# all of it is gone\n", "create table inet dynallow\n"])
def test_kept_ruleset_that_says_nothing_is_none(lab: Lab, state: Path, settings: Path, text: str) -> None:
    """`nft` takes it, and nothing would be blocked."""
    (state / "ruleset.nft").write_text(text)
    settings.write_text(SETTINGS)
    assert boot(lab, state, settings).returncode == 0
    assert "policy drop" in chains(lab)


_REFUSED = """
import errno, os, socket, sys
from dynallow.cli.main import main
class Refusing(socket.socket):
    def send(self, data, flags=0, /):
        if b"web_v4" in data:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return super().send(data, flags)
socket.socket = Refusing
sys.exit(main(sys.argv[1:]))
"""


def test_settings_that_the_kernel_does_not_take_close_the_host(lab: Lab, state: Path, settings: Path) -> None:
    """They are sound, so the user means to enforce them; some kernel does not know a word of it."""
    settings.write_text(SETTINGS)
    argv = [lab.host.python_path, "-c", _REFUSED, "firewall", "--config", str(settings)]
    done = lab.host.run(argv, check=False)
    assert done.returncode == 6
    assert "Invalid argument" in done.stderr
    assert "closed" in done.stderr
    assert "policy drop" in chains(lab)


def test_rest_of_a_table_is_made_whole(lab: Lab, state: Path, settings: Path) -> None:
    """Somebody flushed the chains, or took them away: nothing is blocked, so it is not in force."""
    agent = start_agent(lab, state)
    before = chains(lab)
    power_off(lab, agent)
    lab.host.run(["nft", "add", "table", "inet", "dynallow"])
    lab.host.run(["nft", "add", "chain", "inet", "dynallow", "output"])
    settings.write_text(SETTINGS)
    assert boot(lab, state, settings).returncode == 0
    assert "policy drop" in chains(lab)
    lab.host.run(["nft", "flush", "ruleset"])
    lab.host.run(["nft", "add", "table", "inet", "dynallow"])
    shutil.copy(settings, settings.with_suffix(".old"))
    settings.unlink()
    assert boot(lab, state, settings).returncode == 0  # by the kept ruleset: there are no settings
    assert chains(lab) == before


def test_firewall_without_privilege_says_so_and_changes_nothing(
    lab: Lab, state: Path, settings: Path
) -> None:
    settings.write_text(SETTINGS)
    argv = [lab.host.python_path, "-m", "dynallow", "firewall", "--config", str(settings)]
    refused = lab.host.run(argv, user=NOBODY, check=False)
    assert refused.returncode == 6
    assert "CAP_NET_ADMIN" in refused.stderr
    assert chains(lab) == ""
