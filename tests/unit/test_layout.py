"""The house rules that a machine can check (DESIGN section 5).

Reads the package as source, never imports it: a broken module must not hide
what is wrong with another.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "dynallow"

FLOORS = {
    "errors": 0,
    "units": 0,
    "durations": 0,
    "tasks": 0,
    "msghdr": 0,
    "hugepages": 0,
    "notify": 0,
    "watchdog": 0,
    "policy": 1,
    "wire": 1,
    "lease": 1,
    "usage": 1,
    "settings": 2,
    "setup": 3,
    "resolver": 3,
    "firewall": 3,
    "advice": 3,
    "pending": 3,
    "expiries": 2,
    "living": 4,
    "hindsight": 5,
    "control": 4,
    "checkpoint": 4,
    "sight": 4,
    "inforce": 5,
    "agent": 6,
    "cli": 7,
    "__main__": 8,
}
PURE = ("policy", "wire", "lease", "usage")
IMPURE_MODULES = {"asyncio", "socket", "time", "os", "pathlib", "select", "selectors", "threading"} | {
    "subprocess", "signal", "random", "secrets", "datetime", "io", "shutil", "tempfile", "glob", "logging"
}  # fmt: skip
# Values of time are data (a rule's expiry date); asking for the time is not.
PURE_FROM = {"datetime": {"date", "timedelta", "timezone", "UTC"}}
BANNED_NAMES = ("utils", "util", "helpers", "helper", "common", "manager", "misc")
LINES_MAX = 400

MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [*MODULES, *sorted((ROOT / "tests").rglob("*.py"))]


def _room(path: Path) -> str:
    """The top-level name a module belongs to: "policy", "agent", …"""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def _imports(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(module, names taken from it) of every import, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or "", tuple(alias.name for alias in node.names)


def _rooms_imported(path: Path) -> set[str]:
    rooms = set()
    for module, names in _imports(path):
        parts = module.split(".")
        if parts[0] == "dynallow":
            rooms.update([parts[1]] if len(parts) > 1 else [name for name in names if name in FLOORS])
    return rooms


def _ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", MODULES, ids=_ids(MODULES))
def test_imports_of_a_module_go_only_downwards(path: Path) -> None:
    room = _room(path)
    if room == "__init__":
        assert not _rooms_imported(path)
        return
    assert room in FLOORS, f"{room} has no floor: DESIGN section 5 fixes the top level"
    upwards = {other for other in _rooms_imported(path) - {room} if FLOORS[other] >= FLOORS[room] > 0}
    assert not upwards, f"{room} (floor {FLOORS[room]}) must not import {upwards}"


@pytest.mark.parametrize("path", MODULES, ids=_ids(MODULES))
def test_imports_of_a_pure_room_touch_no_clock_socket_or_file(path: Path) -> None:
    if _room(path) not in (*PURE, "errors", "units", "durations"):
        return
    for module, names in _imports(path):
        top = module.split(".")[0]
        allowed = bool(names) and set(names) <= PURE_FROM.get(top, set())
        assert top not in IMPURE_MODULES or allowed, f"{path.name} imports {module} {names}"


@pytest.mark.parametrize("path", MODULES, ids=_ids(MODULES))
def test_create_task_outside_the_supervisor_is_absent(path: Path) -> None:
    """The loop holds tasks weakly, and an exception in a bare task is lost."""
    if path == PACKAGE / "tasks.py":
        return
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        called = node.func if isinstance(node, ast.Call) else None
        name = getattr(called, "attr", getattr(called, "id", ""))
        owner = getattr(getattr(called, "value", None), "id", "")
        bare = name == "ensure_future" or (name == "create_task" and owner in ("", "asyncio", "loop"))
        assert not bare, f"{path.name}:{getattr(node, 'lineno', 0)}: use dynallow.tasks"


@pytest.mark.parametrize("path", SOURCES, ids=_ids(SOURCES))
def test_file_of_the_project_has_a_telling_name_and_opening(path: Path) -> None:
    assert path.stem not in BANNED_NAMES
    text = path.read_text()
    if path.name == "__init__.py" and not text.strip():
        return
    tree = ast.parse(text, str(path))
    opening = ast.get_docstring(tree)
    assert opening, f"{path} does not say what it is"
    if path.is_relative_to(PACKAGE) and text.count("\n") > LINES_MAX:
        assert "lines" in opening, f"{path} has over {LINES_MAX} lines and does not say why"


def test_files_of_the_package_are_small_at_the_median() -> None:
    sizes = [size for path in MODULES if (size := path.read_text().count("\n")) > 15]
    assert 50 <= statistics.median(sizes) <= 170
