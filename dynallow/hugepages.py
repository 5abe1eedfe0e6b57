"""What start has made, moved into huge pages.

A lone answer touches some hundred pages of an interpreter's objects. Where nothing has run for 10 ms, and
in a virtual machine above all, to find each of them costs more than what is done there: a fresh answer
takes a tenth less CPU time when they lie in twenty pages of 2 MiB.

Floor 0. Knows madvise(2) and proc(5); must not know what lies in the memory. Keeps: nothing but the place of
the pages changes; memory of which less than three quarters are in use, a thread's stack say, stays as it
is. Where the kernel has no huge pages, or is told never to use them, nothing happens.
"""

from __future__ import annotations

import ctypes
import logging
import re
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_SIZE: Final = 2 << 20
_MADV_HUGEPAGE: Final = 14
_MADV_COLLAPSE: Final = 25  # Linux 6.1: now, not when khugepaged comes by
_SETTING: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_MAPPING: Final = re.compile(r"^(\S+) rw-p \S+ \S+ \d+ *(.*)\n(?:\w+: .*\n)*?Rss: +(\d+) kB$", re.MULTILINE)
_MAPS: Final = Path("/proc/self/smaps")


def collapse() -> int:
    """Move all that is large enough; returns how many MiB. Blocking, some 30 ms: for a thread."""
    try:
        if "[never]" in _SETTING.read_text():
            return 0
        maps = _MAPS.read_text()
    except OSError as error:
        log.debug("no huge pages: %s", error)
        return 0
    madvise = ctypes.CDLL(None).madvise
    moved = 0
    for begin, size in _ranges(maps):
        where = ctypes.c_void_p(begin), ctypes.c_size_t(size)
        if madvise(*where, _MADV_HUGEPAGE) == 0 and madvise(*where, _MADV_COLLAPSE) == 0:
            moved += size >> 20
    log.debug("%d MiB of memory lie in huge pages", moved)
    return moved


def _ranges(maps: str) -> list[tuple[int, int]]:
    """Address and size of the whole huge pages in what is writable, has no file behind it and is in use."""
    found = []
    for addresses, path, resident_kib in _MAPPING.findall(maps):
        first, last = (int(address, 16) for address in addresses.split("-"))
        begin, end = -(-first // _SIZE) * _SIZE, last // _SIZE * _SIZE
        if begin < end and path in ("", "[heap]") and int(resident_kib) * 4096 > (last - first) * 3:
            found.append((begin, end - begin))
    return found
