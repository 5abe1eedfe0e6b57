"""Makes the Debian package of this tree: `make deb`, or `python .ci/deb.py [--fast] [--version V] DIRECTORY`.

Debian 12 has pydantic 1.10, pyroute2 0.7 and no publicsuffixlist, which is older than dynallow needs; so its
libraries come along, in /usr/lib/dynallow/python, copied from the environment that runs this: what is packed
is what the tests have run with, and no network is needed. Compiled ones fit one version of Python alone,
and the package depends on that one. The program takes nothing from dist-packages (-IS).
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / ".ci/debian"
PROGRAM = "/usr/lib/dynallow/bin/dynallow"
LIBRARIES = "usr/lib/dynallow/python"
UNITS = "lib/systemd/system"
SCRIPT = """\
#!/usr/bin/python3 -IS
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "python"))

from dynallow.cli.main import main

sys.exit(main())
"""
OPT = "/opt/dynallow"


def main() -> None:
    """Build it; print its path."""
    parser = argparse.ArgumentParser(description="Make the Debian package.")
    parser.add_argument("--fast", action="store_true", help="compress less")
    parser.add_argument("--version", help="instead of the tree's own")
    parser.add_argument("directory", type=Path, help="where the package is put")
    args = parser.parse_args()
    version = args.version or re.search(r'__version__ = "(.*)"', text("dynallow/__init__.py"))[1]  # type: ignore[index]
    with tempfile.TemporaryDirectory() as work:
        root = Path(work) / "root"
        fill(root)
        control(root, version)
        args.directory.mkdir(parents=True, exist_ok=True)
        name = args.directory / f"dynallow_{version}_{architecture()}.deb"
        compression = ["-Zgzip", "-z1"] if args.fast else ["-Zxz"]
        subprocess.run(
            ["dpkg-deb", *compression, "--root-owner-group", "--build", root, name],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "SOURCE_DATE_EPOCH": commit_time()},
        )
    print(name)


def text(path: str) -> str:
    """A file of the tree."""
    return (ROOT / path).read_text()


def fill(root: Path) -> None:
    """All that the package puts on a host."""
    put(root / PROGRAM.strip("/"), SCRIPT, 0o755)
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/dynallow").symlink_to("../lib/dynallow/bin/dynallow")
    shutil.copytree(
        ROOT / "dynallow", root / LIBRARIES / "dynallow", ignore=shutil.ignore_patterns("__pycache__")
    )
    for library in closure():
        vendor(library, root / LIBRARIES)
    for unit in sorted((ROOT / "systemd").glob("dynallow*")):
        moved = unit.read_text().replace(f"{OPT}/bin/dynallow", PROGRAM).replace(f" {OPT}", " /usr")
        put(root / UNITS / unit.name, moved)
    for kind in ("sysusers.d", "tmpfiles.d"):
        put(root / "usr/lib" / kind / "dynallow.conf", text(f"systemd/{kind}/dynallow.conf"))
    shutil.copytree(ROOT / "config", root / "etc/dynallow")
    (root / "etc/dynallow/conf.d").mkdir()
    document = root / "usr/share/doc/dynallow"
    put(document / "copyright", (HERE / "copyright").read_text())
    packed(document / "README.md.gz", text("README.md"))
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(
                0o755 if path.is_dir() or (path.stat().st_mode & 0o100 and "/bin/" in str(path)) else 0o644
            )


def put(path: Path, content: str, mode: int = 0o644) -> None:
    """A file, with the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)


def packed(path: Path, content: str) -> None:
    """A file of documentation, compressed as Debian wants it: without name and time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content.encode(), 9, mtime=0))


def closure() -> list[Distribution]:
    """What dynallow needs, and what that needs, of this environment."""
    wanted = list(tomllib.loads(text("pyproject.toml"))["project"]["dependencies"])
    found: dict[str, Distribution] = {}
    while wanted:
        requirement = Requirement(wanted.pop())
        library = distribution(requirement.name)
        key = library.metadata["Name"].lower()
        extras = {"", *requirement.extras}
        if key not in found or requirement.extras:
            found[key] = library
            wanted += [line for line in library.requires or () if applies(Requirement(line), extras)]
    return list(found.values())


def applies(requirement: Requirement, extras: set[str]) -> bool:
    """Whether it is needed here."""
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": each}) for each in extras)


def vendor(library: Distribution, place: Path) -> None:
    """The library's files as pip has recorded them, but for programs and compiled modules' caches."""
    for file in library.files or ():
        if ".." in file.parts or "__pycache__" in file.parts or file.is_absolute():
            continue
        if file.name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
            continue
        target = place / str(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(library.locate_file(file)), target)


def control(root: Path, version: str) -> None:
    """The package's own papers."""
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // 1024
    major, minor = sys.version_info[:2]
    words = {
        "VERSION": version,
        "ARCHITECTURE": architecture(),
        "SIZE": str(size),
        "PYTHON": f"{major}.{minor}",
        "NEXT_PYTHON": f"{major}.{minor + 1}",
    }
    papers = (HERE / "control").read_text()
    for word, value in words.items():
        papers = papers.replace(f"@{word}@", value)
    put(root / "DEBIAN/control", papers)
    put(root / "DEBIAN/conffiles", "".join(f"{path}\n" for path in sorted(conffiles(root))))
    for script in ("postinst", "prerm", "postrm"):
        put(root / "DEBIAN" / script, (HERE / script).read_text(), 0o755)
    entry = f"dynallow ({version}) unstable; urgency=medium\n\n  * As in the tree.\n\n"
    dated = subprocess.run(
        ["date", "-R", "-u", "-d", f"@{commit_time()}"], capture_output=True, text=True, check=True
    ).stdout
    signed = f" -- dynallow maintainers <maintainers@dynallow.invalid>  {dated}"
    packed(root / "usr/share/doc/dynallow/changelog.gz", entry + signed)


def conffiles(root: Path) -> Iterator[str]:
    """What the administrator may change, and an upgrade asks about."""
    for path in (root / "etc").rglob("*"):
        if path.is_file():
            yield f"/{path.relative_to(root)}"


def architecture() -> str:
    """This machine's, as dpkg calls it."""
    return subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()


def commit_time() -> str:
    """Seconds since 1970 of the last commit, so that the same tree gives the same package."""
    asked = subprocess.run(
        ["git", "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "0"


if __name__ == "__main__":
    main()
