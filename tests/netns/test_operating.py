"""README's operator's page, command by command, on a host with the real systemd.

Needs the lab, root, and cgroups to write to. Invariant: every line of its shell blocks is run here as it
stands there, or is among those that need a package mirror or an editor, which other tests and hands have run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.lab import Lab, Zone
from tests.lab.machine import Machine, require_machine
from tests.lab.needs import ROOT, require_lab
from tests.lab.topology import NAME_SERVER

pytestmark = pytest.mark.slow
_ELSEWHERE = re.compile(r"(apt|make|editor|python3 -m venv|/opt/dynallow/bin/pip) ")
_PATH = ("env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
_RULES = '[[rule]]\nname = "web"\nnames = ["www.example.org"]\n'


def commands() -> list[str]:
    """Of the page, in their order, without their comments."""
    readme = (ROOT / "README.md").read_text()
    page = readme[readme.index("## Operating it") : readme.index("### The units")]
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    return [re.sub(r"\s+#.*", "", line) for line in lines]


@pytest.fixture
def machine() -> Iterator[Machine]:
    require_lab()
    require_machine()
    with Lab() as lab:
        lab.serve(Zone("example.org").both("www", 10))
        files = {"/etc/resolv.conf": f"nameserver {NAME_SERVER[0]}\n"}
        booted = Machine(lab.host, files=files, enabled=None)
        yield booted
        booted.close()


def test_commands_of_the_page_do_what_it_says(machine: Machine) -> None:
    ran = []
    for line in commands():
        if _ELSEWHERE.match(line):
            continue
        if line in ("dynallow install", "dynallow uninstall"):
            # It asks, and somebody says yes.
            done = machine.run(
                *_PATH, "script", "-qec", line, "/dev/null", stdin="y\n", check=False, timeout=200
            )
        else:
            done = machine.run(*_PATH, "sh", "-c", line, check=False, timeout=200)
        print(line, done.returncode)
        # `explain` exits 5 for a name that no rule allows, and doctor 1 where it has found something.
        expected = {"dynallow explain deb.debian.org": (0, 5), "dynallow doctor": (0, 1)}.get(line, (0,))
        assert done.returncode in expected, f"{line}\n{done.stdout}{done.stderr}\n{machine.log}"
        if line == "dynallow doctor":
            machine.path("/etc/dynallow/conf.d/50-rules.toml").write_text(_RULES)
        ran.append(line)
    assert len(ran) > 10
    assert machine.path("/etc/resolv.conf").read_text() == f"nameserver {NAME_SERVER[0]}\n"
    assert not machine.path("/var/lib/dynallow-install").exists()
