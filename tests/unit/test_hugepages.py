"""Memory in huge pages: what is moved, and what is left as it is."""

from __future__ import annotations

import mmap
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dynallow import hugepages

MIB = 1 << 20


def smaps(begin: int, size: int, resident: int, path: str = "", access: str = "rw-p") -> str:
    return (
        f"{begin:x}-{begin + size:x} {access} 00000000 00:00 0                   {path}\n"
        f"Size:           {size >> 10:8} kB\nKernelPageSize:        4 kB\n"
        f"Rss:            {resident >> 10:8} kB\nPss:            0 kB\nVmFlags: rd wr mr mw\n"
    )


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        (smaps(2 * MIB, 4 * MIB, 4 * MIB), [(2 * MIB, 4 * MIB)]),
        (smaps(3 * MIB, 4 * MIB, 4 * MIB, "[heap]"), [(4 * MIB, 2 * MIB)]),
        (smaps(3 * MIB, 2 * MIB, 2 * MIB), []),
        (smaps(2 * MIB, 8 * MIB, 32 << 10), []),
        (smaps(2 * MIB, 4 * MIB, 3 * MIB), []),
        (smaps(2 * MIB, 4 * MIB, 4 * MIB, "/usr/lib/libc.so.6"), []),
        (smaps(2 * MIB, 4 * MIB, 4 * MIB, "[stack]"), []),
        (smaps(2 * MIB, 4 * MIB, 4 * MIB, access="r--p"), []),
    ],
    ids=[
        "whole",
        "heap",
        "no-whole-page",
        "thread-stack",
        "three-quarters",
        "file",
        "stack",
        "read-only",
    ],
)
def test_ranges_takes_whole_pages_of_memory_in_use(mapping: str, expected: list[tuple[int, int]]) -> None:
    around = smaps(0x7F0000000000, 4096, 4096)
    assert hugepages._ranges(around + mapping + around) == expected


def test_collapse_keeps_what_memory_holds_and_takes_no_more() -> None:
    """In a process of its own: huge pages are for good."""
    probe = """if True:
        import mmap, re
        from dynallow import hugepages
        objects = [bytes([number & 255]) * 100 for number in range(300_000)]
        def told(key):
            return int(re.search(key + r": +(\\d+)", open("/proc/self/smaps_rollup").read())[1])
        probe = mmap.mmap(-1, 8 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        probe.write(bytes(8 << 20))
        try:
            probe.madvise(25)
            can = 1
        except OSError:  # before Linux 6.1, or no page left that is large enough
            can = 0
        probe.close()
        before = told("Rss")
        moved = hugepages.collapse()
        assert all(value == bytes([number & 255]) * 100 for number, value in enumerate(objects))
        print(moved, told("AnonHugePages") >> 10, before, told("Rss"), can)
    """
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    moved, huge, before, after, can = map(int, done.stdout.split())
    assert after < before * 1.1
    assert moved <= huge
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    wanted = setting.exists() and "[never]" not in setting.read_text()
    assert (moved > 0) is (wanted and can == 1)


def test_collapse_where_huge_pages_are_not_wanted_leaves_all_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = tmp_path / "enabled"
    setting.write_text("always madvise [never]\n")
    monkeypatch.setattr(hugepages, "_SETTING", setting)
    memory = mmap.mmap(-1, 8 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.write(b"x" * (8 * MIB))
    before = _huge_kib()
    assert hugepages.collapse() == 0
    assert _huge_kib() == before
    monkeypatch.setattr(hugepages, "_SETTING", tmp_path / "no such file")
    assert hugepages.collapse() == 0


def _huge_kib() -> int:
    found = re.search(r"AnonHugePages: +(\d+)", Path("/proc/self/smaps_rollup").read_text())
    assert found is not None
    return int(found[1])
